"""What the rollout machine tells, as events of the ledger, written in one transaction with the machine's state."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies.ledger.events import (
    AdministrativeAccess,
    AnyEvent,
    ApprovalGiven,
    Approver,
    PolicyVerdict,
    Quarantine,
    ReleaseStep,
    Rollback,
)
from policies.ledger.refusal import redact
from policies.releases.approval import manifest_digest
from policies.releases.manifest import Manifest
from serving.control.gate import Judgement
from serving.control.managed import Asked, Managed
from serving.rollout import effects
from serving.state import Release
from serving.traffic import SLOTS

CONTROLLER = "controller"
_TEXT = 4000
# Phase that was entered → step of the ledger, where that does not depend on more.
_ENDED = {"rolled-back": "failed", "aborted": "aborted", "superseded": "superseded", "finished": "aborted"}


def events(managed: Managed, effect: effects.Effect, rule: str) -> Iterator[AnyEvent]:
    """Translate one effect; messages are for operators, not for the ledger.

    Args:
        managed: the model after the tick.
        effect: the effect.
        rule: name of the environment's watch, for alarms.
    """
    model = managed.state.model
    if isinstance(effect, effects.Quarantine):
        reason = clean(effect.reason)
        yield Quarantine(person=CONTROLLER, model=model, digest=effect.digest, action="quarantined", reason=reason)
    elif isinstance(effect, effects.Record):
        if effect.kind.startswith("rollout."):
            yield from _rollout(managed, effect.kind.removeprefix("rollout."), effect.data)
        else:
            yield from _of_model(managed, effect.kind, effect.data, rule)


def _rollout(managed: Managed, phase: str, data: Mapping[str, Any]) -> Iterator[AnyEvent]:
    asked = managed.asked.get(data["rollout"], Asked(by=CONTROLLER))
    about = {
        "model": managed.state.model,
        "version": data["candidate"]["version"],
        "digest": data["candidate"]["digest"],
        "rollout": data["rollout"],
    }
    evidence = {"counts": data["counts"], **({"verdict": data["verdict"]} if "verdict" in data else {})}
    reason = clean(data["reason"])
    if phase == "rolling-back":
        stable = data["stable"] or {}
        verdict = data.get("verdict") or {}
        yield Rollback(
            person=CONTROLLER,
            **about,
            arm="stable" if data["was"] == "baking" else "candidate",
            to_version=stable.get("version"),
            to_digest=stable.get("digest"),
            trigger=str(verdict.get("criterion") or "controller"),
            reason=reason,
            evidence=evidence,
        )
        return
    step: str
    if phase == "starting":
        step = "started"
    elif phase == "paused":
        step = "paused"
    elif phase == "baking":
        step = "resumed" if data["from"] == "paused" else "promoted"
    elif phase == "promoted":
        step = "baked"
    elif phase in _ENDED:
        step = _ENDED[phase]
    else:
        step = "resumed" if data["from"] == "paused" else "weight"
    strategy = managed.state.rollout.strategy.kind if managed.state.rollout else "all-at-once"
    weighed = step in ("started", "weight", "resumed")
    yield ReleaseStep.model_validate(
        {
            "person": asked.by if step == "started" else CONTROLLER,
            **about,
            "step": step,
            "strategy": strategy,
            "weight": data["weight"] / SLOTS if weighed else None,
            "approvers": tuple(Approver(principal=name, role=role) for name, role in asked.approvers),
            "reason": reason,
            "evidence": evidence,
        }
    )


def _of_model(managed: Managed, kind: str, data: Mapping[str, Any], rule: str) -> Iterator[AnyEvent]:
    model, stable, reason = managed.state.model, data["stable"], clean(data["reason"])
    if kind == "model.refused":
        refused = data["refused"]
        yield refusal(refused["by"], "release", model, refused["candidate"], reason)
    elif kind == "model.rolling-back":
        yield Rollback(
            person=CONTROLLER,
            model=model,
            version=stable["version"],
            digest=stable["digest"],
            rollout=managed.state.rollout.id if managed.state.rollout else "none",
            arm="stable",
            to_version=data["target"]["version"],
            to_digest=data["target"]["digest"],
            trigger=data.get("criterion", "after-promotion"),
            reason=reason,
            evidence=data.get("figures", {}),
        )
    elif kind == "model.alarm":
        about = {"version": stable["version"], "digest": stable["digest"]} if stable else {}
        yield PolicyVerdict(
            person=CONTROLLER,
            model=model,
            **about,
            rule=rule,
            subject=model,
            verdict="failed",
            reasons=(reason,),
            evidence=data.get("figures", {}),
        )


def refusal(by: str, action: str, model: str, candidate: Mapping[str, Any], reason: str) -> AnyEvent:
    """Return the event of something that somebody wanted and did not get."""
    return AdministrativeAccess(
        person=by,
        model=model,
        version=candidate.get("version"),
        digest=candidate.get("digest"),
        action=action,
        resource=f"models/{model}",
        outcome="refused",
        reason=clean(reason),
    )


def access(by: str, action: str, model: str, reason: str) -> AnyEvent:
    """Return the event of something that somebody did."""
    return AdministrativeAccess(
        person=by, model=model, action=action, resource=f"models/{model}", outcome="allowed", reason=clean(reason)
    )


def approvals(
    model: str, release: Release, judgement: Judgement, manifest: Manifest | None, environment: str, now: Any
) -> list[AnyEvent]:
    """Return the events of who approved a release that is about to start."""
    about = {"model": model, "version": release.version, "digest": release.digest}
    if judgement.rule is not None:
        rule: AnyEvent = ApprovalGiven.model_validate(
            {
                "person": f"rule:{environment}",
                **about,
                "role": "rule",
                "environments": (environment,),
                "approved_at": now,
            }
        )
        return [rule]
    return [
        ApprovalGiven.model_validate(
            {
                "person": one.principal,
                **about,
                "role": one.role,
                "key": one.key,
                "environments": (environment,),
                "approved_at": one.approved_at,
                "expires_at": one.expires_at,
                "manifest_digest": manifest and manifest_digest(manifest),
            }
        )
        for one in judgement.approvers
    ]


def withdrawn(managed: Managed, by: str) -> AnyEvent | None:
    """Return the event that a model is no longer served, None if it was not."""
    stable = managed.state.stable
    if stable is None:
        return None
    return ReleaseStep(
        person=by,
        model=managed.state.model,
        version=stable.version,
        digest=stable.digest,
        rollout="none",
        step="withdrawn",
        strategy="none",
    )


def clean(text: str) -> str:
    """Make free text fit for the ledger: short, and without what looks like a secret."""
    return redact(text)[:_TEXT]
