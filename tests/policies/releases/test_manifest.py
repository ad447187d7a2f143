"""The release manifest's schema, and the bytes that approvers sign."""

from typing import Any

import pytest
from pydantic import ValidationError

from policies.releases.evaluation import check
from policies.releases.manifest import Approval, Manifest, Statement, signed_bytes

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
SSH = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "model": "a-model",
        "version": "3",
        "digest": DIGEST,
        "source": "mlflow-artifacts:/1/run/artifacts/model",
        "files": {"model.onnx": "c" * 64},
        "run": "run",
        "commit": "d" * 40,
        "trainedBy": "trainer@example.com",
        "trainedAt": "2026-11-02T10:00:00Z",
        "dataDigest": DIGEST,
        "seed": 7,
        "lockDigest": DIGEST,
        "architecture": "x86_64",
        "riskTier": "high",
        "intendedUse": "tests",
        "evaluation": {
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
            "checks": [check("quality", "rocAuc", 0.8, "at-least", 0.7).to_json()],
            "passed": True,
            "reasons": [],
        },
        **changes,
    }


def statement(**changes: Any) -> dict[str, Any]:
    return {
        "principal": "risk@example.com",
        "role": "model-risk",
        "environments": ["staging"],
        "approvedAt": "2026-11-03T10:00:00Z",
        "expiresAt": "2027-05-03T10:00:00Z",
        "trustRoot": "rehearsal",
        **changes,
    }


def test_manifest_survives_its_own_json_when_it_is_approved() -> None:
    first = Manifest.model_validate(manifest(approvals=[statement(signature=SSH)]))
    assert Manifest.model_validate(first.to_json()) == first
    assert first.approvals[0].role == "model-risk"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": OTHER}, "digest is sha256:b+, but the evaluation is of sha256:a+"),
        ({"model": "another"}, "model is another, but the evaluation is of a-model"),
        ({"dataDigest": OTHER}, "dataDigest"),
        ({"version": "latest"}, "version"),
        ({"version": "0"}, "version"),
        ({"commit": "unknown"}, "commit"),
        ({"riskTier": "none"}, "riskTier"),
        ({"files": {"../model.onnx": "c" * 64}}, "not a plain relative path"),
        ({"files": {"/model.onnx": "c" * 64}}, "not a plain relative path"),
        ({"files": {}}, "files"),
        ({"approvedBy": "me"}, "approvedBy"),
        ({"approvals": [statement(signature="signed")]}, "signature"),
        ({"approvals": [statement(signature=SSH, expiresAt="2026-11-01T00:00:00Z")]}, "expires before it was given"),
    ],
)
def test_manifest_is_refused_when_it_contradicts_itself(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Manifest.model_validate(manifest(**changes))


def test_approvers_sign_the_same_manifest_whatever_others_approved() -> None:
    alone = Manifest.model_validate(manifest())
    approved = Manifest.model_validate(manifest(approvals=[statement(signature=SSH, principal="other@example.com")]))
    mine = Statement.model_validate(statement())
    assert signed_bytes(alone, mine) == signed_bytes(approved, mine)
    assert signed_bytes(alone, Approval.model_validate(statement(signature=SSH))) == signed_bytes(alone, mine)


@pytest.mark.parametrize(
    "change", [{"environments": ["prod"]}, {"expiresAt": "2037-01-01T00:00:00Z"}, {"role": "platform"}]
)
def test_signed_bytes_change_with_the_approvers_statement(change: dict[str, Any]) -> None:
    judged = Manifest.model_validate(manifest())
    assert signed_bytes(judged, Statement.model_validate(statement())) != signed_bytes(
        judged, Statement.model_validate(statement(**change))
    )


def test_signed_bytes_change_with_the_manifest() -> None:
    mine = Statement.model_validate(statement())
    first, second = Manifest.model_validate(manifest()), Manifest.model_validate(manifest(intendedUse="more"))
    assert signed_bytes(first, mine) != signed_bytes(second, mine)


def test_times_sign_the_same_when_they_are_written_in_another_zone() -> None:
    judged = Manifest.model_validate(manifest())
    utc = Statement.model_validate(statement(approvedAt="2026-11-03T10:00:00Z"))
    same = Statement.model_validate(statement(approvedAt="2026-11-03T10:00:00+00:00"))
    assert signed_bytes(judged, utc) == signed_bytes(judged, same)
