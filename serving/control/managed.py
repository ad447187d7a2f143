"""One model as the controller keeps it, and the two translations around the rollout machine, both pure.

What replicas and applications reported becomes the machine's tick; what the machine desires becomes the published
entry. A new stable version is first loaded by every replica beside the old one and only then published as stable, so
that no replica switches to what another one cannot load. The way back is not held up like that: it is loaded already.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from serving.control.fleet import Fleet, View
from serving.rollout.analysis.counts import NOTHING, ArmCounts
from serving.rollout.effects import Desired
from serving.rollout.model import ModelState
from serving.rollout.observation import Alarm, Batch, Candidate, Clock, Command, Tick, Version
from serving.rollout.record import Value
from serving.rollout.state import Rollout
from serving.rollout.strategy import Kind
from serving.state import CANDIDATE_PREFIX, SHADOW_SUFFIX, Division, Entry, Release, Replay
from serving.state import Candidate as Beside
from serving.traffic import CANDIDATE

_ROLES: dict[Kind, str] = {"canary": "canary", "blue-green": "canary", "shadow": "shadow", "ab": "arm"}


class Asked(Value):
    """What the ledger must name about a rollout that the machine does not know: who asked, and who approved."""

    by: str
    approvers: tuple[tuple[str, str], ...] = ()
    """Principal and role."""


class Move(Value):
    """An answer to the wish for what is served already: at once, or by a change of its serving group.

    Nothing about the version is in doubt then, so that it is no rollout; it looks like one to whoever follows it.
    """

    id: str
    group: str
    waited: float = 0.0
    state: Literal["starting", "promoted", "failed"] = "starting"
    reason: str = ""


class Shadowed(Value):
    """A version that gets copies of the requests that stable answers, whatever else goes on."""

    digest: str
    sample: int
    """Share of those requests, basis points."""
    by: str
    """Who asked for it."""
    counts: ArmCounts = NOTHING
    """What became of its copies, and how often it differed from stable."""


class Managed(Value):
    """One model's record in the database."""

    schema_version: Literal[1] = 1
    state: ModelState
    withdrawn: bool = False
    """Not served any more; kept because of its quarantine."""
    releases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Digest → release, as JSON."""
    manifests: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Digest → manifest with its approvals, as JSON."""
    quarantined: dict[str, datetime] = Field(default_factory=dict)
    """Digest → since when."""
    asked: dict[str, Asked] = Field(default_factory=dict)
    """Rollout → who stands for it."""
    published: str | None = None
    """Digest that replicas are told to serve as stable."""
    replayer: tuple[int, str] | None = None
    """Number of the last replay, and the replica that does it."""
    move: Move | None = None
    expired: str | None = None
    """Digest of the stable version whose approval was found to have ended."""
    shadows: tuple[Shadowed, ...] = ()

    def release(self, digest: str) -> Release:
        """Return a release that was asked for."""
        return Release.from_json(self.releases[digest])

    @property
    def moving(self) -> Move | None:
        """The change of group that is under way."""
        return self.move if self.move is not None and self.move.state == "starting" else None

    @property
    def group(self) -> str | None:
        """The group whose replicas count: the candidate's where it differs, since that is what is waited for."""
        if self.moving:
            return self.moving.group
        active = self.state.active
        version = active.candidate if active else self.state.stable
        return self.release(version.digest).group if version else None


def application_name(model: str, release: Release) -> str:
    """Return what a candidate's application is called."""
    return f"{CANDIDATE_PREFIX}{model}-{release.version}"


def shadow_name(managed: Managed, shadow: Shadowed) -> str:
    """Return what a shadow's application is called."""
    return application_name(managed.state.model, managed.release(shadow.digest)) + SHADOW_SUFFIX


def in_process(rollout: Rollout) -> bool:
    """Say whether the candidate is tried by the replicas themselves, without an application of its own."""
    return rollout.strategy.kind == "all-at-once"


def published(
    managed: Managed, view: View, *, settled: bool, shadowing: frozenset[str] = frozenset()
) -> tuple[Managed, Entry]:
    """Return what replicas are to do.

    Args:
        managed: the model.
        view: what its replicas reported.
        settled: whether this controller has run for long enough to have heard of every live replica.
        shadowing: digests of the shadows that are up.
    """
    state, desired = managed.state, managed.state.desired()
    managed = _switched(managed, desired, view)
    managed = _assigned(managed, desired, view, settled=settled)
    stable = managed.release(managed.published) if managed.published else None
    following = managed.release(desired.stable.digest) if desired.stable else None
    active = state.active
    candidates: tuple[Beside, ...] = ()
    if active and desired.candidate:
        release = managed.release(desired.candidate.digest)
        if in_process(active):
            following = release
        else:
            role = _ROLES[active.strategy.kind]
            candidates = (Beside(application_name(state.model, release), role, release),)
    if managed.moving and stable:
        following = Release.from_json(stable.to_json() | {"group": managed.moving.group})
    split, shadows = _division(managed, desired, bool(candidates)), _shadows(managed, desired)
    shares = {one.name: sample for one, sample in shadows if one.release.digest in shadowing}
    entry = Entry(
        stable=stable,
        previous=_previous(managed, desired),
        next=following if following != stable else None,
        candidates=candidates,
        shadows=tuple(one for one, _ in shadows),
        split=replace(split, shadows={**split.shadows, **shares}),
    )
    return managed, entry


def _shadows(managed: Managed, desired: Desired) -> list[tuple[Beside, int]]:
    """Return the shadows with their shares; a version that answers users meanwhile is none."""
    answering = {managed.published, desired.stable and desired.stable.digest}
    answering.add(desired.candidate and desired.candidate.digest)
    found = []
    for one in managed.shadows:
        if one.digest not in answering and managed.group is not None:
            # It follows stable from group to group.
            release = replace(managed.release(one.digest), group=managed.group)
            found.append((Beside(shadow_name(managed, one), "shadow", release), one.sample))
    return found


def _switched(managed: Managed, desired: Desired, view: View) -> Managed:
    """Publish another stable version once it may be."""
    wanted = desired.stable
    if (wanted and wanted.digest) == managed.published:
        return managed
    active = managed.state.active
    # Back, or away: there is nothing to wait for. What is not loaded yet is served as soon as it is.
    back = managed.state.returning is not None or (active is not None and active.phase == "rolling-back")
    if wanted is None or back or view.loaded((wanted.version, wanted.digest)):
        return managed.but(published=wanted and wanted.digest)
    return managed


def _assigned(managed: Managed, desired: Desired, view: View, *, settled: bool) -> Managed:
    """Choose the replica that does a replay, and another one when that is gone."""
    replay = desired.replay
    if replay is None or not view.replicas:
        return managed
    current = managed.replayer if managed.replayer and managed.replayer[0] == replay.generation else None
    if current and (current[1] in view.replicas or not settled):
        return managed
    return managed.but(replayer=(replay.generation, view.replicas[0]))


def _division(managed: Managed, desired: Desired, beside: bool) -> Division:
    if not beside:
        return Division(generation=desired.generation, rollout=desired.rollout)
    replay = None
    if desired.replay and managed.replayer and managed.replayer[0] == desired.replay.generation:
        replay = Replay(desired.replay.generation, desired.replay.rows, managed.replayer[1])
    return Division(
        generation=desired.generation,
        rollout=desired.rollout,
        runs=desired.runs,
        shadows={CANDIDATE: desired.mirror} if desired.mirror else {},
        sticky=desired.sticky,
        replay=replay,
    )


def _previous(managed: Managed, desired: Desired) -> Release | None:
    """Return what stays loaded: the version to go back to."""
    state = managed.state
    versions = (desired.warm, state.stable, *reversed(state.proven))
    for version in versions:
        if version and version.digest != managed.published and version.digest not in state.quarantine:
            return managed.release(version.digest)
    return None


def observed(
    managed: Managed,
    fleet: Fleet,
    now: float,
    clock: Clock,
    *,
    batches: tuple[Batch, ...] = (),
    commands: tuple[Command, ...] = (),
    alarms: tuple[Alarm, ...] = (),
    eligible: frozenset[str] = frozenset(),
) -> tuple[Tick, View]:
    """Return the machine's tick from what is known now.

    Args:
        managed: the model.
        fleet: what replicas and applications reported.
        now: the time by the fleet's clock.
        clock: the time by the machine's clocks.
        batches: new counts.
        commands: new commands.
        alarms: new alarms of monitors.
        eligible: digests that may be gone back to.
    """
    state = managed.state
    active = state.active
    view = View.of(fleet, state.model, managed.group or "", now)
    desired = state.desired()
    swap_failed = None
    if desired.stable and (error := view.failed(_key(desired.stable))):
        swap_failed = Candidate(status="failed", reason=error[0], fault=_fault(error[1]))
    # Late counts name a split of this rollout; those read off a version alone belong to the split in force.
    numbered = tuple(one if one.generation else one.but(generation=desired.generation) for one in batches)
    tick = Tick(
        clock=clock,
        heard=view.heard,
        batches=numbered,
        candidate=_candidate(managed, fleet, view) if active else Candidate(),
        # What replicas happen to serve counts once they were told to.
        serving=view.serving if view.serving == managed.published else None,
        applied=view.applied,
        swap_failed=swap_failed,
        replay_failed=view.replay_failed(desired.replay.generation) if desired.replay else None,
        failure=view.failure(active.candidate.digest) if active else "",
        commands=commands,
        alarms=alarms,
        eligible=eligible,
    )
    return tick, view


def _candidate(managed: Managed, fleet: Fleet, view: View) -> Candidate:
    rollout = managed.state.active
    assert rollout is not None
    release = managed.release(rollout.candidate.digest)
    if in_process(rollout):
        error = view.failed(_key(rollout.candidate))
        if error:
            reason = f"a replica of group {release.group!r} cannot load it: {error[0]}"
            return Candidate(status="failed", reason=reason, fault=_fault(error[1]))
        if view.loaded(_key(rollout.candidate)):
            return Candidate(status="ready")
        if not view.seen:
            missing = f"no replica of group {release.group!r} has reported; is the group running?"
            return Candidate(status="absent", reason=missing)
        return Candidate(status="starting", reason=f"not every replica of group {release.group!r} has loaded it")
    told = fleet.application(application_name(rollout.model, release), release.digest)
    if told is not None:
        return told
    # Nobody has said since this controller started. One that was ready once is judged by its answers.
    begun = rollout.phase not in ("pending", "starting")
    return Candidate(status="ready") if begun else Candidate(status="absent", reason="the actuator has not reported")


def _key(version: Version) -> tuple[str, str]:
    return version.version, version.digest


def _fault(fault: str) -> Literal["model", "platform"]:
    return "model" if fault == "model" else "platform"


__all__ = [
    "Asked",
    "Managed",
    "Move",
    "Shadowed",
    "application_name",
    "in_process",
    "observed",
    "published",
    "shadow_name",
]
