"""A model as people and `ModelRelease` see it: GET /v1/models/{model}."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.control.managed import Managed, Shadowed
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.analysis.histogram import quantile
from serving.rollout.observation import CommandKind
from serving.rollout.state import Rollout
from serving.traffic import CANDIDATE

_STATES = {
    "pending": "starting",
    "starting": "starting",
    "smoke": "smoke",
    "analysing": "step",
    "promoting": "step",
    "rolling-back": "step",
    "finished": "aborted",
}


def document(
    managed: Managed,
    messages: Sequence[Mapping[str, Any]],
    shadows: Mapping[str, tuple[str, str]],
    problems: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return the document.

    Args:
        managed: the model.
        messages: what was said about its last rollout, oldest first.
        shadows: how each shadow's application is: digest → status, and why.
        problems: versions that a live replica cannot load, each with why.
    """
    state = managed.state
    served = managed.release(managed.published) if managed.published else None
    rollout = _move(managed, messages) or (state.rollout and _rollout(state.rollout, messages))
    return {
        "model": state.model,
        "group": served.group if served else managed.group,
        "served": served and {"version": served.version, "digest": served.digest},
        "proven": [version.to_json() for version in state.proven],
        "returning": state.returning and {"to": state.returning.target.version, "reason": state.returning.reason},
        "rollout": rollout,
        "queued": state.queued and {"id": state.queued.id, "candidate": state.queued.candidate.to_json()},
        "quarantined": [
            {"digest": digest, "reason": reason, "since": f"{managed.quarantined[digest]:%Y-%m-%dT%H:%M:%SZ}"}
            for digest, reason in state.quarantine.items()
        ],
        "shadows": [_shadow(managed, one, *shadows.get(one.digest, ("starting", ""))) for one in managed.shadows],
        "problems": [{"version": version, "reason": reason} for version, reason in problems],
        "possible": list(possible(managed)),
    }


def _shadow(managed: Managed, shadow: Shadowed, status: str, reason: str) -> dict[str, Any]:
    release = managed.release(shadow.digest)
    return {
        "version": release.version,
        "digest": release.digest,
        "sample": shadow.sample / 100,
        "state": status,
        "reason": reason,
        "counts": _counts(shadow.counts),
    }


def stated(managed: Managed) -> dict[str, Any]:
    """Return what is served as somebody asked for it: release, manifest, and the strategy where it is known still."""
    digest, rollout = managed.published, managed.state.rollout
    assert digest is not None
    strategy = None
    if rollout is not None and rollout.candidate.digest == digest:
        strategy = rollout.strategy.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        strategy["kind"] = rollout.strategy.kind
    return {
        "model": managed.state.model,
        "release": managed.release(digest).to_json(),
        "manifest": managed.manifests.get(digest),
        "strategy": strategy,
    }


def public_state(rollout: Rollout) -> str:
    """Return the state's name outside: a candidate that never got traffic has failed, others were rolled back."""
    if rollout.phase in ("rolled-back", "aborted") and not _by_hand(rollout):
        tried = any(part.weight or part.candidate.requests for part in rollout.analysis.real)
        return rollout.phase if tried else "failed"
    return _STATES.get(rollout.phase, rollout.phase)


def possible(managed: Managed) -> tuple[CommandKind, ...]:
    """Return the commands that would have an effect now."""
    state = managed.state
    active = state.active
    if active is None:
        stable = state.stable
        back = any(v.digest != (stable and stable.digest) and v.digest not in state.quarantine for v in state.proven)
        return ("rollback",) if back and state.returning is None else ()
    if active.phase == "rolling-back":
        return ()
    phase = active.paused_phase if active.phase == "paused" else active.phase
    found: list[CommandKind] = []
    if active.phase in ("smoke", "analysing", "baking"):
        found.append("pause")
    if active.phase == "paused":
        found.append("resume")
    if phase in ("analysing", "baking"):
        found.append("promote")
    return (*found, "abort", "rollback")


def _by_hand(rollout: Rollout) -> bool:
    return rollout.reason.startswith(("abort by ", "rollback by "))


def _rollout(rollout: Rollout, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    candidate, stable = rollout.analysis.totals(synthetic=True)
    plan = rollout.strategy.plan()
    begun = rollout.phase not in ("pending", "starting", "smoke")
    return {
        "id": rollout.id,
        "state": public_state(rollout),
        "phase": rollout.phase,
        "reason": rollout.reason,
        "strategy": rollout.strategy.kind,
        "step": min(rollout.step + 1, len(plan)) if begun else 0,
        "steps": len(plan),
        "weight": sum(length for arm, length in rollout.runs if arm == CANDIDATE),
        "mirror": rollout.mirror,
        "candidate": rollout.candidate.to_json(),
        "counts": {"stable": _counts(stable), "candidate": _counts(candidate)},
        "messages": list(messages),
    }


def _counts(counts: ArmCounts) -> dict[str, Any]:
    return {
        "requests": counts.requests,
        "errors": counts.errors,
        "invalid": counts.invalid,
        "labelled": counts.labelled,
        "wrong": counts.wrong,
        "compared": counts.compared,
        "disagreed": counts.disagreed,
        "shed": counts.shed,
        "excused": counts.excused,
        "p50Ms": _milliseconds(counts, 0.5),
        "p99Ms": _milliseconds(counts, 0.99),
    }


def _milliseconds(counts: ArmCounts, share: float) -> float | None:
    seconds = quantile(counts.latency, share)
    return None if seconds is None or seconds == float("inf") else round(1000 * seconds, 3)


def _move(managed: Managed, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Show the answer to a wish for what is served already as a rollout without arms."""
    move, stable = managed.move, managed.state.stable
    if move is None or stable is None:
        return None
    return {
        "id": move.id,
        "state": move.state,
        "phase": move.state,
        "reason": move.reason,
        "strategy": "all-at-once",
        "step": 0,
        "steps": 0,
        "weight": 0,
        "mirror": 0,
        "candidate": stable.to_json(),
        "counts": {"stable": _counts(ArmCounts()), "candidate": _counts(ArmCounts())},
        "messages": list(messages),
    }
