"""The evaluation's schema: a verdict that its checks do not carry is refused."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from policies.releases.evaluation import Check, Evaluation, check, holds, verdict

DIGEST = "sha256:" + "a" * 64


def evaluation(**changes: Any) -> dict[str, Any]:
    good = check("quality", "rocAuc", 0.8, "at-least", 0.7)
    return {
        "model": "a-model",
        "digest": DIGEST,
        "dataDigest": DIGEST,
        "seed": 7,
        "evaluatedAt": "2026-11-02T10:00:00Z",
        "architecture": "x86_64",
        "heldOut": {"kind": "random", "rows": 10, "trainingRows": 20, "positives": 4},
        "metrics": {"rocAuc": {"value": 0.8}},
        "baseline": {"name": "b", "description": "", "metrics": {}},
        "latency": {"runtime": "onnxruntime", "predictions": 10, "rounds": 1, "p50Ms": 0.1, "p99Ms": 0.2},
        "checks": [good.to_json()],
        "passed": True,
        "reasons": [],
        **changes,
    }


FAILED = check("quality", "f1", 0.1, "at-least", 0.5)


@pytest.mark.parametrize(
    ("value", "comparison", "limit", "expected"),
    [
        (0.7, "at-least", 0.7, True),
        (0.69, "at-least", 0.7, False),
        (0.7, "at-most", 0.7, True),
        (0.71, "at-most", 0.7, False),
        (None, "at-most", 0.7, False),
        (math.nan, "at-least", 0.7, False),
        (math.inf, "at-least", 0.7, False),
    ],
)
def test_limit_holds_only_for_a_value_on_its_side(value: Any, comparison: Any, limit: float, expected: bool) -> None:
    assert holds(value, comparison, limit) is expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.1, "f1 is 0.1, must be at least 0.5"),
        (None, "f1: no rows"),
        (math.nan, "f1: no rows"),
    ],
)
def test_failed_check_says_why(value: Any, reason: str) -> None:
    assert check("quality", "f1", value, "at-least", 0.5, absent="no rows").reason == reason


def test_no_checks_are_no_pass() -> None:
    assert verdict([]) == (False, ())


def test_evaluation_survives_its_own_json() -> None:
    first = Evaluation.model_validate(evaluation())
    assert Evaluation.model_validate(first.to_json()) == first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"passed": False}, "passed is False, but the checks say True"),
        ({"checks": [FAILED.to_json()]}, "passed is True, but the checks say False"),
        ({"checks": [FAILED.to_json()], "passed": False}, "reasons are not those of the failed checks"),
        ({"checks": [], "passed": True}, "at least 1 item"),
        ({"reasons": ["because"]}, "reasons"),
        ({"surprise": 1}, "surprise"),
        ({"digest": "sha256:short"}, "digest"),
        ({"evaluatedAt": "2026-11-02T10:00:00"}, "time zone"),
        ({"heldOut": {"kind": "time", "rows": 1, "trainingRows": 1, "positives": 0}}, "states start and end"),
        ({"metrics": {"rocAuc": {"value": math.nan}}}, "finite number"),
    ],
)
def test_evaluation_is_refused_when_it_contradicts_itself(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Evaluation.model_validate(evaluation(**changes))


def test_check_is_refused_when_its_verdict_is_not_its_numbers() -> None:
    with pytest.raises(ValidationError, match="passed is True"):
        Check(family="quality", name="f1", value=0.1, comparison="at-least", limit=0.5, passed=True)


def test_schema_forbids_unknown_keys() -> None:
    assert Evaluation.model_json_schema(by_alias=True)["additionalProperties"] is False
