"""A change of a real environment, reviewed with the real engine: a copy of this repository, a base and two heads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.planning.runs import Program
from infra.review.run import review
from policies.evaluation import Evaluation, evaluate
from policies.facts import facts_of
from policies.pack.servicer import NOW as NOW_VARIABLE
from policies.preview import plan_from_preview
from policies.report.document import Review, StackReview
from policies.rule import World
from policies.rules import all_rules

PROJECT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
STACK = "staging"
DATABASE = "components/registry/database.py"

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def _git(folder: Path, *arguments: str) -> None:
    own = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run([*own, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with the files of this one as the commit `main`."""
    folder = tmp_path_factory.mktemp("review") / "repository"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "base")
    (folder / ".mlops").mkdir()
    (folder / ".mlops" / "venv").symlink_to(PROJECT / ".mlops" / "venv")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def head(copy: Path) -> Iterator[Path]:
    """The copy, put back afterwards."""
    yield copy
    _git(copy, "checkout", "-q", "--", ".")


def _edit(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text()
    assert text.count(old) == 1, f"{old!r} in {file}"
    (folder / file).write_text(text.replace(old, new))


def _reviewed(folder: Path, *stacks: str) -> tuple[Review, StackReview]:
    found = review(folder, "main", NOW, all_rules(), stacks)
    assert [one.stack for one in found.stacks] == [STACK]
    assert found.stacks[0].error == ""
    return found, found.stacks[0]


def test_one_setting_shows_as_one_update(head: Path) -> None:
    file = head / "stacks" / f"Pulumi.{STACK}.yaml"
    file.write_text(re.sub(r"budgetUsd: (\d+)", lambda stated: f"budgetUsd: {int(stated[1]) + 1}", file.read_text()))
    found, stack = _reviewed(head)
    assert STACK not in found.untouched
    assert {"local", "prod"} <= set(found.untouched)
    assert set(stack.operations) == {"update", "same"}
    assert {one.type for one in stack.steps} == {"aws:budgets/budget:Budget", "blueprint:index:Gate"}
    assert all(one.changed for one in stack.steps)


def _with_a_replaced_database(head: Path) -> tuple[Review, StackReview]:
    _edit(head, DATABASE, " identifier=called,", " identifier=f'x-{called}',")
    return _reviewed(head, STACK)


@pytest.fixture(scope="module")
def replaced(copy: Path) -> tuple[Review, StackReview]:
    """The review of a change that replaces the database."""
    try:
        return _with_a_replaced_database(copy)
    finally:
        _git(copy, "checkout", "-q", "--", ".")


def test_a_replaced_database_is_a_finding_at_its_line(replaced: tuple[Review, StackReview]) -> None:
    _, stack = replaced
    (step,) = [one for one in stack.steps if one.type == "aws:rds/instance:Instance"]
    assert (step.operation, step.replaces, step.stateful) == ("replace", ("identifier",), True)
    stopping = [one for one in stack.findings if one.stops and one.urn == step.urn]
    assert stopping
    assert any(one.rule.startswith("rollback.") and one.place.startswith(DATABASE) for one in stopping)


def test_a_review_is_the_same_each_time(replaced: tuple[Review, StackReview], head: Path) -> None:
    first, second = (json.dumps(one.to_json()) for one in (replaced[0], _with_a_replaced_database(head)[0]))
    assert first == second


def test_both_ways_of_reading_a_plan_find_the_same(head: Path, tmp_path: Path) -> None:
    """What the engine hands the pack over the wire, and what it prints for `preview --json`."""
    for old, new in (
        (" publicly_accessible=False,", " publicly_accessible=True,"),
        (" deletion_protection=", " deletion_protection=False and "),
    ):
        _edit(head, DATABASE, old, new)
    file = head / "stacks" / f"Pulumi.{STACK}.yaml"
    file.write_text(re.sub(r"budgetUsd: \d+", "budgetUsd: 100", file.read_text()))

    preview = Program(head, STACK, tmp_path / "plan", head, {NOW_VARIABLE: NOW.isoformat()}).preview(head / "policies")
    assert preview.evaluation is not None
    wire = Evaluation.from_json(preview.evaluation)
    plan = plan_from_preview(preview.document, STACK)
    world = World(plan=plan, facts=facts_of(plan), now=NOW)
    printed = evaluate([one for one in all_rules() if one.scope != "step"], world, ())

    told = [
        {**one.to_json(), "place": ""} for one in wire.findings
    ]  # a pack is not told where a resource is registered
    assert told == [{**one.to_json(), "place": ""} for one in printed.findings]
    failed = {one.rule for one in wire.findings if one.status == "failed"}
    assert failed >= {"security.database-not-public", "cost.expected-within-budget"}
    assert wire.asked == printed.asked
    # The engine prints no providers of its own making, and of those only that they hold no secret is asked.
    own = wire.counts["passed"] - printed.counts["passed"]
    assert {**wire.counts, "passed": 0} == {**printed.counts, "passed": 0}
    assert 0 <= own <= 1


def test_a_program_that_fails_is_told_and_stops(head: Path) -> None:
    _edit(head, "infra/__main__.py", "settings = read_program(PROJECT)", "settings = 1 / 0")
    found = review(head, "main", NOW, all_rules(), [STACK])
    assert "division by zero" in found.stacks[0].error
    assert not found.may_merge


def test_a_pack_that_crashes_is_told_and_stops(head: Path) -> None:
    (head / "policies/__main__.py").write_text("raise SystemExit('the pack is broken')\n")
    found = review(head, "main", NOW, all_rules(), [STACK])
    assert found.stacks[0].error
    assert not found.may_merge
