"""`python -m infra.settings`: write the files that are made from the settings model, or check that they are current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.settings.documents import documents


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; 0 when they are current."""
    parser = argparse.ArgumentParser(prog="python -m infra.settings", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--write", action="store_true", help="write the generated files")
    choice.add_argument("--check", action="store_true", help="fail when one of them is out of date")
    parser.add_argument("--project", type=Path, default=Path(__file__).resolve().parents[2])
    options = parser.parse_args(arguments)
    stale = []
    for path, content in documents().items():
        file = options.project / path
        if not file.is_file() or file.read_text("utf-8") != content:
            stale.append(path)
            if options.write:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content, "utf-8")
    for path in stale:
        sys.stderr.write(f"{'written' if options.write else 'out of date'}: {path}\n")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
