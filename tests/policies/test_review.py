"""One stack's part of a review: what the pack told, what the steps are judged, and that nothing is missing."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from policies.evaluation import Evaluation, evaluate
from policies.facts import facts_of
from policies.plan import Resource, Step
from policies.preview import plan_from_preview
from policies.review import stack_review
from policies.rule import GATED, Problem, World, resource_rule, step_rule
from policies.testing import NOW, gate

BUCKET = "aws:s3/bucket:Bucket"
URN = f"urn:pulumi:prod::mlops::{BUCKET}::data"


@resource_rule(
    id="security.test-named", title="A bucket has a name", severity="high", why="…", fix="Name it", types=[BUCKET],
    levels=GATED,
)  # fmt: skip
def named(resource: Resource, world: World) -> Iterator[Problem]:
    """Ask for a name."""
    if not resource.value("bucket"):
        yield Problem("it has no name")


@step_rule(
    id="rollback.test-kept", title="Buckets stay", severity="critical", why="…", fix="Keep it", types=[BUCKET],
    levels=GATED,
)  # fmt: skip
def kept(step: Step, world: World) -> Iterator[Problem]:
    """Refuse that a bucket goes."""
    if step.operation in ("delete", "replace"):
        yield Problem(f"it would be {step.operation}d")


RULES = (named, kept)


def _document(operation: str, *, name: str = "x") -> dict[str, Any]:
    stated = gate(environment="prod")
    bucket = {
        "urn": URN, "type": BUCKET, "inputs": {"bucket": name}, "sourcePosition": "project:///components/buckets.py#88",
    }  # fmt: skip
    return {
        "steps": [
            {
                "op": "same", "urn": stated.urn,
                "newState": {"urn": stated.urn, "type": stated.type, "inputs": dict(stated.inputs)},
            },
            {
                "op": operation, "urn": URN,
                "oldState": None if operation == "create" else bucket,
                "newState": None if operation == "delete" else bucket,
            },
        ]
    }  # fmt: skip


def _told(document: dict[str, Any], *rules: Any) -> dict[str, Any]:
    """What the pack would have written."""
    plan = plan_from_preview(document, "prod")
    found = evaluate(rules, World(plan=plan, facts=facts_of(plan), now=NOW), [])
    return found.to_json()


def test_a_clean_stack_has_no_obstacles() -> None:
    document = _document("create")
    found = stack_review("prod", document, _told(document, named), RULES, [], NOW)
    assert found.obstacles == []
    assert found.operations == {"create": 1, "same": 1}
    assert found.environment == "prod"


def test_what_the_pack_found_is_told_with_its_line() -> None:
    document = _document("create", name="")
    found = stack_review("prod", document, _told(document, named), RULES, [], NOW)
    assert [(one.rule, one.place) for one in found.findings] == [("security.test-named", "components/buckets.py:88")]


def test_steps_are_judged_although_the_pack_sees_none() -> None:
    for operation in ("delete", "replace"):
        document = _document(operation)
        found = stack_review("prod", document, _told(document, named), RULES, [], NOW)
        assert [(one.rule, one.stops) for one in found.findings] == [("rollback.test-kept", True)]
        assert found.findings[0].place == "components/buckets.py:88"
        assert found.steps[0].stateful


def test_a_pack_that_did_not_run_stops() -> None:
    found = stack_review("prod", _document("create"), None, RULES, [], NOW)
    assert found.evaluation is None
    assert found.obstacles == ["prod: the rules did not run"]


def test_a_pack_that_asked_fewer_rules_stops() -> None:
    document = _document("create")
    found = stack_review("prod", document, _told(document), RULES, [], NOW)
    assert [(one.rule, one.status, one.stops) for one in found.findings] == [
        ("security.test-named", "undetermined", True)
    ]
    assert found.counts["undetermined"] == 1


def test_a_plan_without_a_gate_stops() -> None:
    document = {"steps": _document("create")["steps"][1:]}
    told = Evaluation(findings=[], counts={}, asked=[]).to_json()
    assert stack_review("prod", document, told, RULES, [], NOW).obstacles


def test_twenty_reviews_are_identical_whatever_the_order_of_rules() -> None:
    document = _document("replace", name="")
    told = _told(document, named)
    shuffled = random.Random(7)
    seen = set()
    for _ in range(20):
        rules = list(RULES)
        shuffled.shuffle(rules)
        found = stack_review("prod", document, told, rules, [], NOW)
        assert found.evaluation is not None
        seen.add(json.dumps([found.evaluation.to_json(), [vars(one) for one in found.steps]]))
    assert len(seen) == 1
