"""Proposing, approving and pinning: the files that these commands write, judged by the policies that read them."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import yaml

from infra.cli import manifests
from infra.cli.context import Context
from infra.releases import read_manifest
from policies.releases import keys
from policies.releases.approval import sign_artifact
from policies.releases.decision import EnvironmentRules, decide
from policies.releases.evaluation import Evaluation, check
from policies.releases.manifest import Manifest

DIGEST = "sha256:" + "a" * 64


def evaluation() -> dict[str, Any]:
    judged = check("quality", "AUC", 0.8, "at-least", 0.7)
    return Evaluation.model_validate(
        {
            "model": "churn",
            "digest": DIGEST,
            "dataDigest": "sha256:" + "d" * 64,
            "seed": 7,
            "evaluatedAt": "2026-11-20T09:00:00Z",
            "architecture": "x86_64",
            "heldOut": {"kind": "random", "rows": 10, "trainingRows": 90, "positives": 4},
            "metrics": {"auc": {"value": 0.8}},
            "baseline": {"name": "constant", "description": "", "metrics": {"auc": {"value": 0.5}}},
            "latency": {"runtime": "onnx", "predictions": 10, "rounds": 1, "p50Ms": 0.1, "p99Ms": 0.2},
            "checks": [judged.to_json()],
            "passed": True,
            "reasons": [],
        }
    ).to_json()


def candidate(**different: Any) -> dict[str, Any]:
    return {
        "model": "churn",
        "version": "3",
        "digest": DIGEST,
        "source": "mlflow-artifacts:/1/run7/artifacts/model",
        "files": {"model.onnx": "b" * 64},
        "run": "run7",
        "commit": "c" * 40,
        "dataDigest": "sha256:" + "d" * 64,
        "seed": 7,
        "passed": True,
        "evaluation": evaluation(),
    } | different


REGISTRY = {
    "/api/2.0/mlflow/registered-models/get": {
        "registered_model": {
            "description": "Who leaves soon.",
            "tags": [{"key": "mlops.risk_tier", "value": "high"}],
        }
    },
    "/api/2.0/mlflow-artifacts/artifacts/1/run7/artifacts/environment.json": {"lockDigest": "sha256:" + "e" * 64},
}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that knows what the training run left there."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = REGISTRY.get(request.url.path)
        return httpx.Response(200, json=found) if found else httpx.Response(404, text="not here")

    def http(self: Context, name: str, *, timeout: float = 30.0) -> httpx.Client:
        if name == "control":
            return httpx.Client(base_url="http://127.0.0.1:1")
        return httpx.Client(base_url="http://registry", transport=httpx.MockTransport(answer))

    monkeypatch.setattr(Context, "http", http)


def train(project: Any, **different: Any) -> None:
    result = candidate(**different)
    file = project.home / "data" / "jobs" / "train-churn" / result["version"] / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(result))


def proposed(project: Any, version: str = "3") -> Manifest:
    found = read_manifest(project.root, "churn", version)
    assert found is not None
    return Manifest.model_validate(found)


def decision(project: Any, manifest: Manifest) -> Any:
    root = keys.make_demo_keys(project.home / "data" / "keys", "local").trust_root
    rules = EnvironmentRules(environment="local", trust_roots=("local",))
    return decide(manifest, {"local": root}, datetime.now(UTC) + timedelta(minutes=1), rules)


def test_proposal_holds_the_facts_of_the_run_and_no_approval(project: Any) -> None:
    train(project, version="2", digest="sha256:" + "9" * 64)
    train(project)

    ran = project.run("release", "propose", "churn")

    assert ran.failure == ""
    manifest = proposed(project)
    assert (manifest.digest, manifest.risk_tier, manifest.intended_use) == (DIGEST, "high", "Who leaves soon.")
    assert manifest.trained_by == "trainer@local"
    assert decision(project, manifest).reasons[0].startswith("risk tier high needs approvals by 2 different people")


def test_two_people_approve_and_the_policy_lets_it_start(project: Any) -> None:
    train(project)
    project.run("release", "propose", "churn")

    first = project.run("release", "approve", "churn", "-m", "read the report", "--json")
    second = project.run("release", "approve", "churn", "--role", "model-risk", "--days", "30")

    assert (first.failure, second.failure) == ("", "")
    assert first.json["manifest"]["approvals"][0]["comment"] == "read the report"
    judged = decision(project, proposed(project))
    assert judged.allowed, judged.reasons
    assert [one.principal for one in judged.approvers] == ["owner@local", "risk@local"]


def test_proposing_again_keeps_the_approvals(project: Any) -> None:
    train(project)
    project.run("release", "propose", "churn")
    project.run("release", "approve", "churn")

    project.run("release", "propose", "churn", "--version", "3")

    assert len(proposed(project).approvals) == 1


def test_own_key_needs_a_name_and_signs(project: Any) -> None:
    train(project)
    project.run("release", "propose", "churn")
    keys.make_key(project.root / "mine", "asha")

    unnamed = project.run("release", "approve", "churn", "--key", str(project.root / "mine"))
    named = project.run("release", "approve", "churn", "--key", str(project.root / "mine"), "--as", "asha@example.com")

    assert "--key needs --as" in unnamed.failure
    assert named.failure == ""
    # The key is in no trust root: the approval is there and does not count.
    assert any("unknown signer" in reason for reason in decision(project, proposed(project)).reasons)


def test_trainer_cannot_approve(project: Any) -> None:
    train(project)
    project.run("release", "propose", "churn")
    key = project.home / "data" / "keys" / "trainer"

    ran = project.run("release", "approve", "churn", "--key", str(key), "--as", "trainer@local")

    assert "trained version 3 of churn and can't approve it" in ran.failure


def test_approval_reaches_a_controller_that_knows_the_model(project: Any, controlled: Callable[..., Any]) -> None:
    server = controlled(lambda method, path, body: (200, {"model": "churn"}))
    train(project)
    project.run("release", "propose", "churn")

    project.run("release", "approve", "churn")

    (posted,) = [(path, body) for method, path, body in server.requests if method == "POST"]
    assert posted[0] == "/v1/models/churn/approvals"
    assert posted[1]["digest"] == DIGEST
    assert posted[1]["approval"] == proposed(project).approvals[0].to_json()


@pytest.mark.parametrize(
    ("different", "arguments", "said"),
    [
        ({"passed": False}, ["--version", "3"], "did not pass its evaluation"),
        ({"passed": False}, [], "no version of churn that was trained here passed"),
        ({}, ["--version", "8"], "version 8 of churn was not trained in stack local; known are: 3"),
        ({"commit": "unknown"}, [], "'unknown', which is no commit. Train in a git checkout, or set MLOPS_COMMIT"),
        ({"commit": "abcdef0"}, [], "an abbreviation that this checkout knows no or several commits for"),
        ({"source": "mlflow-artifacts:/1/gone/artifacts/model"}, [], "the registry answers 404"),
    ],
)
def test_what_cannot_be_proposed_says_why(
    different: dict[str, Any], arguments: list[str], said: str, project: Any
) -> None:
    train(project, **different)

    assert said in project.run("release", "propose", "churn", *arguments).failure


def test_abbreviated_commit_is_resolved_by_the_checkout(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "PROJECT", project.root)
    git = ["git", "-C", str(project.root), "-c", "user.name=T", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "as trained"], check=True)
    whole = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    train(project, commit=whole[:8])

    project.run("release", "propose", "churn")

    assert proposed(project).commit == whole


def test_signature_and_intended_use_are_those_of_the_training(project: Any) -> None:
    people = keys.make_demo_keys(project.home / "data" / "keys", "local")
    signer = keys.key_signer(keys.read_private_key(people.trainer.key))
    theirs = sign_artifact("churn", DIGEST, "ci@company", "local", signer).to_json()
    stated = {"signature": theirs, "trainedBy": "ci@company", "intendedUse": "letters", "riskTier": "low"}
    train(project, **stated)
    train(project, **stated, version="4", digest="sha256:" + "9" * 64,
          evaluation=evaluation() | {"digest": "sha256:" + "9" * 64})  # fmt: skip

    project.run("release", "propose", "churn", "--version", "3")
    project.run("release", "propose", "churn", "--version", "4")

    kept, anew = proposed(project), proposed(project, "4")
    assert (kept.to_json()["signature"], kept.trained_by) == (theirs, "ci@company")
    assert (kept.intended_use, kept.risk_tier) == ("letters", "low")
    # The other one's signature is over other content, so that it is none.
    assert anew.signature is not None
    assert anew.signature.principal == "trainer@local"


def test_model_that_the_stack_lacks_is_named(project: Any) -> None:
    assert "stack local has no model 'chrun'; it has: churn" in project.run("release", "propose", "chrun").failure


def test_nothing_proposed_says_what_to_do(project: Any) -> None:
    assert "no manifest of churn; proposed are: none" in project.run("release", "approve", "churn").failure


def test_revert_pins_what_is_served_and_leaves_the_rest_of_the_file(
    project: Any, controlled: Callable[..., Any]
) -> None:
    train(project)
    controlled(lambda method, path, body: (200, {"served": {"version": "3", "digest": DIGEST}}))

    ran = project.run("release", "revert", "churn", "--json")

    assert ran.json["version"] == "3"
    text = project.stack_file.read_text()
    assert "# The stack of these tests." in text
    assert "folder: training/churn  # the code" in text
    assert yaml.safe_load(text)["config"]["mlops:models"]["churn"]["version"] == "3"
    assert proposed(project).digest == DIGEST
    assert Context("local").settings.models["churn"].version == "3"


def test_revert_refuses_a_manifest_of_something_else(project: Any, controlled: Callable[..., Any]) -> None:
    train(project)
    controlled(lambda method, path, body: (200, {"served": {"version": "3", "digest": "sha256:" + "f" * 64}}))

    assert "is of another artifact than version 3 that is served" in project.run("release", "revert", "churn").failure
    assert "latest" in project.stack_file.read_text()
