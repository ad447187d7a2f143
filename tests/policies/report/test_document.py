"""The review says itself whether a change may be merged, and whatever is missing stands against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from policies.evaluation import Evaluation
from policies.report.document import GateChange, Review, Source, StackReview
from tests.policies.report.conftest import evaluation, finding, stack

Make = Callable[..., Review]


def test_it_may_be_merged_when_every_touched_stack_passed(review: Make) -> None:
    assert review().may_merge


def test_it_may_be_merged_when_it_touches_no_stack_and_says_which(review: Make) -> None:
    assert review(stacks=[], untouched=["prod"]).may_merge


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"error": "the base branch `x` does not exist"}, "the base branch `x` does not exist"),
        ({"stacks": [], "untouched": []}, "no stack was found to review"),
        ({"stacks": [stack(error="it cannot preview")]}, "prod: no review: it cannot preview"),
        ({"stacks": [stack(evaluation=None)]}, "prod: the rules did not run"),
        ({"stacks": [stack(evaluation=Evaluation(findings=[], counts={}, asked=[]))]}, "prod: no rule was asked"),
        ({"stacks": [stack(evaluation=evaluation(finding()))]}, "security.bucket-not-public [failed]"),
        ({"stacks": [stack(evaluation=evaluation(finding(status="undetermined")))]}, "[undetermined]"),
        ({"stacks": [stack(), stack(stack="staging", error="gone")]}, "staging: no review: gone"),
        ({"gate_changes": [GateChange(kind="rule", subject="cost.budget", text="gone", weakens=True)]}, "cost.budget"),
    ],
)
def test_it_must_not_be_merged_when_something_fails_or_is_missing(
    review: Make, broken: dict[str, Any], told: str
) -> None:
    changed = review(**broken)
    assert not changed.may_merge
    assert told in changed.obstacles[0]


@pytest.mark.parametrize("harmless", [{"level": "advisory"}, {"status": "deferred"}, {"status": "waived"}])
def test_it_may_be_merged_when_a_finding_does_not_stop(review: Make, harmless: dict[str, Any]) -> None:
    assert review(stacks=[stack(evaluation=evaluation(finding(**harmless)))]).may_merge


def test_a_weakened_gate_passes_only_when_somebody_answers_for_it(review: Make) -> None:
    weakened = GateChange(kind="rule", subject="cost.budget", text="gone", weakens=True, waiver="dora: agreed")
    assert review(gate_changes=[weakened]).may_merge


def test_its_json_reads_back_as_the_same_document(full: Review) -> None:
    assert Review.from_json(json.loads(json.dumps(full.to_json()))).to_json() == full.to_json()


def test_what_the_json_says_of_merging_is_not_believed(full: Review) -> None:
    forged = {**full.to_json(), "mayMerge": True, "obstacles": []}
    assert not Review.from_json(forged).may_merge


@pytest.mark.parametrize("stated", [{}, {"format": "mlops-review/2"}, {"format": "mlops-review/1", "base": "a"}])
def test_json_of_another_kind_is_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="review"):
        Review.from_json(stated)


def test_counts_name_every_status_so_that_no_finding_differs_from_not_run() -> None:
    assert StackReview(stack="prod").counts["passed"] == 0
    assert set(stack().counts) == {"passed", "failed", "undetermined", "deferred", "waived", "not applicable"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a/b.py:12", Source("a/b.py", 12)),
        ("a/b.py", Source("a/b.py", 1)),
        ("a/b.py:0", Source("a/b.py", 1)),
        ("", None),
    ],
)
def test_a_place_is_a_file_and_a_line(text: str, place: Source | None) -> None:
    assert Source.parse(text) == place
