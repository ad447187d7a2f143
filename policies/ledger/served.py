"""What served users at a time, who approved it and on which evidence: read off the events alone.

The order of entries is that of their numbers. Times select; where a clock was put back both may disagree, and the
answer says so in its notes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from policies.ledger.chain import Entry, timestamp
from policies.ledger.events import ApprovalGiven, Kind, ReleaseStep, Rollback, Training

# What has to be read to answer.
KINDS: frozenset[Kind] = frozenset({"training", "approval", "policy-verdict", "release-step", "rollback", "quarantine"})

_ENDED = frozenset({"aborted", "failed", "superseded"})


@dataclass(frozen=True)
class ServedApprover:
    """Who approved, in which role, when, and the entry that says so (None: only the rollout names them)."""

    principal: str
    role: str
    approved_at: str | None
    entry: int | None


@dataclass(frozen=True)
class Arm:
    """A version that users got, the entry that gave it to them, and the share of requests."""

    version: str
    digest: str
    since: str
    entry: int
    rollout: str
    weight: float


@dataclass(frozen=True)
class Served:
    """The answer: `stable` is None when the model was not served; `candidate` is set while a rollout was under way.

    `evidence` lists the entries about the stable digest up to when it became stable: training, approvals, verdicts,
    steps. `measured` is what the rollout found out.
    """

    model: str
    at: str
    stable: Arm | None
    candidate: Arm | None
    approvers: tuple[ServedApprover, ...]
    training: dict[str, Any] | None
    measured: dict[str, Any]
    evidence: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass
class _State:
    stable: Arm | None = None
    candidate: Arm | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    promoters: tuple[ServedApprover, ...] = ()


def serving_at(entries: Iterable[Entry], model: str, at: datetime) -> Served:
    """Say what served a model at a time.

    Args:
        entries: the model's entries of `KINDS` in the order of their numbers; later ones may be among them.
        model: the model.
        at: the time, with a zone.
    """
    moment = timestamp(at)
    state = _State()
    about: dict[str, list[Entry]] = {}
    notes: list[str] = []
    skipped = 0
    for entry in entries:
        if entry.model != model or entry.kind not in KINDS:
            continue
        if entry.time > moment:
            skipped = skipped or entry.seq
            continue
        if skipped and not notes:
            notes.append(
                f"the clock was put back: entry {entry.seq} has an earlier time than entry {skipped} before it"
            )
        if entry.digest is not None:
            about.setdefault(entry.digest, []).append(entry)
        if entry.kind == "release-step":
            _step(state, entry)
        elif entry.kind == "rollback":
            _roll_back(state, entry)
    stable = state.stable
    known = [] if stable is None else [entry for entry in about.get(stable.digest, []) if entry.seq <= stable.entry]
    return Served(
        model=model,
        at=moment,
        stable=stable,
        candidate=state.candidate,
        approvers=_approvers(known, state.promoters),
        training=_training(known),
        measured=state.measured,
        evidence=tuple(entry.seq for entry in known),
        notes=tuple(notes),
    )


def _step(state: _State, entry: Entry) -> None:
    event = entry.event()
    assert isinstance(event, ReleaseStep)
    if event.step == "promoted":
        state.stable = Arm(event.version, event.digest, entry.time, entry.seq, event.rollout, 1.0)
        state.candidate = None
        state.measured = event.evidence
        state.promoters = tuple(ServedApprover(one.principal, one.role, None, None) for one in event.approvers)
    elif event.step == "withdrawn":
        _clear(state)
    elif event.step in _ENDED:
        state.candidate = None
    elif event.weight is not None:
        started = state.candidate
        same = started is not None and started.rollout == event.rollout and started.weight > 0
        since = started.since if same and started is not None else entry.time
        arm = Arm(event.version, event.digest, since, entry.seq, event.rollout, event.weight)
        state.candidate = arm if event.weight > 0 else None


def _roll_back(state: _State, entry: Entry) -> None:
    event = entry.event()
    assert isinstance(event, Rollback)
    state.candidate = None
    if event.arm == "candidate":
        return
    if event.to_version is None or event.to_digest is None:
        _clear(state)
        return
    state.stable = Arm(event.to_version, event.to_digest, entry.time, entry.seq, event.rollout, 1.0)
    state.measured = event.evidence
    state.promoters = ()


def _clear(state: _State) -> None:
    state.stable, state.candidate, state.measured, state.promoters = None, None, {}, ()


def _approvers(known: Iterable[Entry], promoters: tuple[ServedApprover, ...]) -> tuple[ServedApprover, ...]:
    found: dict[tuple[str, str], ServedApprover] = {(one.principal, one.role): one for one in promoters}
    for entry in known:
        if entry.kind == "approval":
            event = entry.event()
            assert isinstance(event, ApprovalGiven)
            approver = ServedApprover(event.person, event.role, timestamp(event.approved_at), entry.seq)
            found[approver.principal, approver.role] = approver
    return tuple(found.values())


def _training(known: Iterable[Entry]) -> dict[str, Any] | None:
    for entry in known:
        if entry.kind == "training":
            event = entry.event()
            assert isinstance(event, Training)
            return {"by": event.person, "run": event.run, "commit": event.commit, "dataDigest": event.data_digest}
    return None
