"""From a wish to a rollout that may start: the strategy, the rules of the environment, the quarantine, the group."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from policies.ledger.events import Quarantine
from policies.releases.manifest import Approval, Manifest
from serving.control import audit
from serving.control.gate import Gate, GateError, Judgement, add_approval, check_manifest, read_manifest
from serving.control.managed import Asked, Managed, Move
from serving.control.records import Draft, Said
from serving.rollout import model
from serving.rollout.observation import Version
from serving.rollout.strategy import Strategy
from serving.state import Release


class RefusedError(Exception):
    """A request of a caller cannot be met; the message says why."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def parse_strategy(data: Mapping[str, Any], seconds: float) -> Strategy:
    """Read a strategy.

    Args:
        data: its JSON form. All at once replaces the version as soon as every replica has loaded it, and is done then.
        seconds: how long replicas may take to load a version, where the strategy does not say.

    Raises:
        RefusedError: with the key that is wrong.
    """
    stated = dict(data)
    if stated.get("kind", "all-at-once") == "all-at-once":
        stated.setdefault("bakeMinutes", 0)
    deadlines = stated.get("deadlines")
    if deadlines is None or isinstance(deadlines, dict):
        stated["deadlines"] = {"start": seconds, "swap": seconds} | (deadlines or {})
    try:
        return Strategy.model_validate(stated)
    except ValidationError as error:
        one = error.errors()[0]
        where = ".".join(str(part) for part in ("strategy", *one["loc"]))
        raise RefusedError(f"{where}: {one['msg'].removeprefix('Value error, ')}") from None


def admit(
    managed: Managed,
    release: Release,
    strategy: Strategy,
    approval: Any,
    manifest: Mapping[str, Any] | None,
    gate: Gate,
    by: str,
    now: datetime,
    draft: Draft,
) -> Managed:
    """Let a release in: the model's next state, with its rollout asked for; events go into the draft.

    Raises:
        RefusedError: with all reasons.
    """
    state, digest = managed.state, release.digest
    active = state.active
    if active and active.candidate.digest == digest and active.phase != "rolling-back":
        return managed.but(state=state.but(queued=None))
    stated = _manifest(managed, release, manifest, approval)
    if stated is not None:
        # What people approved says who signed; a caller's word beside it does not count.
        release = replace(release, signature=stated.signature, trained_at=stated.trained_at)
    served = state.stable is not None and state.stable.digest == digest and not state.returning
    if served and active is None:
        # Approved or not, it is what is served: nothing starts.
        return _served(_signed_anew(managed, release, stated, gate, now), release)
    _check_group(managed, release, strategy)
    judgement = _judge(managed, gate, release, stated, now)
    if not judgement.allowed:
        raise RefusedError(*judgement.reasons)
    known = managed.releases.get(digest)
    rollout = uuid.uuid4().hex[:12]
    managed = managed.but(
        releases=_kept(managed) | {digest: known if served and known else release.to_json()},
        manifests=managed.manifests | ({digest: stated.to_json()} if stated else {}),
        asked=_asked(managed) | {rollout: Asked(by=by, approvers=_approvers(gate, judgement))},
        move=None,
    )
    managed = _lifted(managed, digest, by, draft)
    draft.events += audit.approvals(state.model, release, judgement, stated, gate.rules.environment, now)
    wish = model.Request(
        id=rollout, candidate=Version(version=release.version, digest=digest), strategy=strategy, by=by
    )
    asked_for, happened = model.request(managed.state, wish)
    managed = managed.but(state=asked_for)
    for effect in happened:
        draft.events += audit.events(managed, effect, f"{gate.rules.environment}:watch")
    return managed


def approve(managed: Managed, digest: str, approval: Any, gate: Gate, by: str, now: datetime, draft: Draft) -> Managed:
    """Add an approval; if there are enough of them by now, the quarantine of the digest is lifted.

    Raises:
        RefusedError: there is no manifest of the digest, or the approval is malformed.
    """
    known = managed.manifests.get(digest)
    if known is None:
        raise RefusedError(f"there is no manifest of {digest} here: ask for its release with the manifest")
    try:
        manifest = add_approval(read_manifest(known), approval)
    except GateError as error:
        raise RefusedError(str(error)) from None
    managed = managed.but(manifests=managed.manifests | {digest: manifest.to_json()})
    known_release = digest in managed.releases
    release = managed.release(digest) if known_release else _stated(manifest)
    judgement = _judge(managed, gate, release, manifest, now)
    if judgement.allowed:
        if known_release:
            draft.events += audit.approvals(
                managed.state.model, release, judgement, manifest, gate.rules.environment, now
            )
        managed = _lifted(managed, digest, by, draft)
    return managed.but(expired=None)


def waiting(managed: Managed, gate: Gate, now: datetime, draft: Draft) -> Managed:
    """Turn away a release that waits for its turn and may not start any more: its approvals can end meanwhile."""
    queued = managed.state.queued
    if queued is None:
        return managed
    candidate, name = queued.candidate, managed.state.model
    known = managed.manifests.get(candidate.digest)
    manifest = None if known is None else read_manifest(known)
    judgement = _judge(managed, gate, managed.release(candidate.digest), manifest, now)
    if judgement.allowed:
        return managed
    reason = "; ".join(judgement.reasons)
    draft.events.append(audit.refusal(queued.by, "release", name, candidate.to_json(), reason))
    text = f"{name}: version {candidate.version} waited for its turn and may not start any more: {reason}"
    draft.said.append(Said(name, queued.id, "warning", text))
    return managed.but(state=managed.state.but(queued=None))


def eligible(managed: Managed, gate: Gate, now: datetime) -> frozenset[str]:
    """Return the digests that were baked here and may be served now."""
    state = managed.state
    digests = {version.digest for version in state.proven} | ({state.stable.digest} if state.stable else set())
    found = set()
    for digest in digests:
        try:
            judged = gate.judge(
                state.model, managed.release(digest), managed.manifests.get(digest), managed.quarantined, now
            )
        except GateError:
            continue
        if judged.allowed:
            found.add(digest)
    return frozenset(found)


def _manifest(managed: Managed, release: Release, stated: Mapping[str, Any] | None, approval: Any) -> Manifest | None:
    """Return the manifest of a release, with approvals that were given here before."""
    try:
        manifest = None if stated is None else read_manifest(stated)
        known = managed.manifests.get(release.digest)
        if manifest is not None:
            check_manifest(manifest, managed.state.model, release)
            earlier = read_manifest(known) if known is not None else manifest
            if earlier.model_copy(update={"approvals": ()}) == manifest.model_copy(update={"approvals": ()}):
                for one in earlier.approvals:
                    # Of one person in one role the newest counts, wherever it was given.
                    newest = max(
                        (own.approved_at for own in manifest.approvals if _same_person(own, one)), default=None
                    )
                    if newest is None or newest < one.approved_at:
                        manifest = add_approval(manifest, one.model_dump(by_alias=True))
        elif known is not None:
            manifest = read_manifest(known)
        if manifest is not None and approval is not None:
            manifest = add_approval(manifest, approval)
    except GateError as error:
        raise RefusedError(str(error)) from None
    if manifest is None and approval is not None:
        raise RefusedError("approval: an approval is of a manifest; send the manifest with it")
    return manifest


def _same_person(one: Approval, other: Approval) -> bool:
    return (one.principal, one.role) == (other.principal, other.role)


def _stated(manifest: Manifest) -> Release:
    return Release(
        manifest.version,
        manifest.digest,
        manifest.source,
        manifest.files,
        group="",
        signature=manifest.signature,
        trained_at=manifest.trained_at,
    )


def _served(managed: Managed, release: Release) -> Managed:
    """Answer the wish for what is served: move it to another group, or say that all is well."""
    rollout, group = managed.state.rollout, managed.release(release.digest).group
    if managed.moving and managed.moving.group == release.group:
        return managed
    if group != release.group:
        return managed.but(move=Move(id=uuid.uuid4().hex[:12], group=release.group))
    if managed.move is not None and managed.move.state == "promoted":
        return managed
    if rollout is not None and rollout.phase == "promoted" and rollout.candidate.digest == release.digest:
        return managed.but(move=None)
    return managed.but(
        move=Move(id=uuid.uuid4().hex[:12], group=group, state="promoted", reason="it is served already")
    )


def _check_group(managed: Managed, release: Release, strategy: Strategy) -> None:
    stable = managed.state.stable
    if stable is None or strategy.kind == "all-at-once":
        return
    group = managed.release(stable.digest).group
    if group != release.group:
        raise RefusedError(
            f"group: the stable version is served by {group!r}, and a rollout by {strategy.kind} stays in its group; "
            f"release the stable version in group {release.group!r} first, or use strategy all-at-once"
        )


def _signed_anew(managed: Managed, release: Release, manifest: Manifest | None, gate: Gate, now: datetime) -> Managed:
    """Take over another signature of what is served, if it is good: replicas that start from now on need it."""
    known = managed.release(release.digest)
    if release.signature in (None, known.signature) or not _judge(managed, gate, release, manifest, now).allowed:
        return managed
    signed = replace(known, signature=release.signature, trained_at=release.trained_at)
    return managed.but(releases=managed.releases | {release.digest: signed.to_json()})


def _judge(managed: Managed, gate: Gate, release: Release, manifest: Manifest | None, now: datetime) -> Judgement:
    stated = None if manifest is None else manifest.to_json()
    try:
        return gate.judge(managed.state.model, release, stated, managed.quarantined, now)
    except GateError as error:
        return Judgement(allowed=False, reasons=(str(error),))


def _approvers(gate: Gate, judgement: Judgement) -> tuple[tuple[str, str], ...]:
    if judgement.rule is not None:
        return ((f"rule:{gate.rules.environment}", "rule"),)
    return tuple((one.principal, one.role) for one in judgement.approvers)


def _lifted(managed: Managed, digest: str, by: str, draft: Draft) -> Managed:
    """Lift the quarantine of a digest that was approved anew."""
    state = managed.state
    if digest not in state.quarantine:
        return managed
    text = f"{state.model}: the quarantine of {digest} is lifted by new approvals"
    draft.said.append(Said(state.model, state.rollout.id if state.rollout else "", "info", text))
    draft.events.append(
        Quarantine(
            person=by, model=state.model, digest=digest, action="lifted", reason="approved anew by enough people"
        )
    )
    return managed.but(
        state=model.lift(state, digest),
        quarantined={own: since for own, since in managed.quarantined.items() if own != digest},
    )


def _kept(managed: Managed) -> dict[str, dict[str, Any]]:
    """Return the releases that may still be served; all others were only asked for once."""
    state = managed.state
    versions: list[Version | None] = [state.stable, *state.proven]
    if state.rollout:
        versions += [state.rollout.candidate, state.rollout.stable]
    if state.queued:
        versions.append(state.queued.candidate)
    if state.returning:
        versions.append(state.returning.target)
    digests = {version.digest for version in versions if version} | {managed.published}
    digests |= {shadow.digest for shadow in managed.shadows}
    return {digest: release for digest, release in managed.releases.items() if digest in digests}


def _asked(managed: Managed) -> dict[str, Asked]:
    state = managed.state
    kept = {state.rollout.id if state.rollout else None, state.queued.id if state.queued else None}
    return {rollout: asked for rollout, asked in managed.asked.items() if rollout in kept}
