"""Which tests failed, and why, in a line each: what `./mlops test` ends with."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

_WIDTH = 200
"""Characters of a reason; all of it stands where pytest printed the failure."""

REPORT_OPTIONS = ("-o", "junit_family=xunit1")
"""What makes pytest name the file of each test in the report of `--junitxml`."""


class Failure(NamedTuple):
    """A test that failed, or that could not be run."""

    test: str
    """As pytest names it, so that it can be run again."""
    reason: str


def failures(report: Path) -> list[Failure] | None:
    """Read the failures out of a report that pytest wrote with `--junitxml` and `REPORT_OPTIONS`.

    Returns:
        The failures in the order of the run, or nothing if there is no whole report: pytest was ended before its own
        end.
    """
    try:
        cases = ET.parse(report).iter("testcase")  # noqa: S314 - of our own making
    except (OSError, ET.ParseError):
        return None
    found = []
    for case in cases:
        for kind in ("failure", "error"):
            for outcome in case.iterfind(kind):
                file = case.get("file") or case.get("classname", "").replace(".", "/")
                found.append(Failure(f"{file}::{case.get('name')}", _first_line(outcome.get("message", ""))))
    return found


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…"
