"""The gates of two real checkouts, compared: what somebody edits in a pull request is found, and nothing else is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from policies.report.gate_diff import gate_changes
from policies.report.gate_state import GateState, read_gate_state

PROJECT = Path(__file__).parents[3]
RULE = "policies/rules/security/buckets.py"
TODAY = date(2026, 11, 20)

pytestmark = pytest.mark.slow


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A checkout of what gates are made of."""
    for folder in ("policies", "stacks"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def base() -> GateState:
    """The gates of this project, as far as the copies have their files."""
    read = read_gate_state(PROJECT)
    kept = {path: digest for path, digest in read.files.items() if path.startswith(("policies/", "stacks/"))}
    return replace(read, files=kept)


def test_edits_that_weaken_are_each_found_and_nothing_else_is(base: GateState, head: Path) -> None:
    _edit(head / RULE, "waivable=False", "waivable=True")
    _edit(head / RULE, "levels=EVERYWHERE_ON_AWS", "levels={**EVERYWHERE_ON_AWS, 'prod': 'advisory'}")
    _edit(head / RULE, "is not True:", "is False:")
    _edit(head / "stacks" / "Pulumi.prod.yaml", "budgetUsd: ", "budgetUsd: 9")
    _edit(head / RULE, "from __future__", "# a comment\nfrom __future__")
    _edit(head / "policies" / "judge.py", "from __future__", "# a comment\nfrom __future__")
    found = [(one.kind, one.subject, one.stops) for one in gate_changes(base, read_gate_state(head), TODAY)]
    assert sorted(found) == [
        ("code", "security.bucket-not-public", True),
        ("level", "security.bucket-not-public", True),
        ("setting", "prod: aws.governance.budgetUsd", True),
        ("waivable", "security.bucket-not-public", True),
    ]


def test_a_head_that_cannot_be_loaded_stops(base: GateState, head: Path) -> None:
    _edit(head / RULE, "import", "imprt")
    (stop,) = [one for one in gate_changes(base, read_gate_state(head), TODAY) if one.stops]
    assert (stop.kind, stop.subject) == ("unknown", "head")
    assert "SyntaxError" in stop.text
