"""Write, or check, the table of AWS resource types that carry tags: `python -m infra.taggable [--write]`.

Read off the text of the installed SDK: importing all of its modules takes gigabytes and minutes. A class of a resource
names its token in `@pulumi.type_token`, its inputs in the parameters of its constructor, and has an output `tags_all`
where the provider adds its default tags.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path

from policies.taggable import FILE

_TOKEN = re.compile(r'^@pulumi\.type_token\("(aws:[^"]+)"\)$', re.MULTILINE)
_TAGS = re.compile(r'^ +pulumi\.set\(__self__, "tags", ', re.MULTILINE)


def table(sdk: Path) -> str:
    """Return the table, read off the SDK in a folder."""
    rows = {}
    for file in sorted(sdk.rglob("*.py")):
        text = file.read_text("utf-8")
        found = _TOKEN.search(text)
        if found and _TAGS.search(text):
            rows[found[1]] = "yes" if "def tags_all(self)" in text else "no"
    lines = [f"{token},{reached}" for token, reached in sorted(rows.items())]
    return "\n".join(["type,defaultTags", *lines]) + "\n"


def installed() -> Path:
    """Return the folder of the installed SDK, without importing it."""
    found = importlib.util.find_spec("pulumi_aws")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pulumi_aws is not installed")
    return Path(found.submodule_search_locations[0])


def main() -> int:
    """Return 0 when the table is as the installed SDK has it."""
    parser = argparse.ArgumentParser(prog="python -m infra.taggable", description="Types of AWS that carry tags.")
    parser.add_argument("--write", action="store_true", help="write policies/taggable.csv")
    wanted = table(installed())
    if parser.parse_args().write:
        FILE.write_text(wanted, "utf-8")
        return 0
    if FILE.exists() and FILE.read_text("utf-8") == wanted:
        return 0
    sys.stderr.write("policies/taggable.csv differs from the installed pulumi_aws: python -m infra.taggable --write\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
