"""Releases for tests of rules: manifests signed and approved by people whose keys are made for the test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519

from policies.manifests import RELEASE
from policies.plan import Resource
from policies.releases import evaluation as ev
from policies.releases.approval import approval_namespace, approve, sign_artifact, with_approval
from policies.releases.keys import AllowedSigner, key_signer
from policies.releases.manifest import ARTIFACT_NAMESPACE, Manifest, Statement
from policies.releases.signing import public_key
from policies.testing import NOW, resource

ROOT = "company"


@dataclass(frozen=True)
class Person:
    """Somebody with a key for one purpose."""

    principal: str
    role: str | None

    @property
    def key(self) -> ed25519.Ed25519PrivateKey:
        return _key(self.principal)

    @property
    def line(self) -> str:
        namespace = ARTIFACT_NAMESPACE if self.role is None else approval_namespace(self.role)
        return AllowedSigner((self.principal,), (namespace,), public_key(self.key)).line()


@cache
def _key(principal: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(principal.encode().ljust(32, b"."))


TRAINER, OWNER, RISK = (
    Person("trainer@acme", None),
    Person("asha@acme", "model-owner"),
    Person("ravi@acme", "model-risk"),
)
SIGNERS = "\n".join(one.line for one in (TRAINER, OWNER, RISK))


def checks(**values: float) -> tuple[ev.Check, ...]:
    stated = {"rocAuc": 0.8, "gain": 0.1, "loss": 0.01, "p99": 1.0, "selectionRatio by group": 0.9} | values
    return (
        ev.check("quality", "rocAuc", stated["rocAuc"], "at-least", 0.7),
        ev.check("baseline", "gain", stated["gain"], "at-least", 0.05),
        ev.check("robustness", "loss", stated["loss"], "at-most", 0.05),
        ev.check("latency", "p99", stated["p99"], "at-most", 20),
        ev.check("fairness", "selectionRatio by group", stated["selectionRatio by group"], "at-least", 0.8),
    )


def manifest(
    version: str = "2",
    *,
    tier: Any = "medium",
    judged: tuple[ev.Check, ...] | None = None,
    approvers: tuple[Person, ...] = (OWNER,),
    signed: bool = True,
    error: float | None = 0.01,
    groups: bool = True,
    expires: datetime = NOW + timedelta(days=90),
    environments: tuple[str, ...] = ("prod",),
    root: str = ROOT,
    **changes: Any,
) -> dict[str, Any]:
    """Return the manifest of a version, signed by its trainer and approved."""
    digest = "sha256:" + version[-1] * 64
    judged = checks() if judged is None else judged
    passed, reasons = ev.verdict(judged)
    quality = next((one.value for one in judged if one.name == "rocAuc"), None)
    group = ev.Group(
        name="a", rows=10, selection_rate=0.5, true_positive_rate=0.5, false_positive_rate=0.1, accuracy=0.9
    )
    fairness = ev.Fairness(
        attribute="group", positive="1", used_as_feature=False, groups=(group,), gaps={"selectionRatio": 0.9}
    )
    report = ev.Evaluation(
        model="loans", digest=digest, data_digest="sha256:" + "d" * 64, seed=7, evaluated_at=NOW - timedelta(days=2),
        architecture="x86_64", held_out=ev.HeldOut(kind="random", rows=100, training_rows=900, positives=20),
        metrics={"rocAuc": ev.Metric(value=quality or 0.0, standard_error=error)},
        baseline=ev.Baseline(name="prior", description="", metrics={}),
        fairness=(fairness,) if groups else (),
        latency=ev.Latency(runtime="onnx", predictions=10, rounds=1, p50_ms=0.1, p99_ms=0.2),
        checks=judged, passed=passed, reasons=reasons,
    )  # fmt: skip
    signature = sign_artifact("loans", digest, TRAINER.principal, root, key_signer(TRAINER.key))
    stated: dict[str, Any] = {
        "model": "loans", "version": version, "digest": digest, "source": "models:/loans", "run": "r1",
        "files": {"model.onnx": "e" * 64}, "commit": "c" * 40, "trained_by": TRAINER.principal,
        "trained_at": NOW - timedelta(days=2), "data_digest": "sha256:" + "d" * 64, "seed": 7,
        "lock_digest": "sha256:" + "f" * 64, "architecture": "x86_64", "risk_tier": tier,
        "intended_use": "answer sooner", "evaluation": report,
        "signature": signature if signed else None,
    }  # fmt: skip
    made = Manifest(**(stated | changes))
    for one in approvers:
        statement = Statement(
            principal=one.principal, role=one.role, environments=environments, approved_at=NOW - timedelta(hours=1),
            expires_at=expires, trust_root=root,
        )  # fmt: skip
        made = with_approval(made, approve(made, statement, key_signer(one.key)))
    return made.to_json()


def release(stated: Any = None, previous: Any = None, **changes: Any) -> Resource:
    """Return the release of a manifest; `previous` is that of the version before."""
    inputs: dict[str, Any] = {
        "model": "loans",
        "version": "2",
        "group": "shared",
        "manifest": manifest() if stated is None else stated,
        "previous": previous,
        "strategy": {"kind": "canary", "steps": [{"weight": 5, "minutes": 5}], "bakeMinutes": 10},
        "trust": {"environment": "prod", "approval": "signatures", "root": ROOT, "signers": SIGNERS},
        "wait": True,
    }
    return resource(RELEASE, "loans", inputs | changes)
