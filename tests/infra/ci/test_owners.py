"""The owners of the gates: all that the gate diff watches has one, and so has what the gates measure by."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from policies.report.gate_state import GATE_FILES, WORKFLOWS
from policies.waivers import FILE as WAIVERS

PROJECT = Path(__file__).parents[3]
LINES = [
    line.split()
    for line in (PROJECT / ".github/CODEOWNERS").read_text().splitlines()
    if line and not line.startswith("#")
]
PLACEHOLDER = "@example-org/gate-owners"
GATED = [f"stacks/Pulumi.{stack}.yaml" for stack in ("staging", "staging-releases", "prod", "prod-releases")]
WATCHED = sorted(
    {one.relative_to(PROJECT).as_posix() for pattern in (*GATE_FILES, *WORKFLOWS) for one in PROJECT.glob(pattern)}
    | {one.relative_to(PROJECT).as_posix() for one in (PROJECT / "stacks/baselines").iterdir()}
    | {WAIVERS, *GATED, "stacks/trust/rehearsal.allowed_signers", "policies/rules/cost/budget.py"}
)


def owned(path: str) -> bool:
    """Whether a line covers a path; all of ours begin at the project's folder, and `/` at an end means all below."""
    return any(
        fnmatchcase(path, pattern[1:] + "*" if pattern.endswith("/") else pattern[1:]) for pattern, *_owners in LINES
    )


@pytest.mark.parametrize("path", WATCHED)
def test_what_the_gates_are_made_of_has_an_owner(path: str) -> None:
    assert owned(path)


def test_texts_and_tests_have_none() -> None:
    assert not any(
        owned(path) for path in ("docs/policies.md", "tests/policies/test_judge.py", "stacks/Pulumi.dev.yaml")
    )


def test_lines_begin_at_the_project_and_name_something_that_is_there() -> None:
    for pattern, *owners in LINES:
        assert pattern.startswith("/")
        assert owners
        assert all("@" in one for one in owners)
        assert pattern == "/.gitlab-ci.yml" or list(PROJECT.glob(pattern.strip("/"))), pattern


def test_people_are_told_to_put_their_own_team_in_its_place() -> None:
    assert PLACEHOLDER in (PROJECT / "docs/how-to/review-in-pull-requests.md").read_text()
