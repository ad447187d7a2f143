"""The identity matrix as a page of the docs.

python -m components.identity           print it
python -m components.identity --write   write docs/identity.md
"""

import argparse
import sys
from pathlib import Path

from components.identity.matrix import table

PAGE = Path(__file__).parents[2] / "docs" / "identity.md"
_TEXT = """\
# Who may touch what on AWS

Generated from `components/identity/matrix.py` by `python -m components.identity --write`; change it there.

Each row is one role. Pods take theirs by EKS Pod Identity, and only the named service account of this environment's
cluster can; AWS services take theirs only for this account. Buckets, tables and the rest are those of the environment:
none of these rights reaches another one's. A right over a thing brings the right to use its key, through the service
that keeps the thing and not directly; keys are named by their alias, so that every policy can be read in a preview
([why](adr/0020-rights-over-keys-by-alias.md)).

`./mlops rehearse` judges calls of every workload by the policies that were really made: what stands here must pass,
the same call on anything else must be denied.

"""


def page() -> str:
    """The page's text."""
    return _TEXT + table()


def main() -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser(prog="python -m components.identity", description="The identity matrix.")
    parser.add_argument("--write", action="store_true", help="write docs/identity.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main()
