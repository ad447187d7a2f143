"""SARIF: results with a line each, levels by severity, suppressions for what is waived."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.report import sarif
from policies.report.document import Review, Source
from policies.rules.security.buckets import bucket_not_public
from tests.policies.report.conftest import evaluation, finding, stack

Make = Callable[..., Review]


def _run(review: Review, places: sarif.Places | None = None) -> dict[str, Any]:
    document = json.loads(sarif.render(review, [bucket_not_public], places))
    assert document["version"] == "2.1.0"
    run: dict[str, Any] = document["runs"][0]
    return run


def _result(run: dict[str, Any], rule: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in run["results"] if one["ruleId"] == rule)
    return found


def _place(result: dict[str, Any]) -> str:
    physical = result["locations"][0]["physicalLocation"]
    return f"{physical['artifactLocation']['uri']}:{physical['region']['startLine']}"


def test_a_finding_lands_on_the_line_that_registers_its_resource(full: Review) -> None:
    assert _place(_result(_run(full), "security.bucket-not-public")) == "components/registry/aws.py:88"


def test_a_finding_with_a_setting_lands_where_the_setting_is_stated(full: Review) -> None:
    places = {("prod", "aws.governance.budgetUsd"): Source("stacks/Pulumi.prod.yaml", 27)}
    assert _place(_result(_run(full, places), "cost.budget")) == "stacks/Pulumi.prod.yaml:27"


def test_a_finding_without_any_place_lands_on_the_file_of_its_stack(full: Review) -> None:
    assert _place(_result(_run(full), "cost.retention")) == "stacks/Pulumi.prod.yaml:1"


@pytest.mark.parametrize(
    ("stated", "kind", "level"),
    [
        ({}, "fail", "error"),
        ({"severity": "medium"}, "fail", "warning"),
        ({"severity": "low"}, "fail", "note"),
        ({"status": "undetermined"}, "fail", "error"),
        ({"level": "advisory"}, "fail", "note"),
        ({"level": "advisory", "status": "undetermined"}, "open", "none"),
        ({"status": "deferred"}, "review", "none"),
        ({"status": "waived"}, "fail", "note"),
    ],
)
def test_level_and_kind_follow_severity_and_status(review: Make, stated: dict[str, str], kind: str, level: str) -> None:
    result = _run(review(stacks=[stack(evaluation=evaluation(finding(**stated)))]))["results"][0]
    assert (result["kind"], result["level"]) == (kind, level)


def test_what_is_waived_is_suppressed_with_its_justification(full: Review) -> None:
    run = _run(full)
    for rule in ("rollback.no-replacement", "gate.waiver"):
        (suppression,) = _result(run, rule)["suppressions"]
        assert suppression["status"] == "accepted"
        assert suppression["justification"].startswith("dora@acme.example")
    assert "suppressions" not in _result(run, "gate.level")


def test_a_gate_that_is_not_weakened_is_no_result(full: Review) -> None:
    assert "gate.rule" not in {one["ruleId"] for one in _run(full)["results"]}


def test_a_rule_carries_its_help_and_its_frameworks(full: Review) -> None:
    run = _run(full)
    rule = next(one for one in run["tool"]["driver"]["rules"] if one["id"] == "security.bucket-not-public")
    assert "To mend it: give the bucket" in rule["help"]["markdown"]
    assert rule["defaultConfiguration"]["level"] == "error"
    assert "security" in rule["properties"]["tags"]
    assert float(rule["properties"]["security-severity"]) > 9


def test_every_result_points_at_its_rule(full: Review) -> None:
    run = _run(full)
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])


def test_a_review_that_is_not_whole_is_no_successful_run(review: Make) -> None:
    (invocation,) = _run(review(stacks=[stack(evaluation=None)]))["invocations"]
    assert not invocation["executionSuccessful"]
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "prod: the rules did not run"


def test_a_fingerprint_outlives_a_moved_line_and_tells_two_findings_apart(review: Make) -> None:
    def mark(**stated: str) -> str:
        result = _run(review(stacks=[stack(evaluation=evaluation(finding(**stated)))]))["results"][0]
        return str(result["partialFingerprints"]["mlops/v1"])

    assert mark(place="a.py:1") == mark(place="a.py:9")
    assert mark(path="a") != mark(path="b")


def test_two_findings_of_the_same_are_two(review: Make) -> None:
    twice = [finding(text="one"), finding(text="two")]
    results = _run(review(stacks=[stack(evaluation=evaluation(*twice))]))["results"]
    assert len({one["partialFingerprints"]["mlops/v1"] for one in results}) == 2


def test_what_is_no_rule_is_explained_too(full: Review) -> None:
    rule = next(one for one in _run(full)["tool"]["driver"]["rules"] if one["id"] == "gate.level")
    assert "waiver in the same change" in rule["help"]["text"]


def test_it_fits_the_official_schema(full: Review) -> None:
    file = os.environ.get("SARIF_SCHEMA")
    if not file:
        pytest.skip("SARIF_SCHEMA names no file; it is sarif-schema-2.1.0.json of the OASIS standard")
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(sarif.render(full, [bucket_not_public]))
    jsonschema.validate(document, json.loads(Path(file).read_text()))
