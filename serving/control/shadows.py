"""Shadows of a model: further versions that get copies of its requests, beside stable and beside any rollout.

A shadow answers nobody, but it sees users' requests and takes processor time, so it is admitted like a rollout: by the
rules of the environment, approved, signed and not quarantined. What ends its admission ends the shadow. It is never
judged: a comparison that may stop or promote a version is a rollout of the kind `shadow`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from policies.releases.manifest import Manifest
from serving.control import audit
from serving.control.admission import RefusedError
from serving.control.fleet import Fleet
from serving.control.gate import Gate, GateError, check_manifest, read_manifest
from serving.control.managed import Managed, Shadowed, shadow_name
from serving.control.records import Draft, Said
from serving.control.series import Key
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.observation import Batch
from serving.state import Release, StateError
from serving.traffic import SLOTS

MOST = 8
"""Shadows that one model may have."""
_KEYS = {"version", "digest", "source", "files", "sample", "manifest"}


def state(
    managed: Managed, wanted: Sequence[Any], gate: Gate, by: str, now: datetime, rollout: str, draft: Draft
) -> Managed:
    """Let a model have these shadows and no others; what is compared so far stays with a shadow that stays.

    Args:
        managed: the model.
        wanted: the shadows as JSON: `version`, `digest`, `source`, `files`, `sample` (per cent) and `manifest`.
        gate: the rules of the environment.
        by: who asks.
        now: the time.
        rollout: id of the last rollout, for messages.
        draft: takes what is to be written besides.

    Raises:
        RefusedError: one is malformed or may not run here; then nothing changes.
    """
    if len(wanted) > MOST:
        raise RefusedError(f"shadows: {len(wanted)} are asked for, {MOST} are allowed")
    before = {one.digest: one for one in managed.shadows}
    name, found = managed.state.model, list[Shadowed]()
    for index, one in enumerate(wanted):
        where = f"shadows[{index}]"
        release, sample, manifest = _read(name, one, managed, where)
        if any(release.digest == other.digest for other in found):
            raise RefusedError(f"{where}: version {release.version} is a shadow already")
        if reasons := _refusals(managed, gate, release, manifest, now):
            raise RefusedError(*(f"{where}: version {release.version}: {reason}" for reason in reasons))
        known = before.get(release.digest)
        shadow = known.but(sample=sample) if known else Shadowed(digest=release.digest, sample=sample, by=by)
        found.append(shadow)
        managed = managed.but(
            releases={release.digest: release.to_json()} | managed.releases,
            manifests=managed.manifests | ({release.digest: manifest.to_json()} if manifest else {}),
        )
    if tuple(found) == managed.shadows:
        return managed
    managed = managed.but(shadows=tuple(found))
    told = ", ".join(f"{managed.release(one.digest).version} ({one.sample / 100:g} %)" for one in found) or "none"
    draft.said.append(Said(name, rollout, "info", f"{name}: shadows: {told}"))
    draft.events.append(audit.access(by, "shadows", name, told))
    return managed


def counted(managed: Managed, batches: Sequence[Batch], draft: Draft) -> Managed:
    """Add what replicas counted for shadows, to the model's record and to the counters that Prometheus reads."""
    digests = {one.digest for one in managed.shadows}
    if not any(batch.digest in digests for batch in batches):
        return managed
    shadows = list(managed.shadows)
    for index, one in enumerate(shadows):
        for batch in batches:
            if batch.digest == one.digest:
                shadows[index] = shadows[index].but(counts=shadows[index].counts.plus(batch.counts))
                draft.add(_series(managed.state.model, managed.release(one.digest).version, batch.counts))
    return managed.but(shadows=tuple(shadows))


def kept(managed: Managed, gate: Gate, now: datetime, rollout: str, draft: Draft) -> Managed:
    """Return the model without shadows that may not run any more, and say which and why."""
    ended = {}
    for one in managed.shadows:
        release = managed.release(one.digest)
        stated = managed.manifests.get(one.digest)
        manifest = None if stated is None else read_manifest(stated)
        if reasons := _refusals(managed, gate, release, manifest, now):
            ended[one.digest] = f"shadow {release.version} is ended: {'; '.join(reasons)}"
    if not ended:
        return managed
    name = managed.state.model
    for text in ended.values():
        draft.said.append(Said(name, rollout, "warning", f"{name}: {text}"))
        draft.events.append(audit.access("rule:admission", "shadows", name, text))
    return managed.but(shadows=tuple(one for one in managed.shadows if one.digest not in ended))


def ready(managed: Managed, fleet: Fleet) -> frozenset[str]:
    """Return the digests of the shadows whose application is up: those that get copies."""
    found = set()
    for one in managed.shadows:
        told = fleet.application(shadow_name(managed, one), one.digest)
        if told is not None and told.status == "ready":
            found.add(one.digest)
    return frozenset(found)


def _series(model: str, version: str, counts: ArmCounts) -> dict[Key, float]:
    outcomes = {
        "agreed": counts.compared - counts.disagreed,
        "disagreed": counts.disagreed,
        "failed": counts.failures,
        "shed": counts.shed,
    }
    return {("shadow", model, version, outcome): float(number) for outcome, number in outcomes.items() if number > 0}


def conditions(managed: Managed, fleet: Fleet) -> dict[str, tuple[str, str]]:
    """Return how each shadow's application is: digest → status, and why where it is not ready."""
    found = {}
    for one in managed.shadows:
        told = fleet.application(shadow_name(managed, one), one.digest)
        found[one.digest] = ("starting", "") if told is None else (told.status, told.reason)
    return found


def _read(name: str, data: Any, managed: Managed, where: str) -> tuple[Release, int, Manifest | None]:
    if not isinstance(data, Mapping):
        raise RefusedError(f"{where}: expected an object")
    if unknown := sorted(data.keys() - _KEYS):
        raise RefusedError(f"{where}.{unknown[0]}: unknown key; allowed: {', '.join(sorted(_KEYS))}")
    sample, group = data.get("sample", 100), managed.group
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 < sample <= 100:
        raise RefusedError(f"{where}.sample: expected a share of the requests in per cent, above 0 and up to 100")
    if group is None:
        raise RefusedError(f"{where}: {name} serves nothing yet that a shadow could be compared with")
    try:
        release = Release.from_json({**data, "group": group})
        manifest = None if data.get("manifest") is None else read_manifest(data["manifest"])
        if manifest is not None:
            check_manifest(manifest, name, release)
            release = replace(release, signature=manifest.signature, trained_at=manifest.trained_at)
    except (StateError, GateError) as error:
        raise RefusedError(f"{where}: {error}") from None
    return release, max(1, round(sample * SLOTS / 100)), manifest


def _refusals(
    managed: Managed, gate: Gate, release: Release, manifest: Manifest | None, now: datetime
) -> tuple[str, ...]:
    try:
        stated = None if manifest is None else manifest.to_json()
        judged = gate.judge(managed.state.model, release, stated, managed.quarantined, now)
    except GateError as error:
        return (str(error),)
    return () if judged.allowed else judged.reasons
