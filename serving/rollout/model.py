"""One model over its life: what it serves, at most one rollout at a time, what waits, what is banned, the way back.

Everything is again `(state, input) → (state, effects)`. A request starts a rollout, queues behind one or replaces it.
When a rollout ends the model's stable version is the old or the new one, never both. Between rollouts the stable
version is watched; if it goes bad, the model returns to the last version that was baked here and is still approved.
"""

from typing import Literal

from pydantic import Field

from serving.rollout import machine, watch
from serving.rollout.analysis.counts import NOTHING, ArmCounts
from serving.rollout.effects import Desired, Effect, Level, Message, Quarantine, Record
from serving.rollout.observation import Alarm, Clock, Command, Tick, Version
from serving.rollout.record import Value
from serving.rollout.state import Rollout
from serving.rollout.strategy import AfterPromotion, Limits, Strategy
from serving.rollout.watch import Finding, Watch

PROVEN = 5
"""Baked versions that are remembered as targets of a rollback."""
HISTORY_REQUESTS = 20_000
HISTORY_SECONDS = 3_600.0


class Request(Value):
    """A rollout that somebody asked for."""

    id: str
    candidate: Version
    strategy: Strategy = Strategy()
    by: str


class History(Value):
    """The recent record of the stable version: the last full period and the running one."""

    last: ArmCounts = NOTHING
    running: ArmCounts = NOTHING
    age: float = 0.0

    @property
    def counts(self) -> ArmCounts:
        """Both periods together: at most two hours or 40,000 requests, whichever is less."""
        return self.last.plus(self.running)

    def plus(self, counts: ArmCounts, passed: float) -> "History":
        """Add counts; a full period replaces the last one."""
        running, age = self.running.plus(counts), self.age + passed
        if running.requests >= HISTORY_REQUESTS or (age >= HISTORY_SECONDS and running.requests):
            return History(last=running)
        return History(last=self.last, running=running, age=age)


class Return(Value):
    """A rollback after promotion that is under way."""

    target: Version
    reason: str
    waited: float = 0.0


class ModelState(Value):
    """All that is remembered of one model's releases."""

    schema_version: Literal[1] = 1
    model: str
    stable: Version | None = None
    proven: tuple[Version, ...] = ()
    """Versions that were baked here, oldest first; the last is the stable one unless it came otherwise."""
    rollout: Rollout | None = None
    """The rollout that runs, or the last one."""
    queued: Request | None = None
    returning: Return | None = None
    quarantine: dict[str, str] = Field(default_factory=dict)
    """Digest → why."""
    history: History = History()
    watch: Watch | None = None
    limits: Limits = Limits()
    after: AfterPromotion = AfterPromotion()
    """What the served version must keep up: as in the strategy that promoted it."""
    generation: int = 0
    """Last number given to a split or replay."""
    clock: Clock | None = None
    events: int = 0
    late: ArmCounts = NOTHING
    """Labels of the stable version that came during a rollout: its watch takes them in when that is over."""
    alarms: tuple[Alarm, ...] = ()
    """Alarms that ask for the rollback of the stable version and came during a rollout: heeded when it is over."""

    @property
    def active(self) -> Rollout | None:
        """The rollout that runs."""
        return self.rollout if self.rollout is not None and not self.rollout.over else None

    def desired(self) -> Desired:
        """Return how the model should be served now."""
        if self.active:
            return self.active.desired()
        return Desired(stable=self.returning.target if self.returning else self.stable, generation=self.generation)


def request(state: ModelState, asked: Request) -> tuple[ModelState, tuple[Effect, ...]]:
    """Ask for a rollout.

    Whether the candidate is approved and signed is for the caller to establish; that it is not quarantined is
    established here. Asking for what is served or already on its way changes nothing, except that asking for the
    stable version while another is on its way ends that.
    """
    active, digest = state.active, asked.candidate.digest
    if digest in state.quarantine:
        return _told(
            state,
            "warning",
            f"{asked.candidate.version} is quarantined and not rolled out: {state.quarantine[digest]}. "
            "Only a new approval lifts that",
            refused=asked,
        )
    if active and digest == active.candidate.digest and active.phase != "rolling-back":
        return state.but(queued=None), ()
    if active:
        if asked.strategy.on_conflict == "supersede" or (state.stable and digest == state.stable.digest):
            rollout, effects = machine.supersede(active, f"{asked.by} asks for {asked.candidate.version}")
            state = state.but(rollout=rollout)
        else:
            effects = ()
        return state.but(queued=asked), effects
    if state.returning:
        return state.but(queued=asked), ()
    if state.stable and digest == state.stable.digest:
        return state, ()
    return _begun(state, asked), ()


def lift(state: ModelState, digest: str) -> ModelState:
    """Lift the quarantine of a digest, after a new approval."""
    return state.but(quarantine={own: why for own, why in state.quarantine.items() if own != digest})


def advance(state: ModelState, tick: Tick) -> tuple[ModelState, tuple[Effect, ...]]:
    """Move a model by one tick."""
    passed = tick.clock.since(state.clock)
    gone = max(tick.clock.wall - state.clock.wall, 0.0) if state.clock else 0.0
    state = state.but(clock=tick.clock)
    if state.active:
        return _rolled(state, tick)
    effects: list[Effect] = []
    if state.returning:
        state, more = _returned(state, tick, passed)
        effects.extend(more)
    elif state.stable:
        state, more = _watched(state, tick, passed, gone)
        effects.extend(more)
    if state.queued and not state.returning:
        asked = state.queued
        state, more = request(state.but(queued=None), asked)
        effects.extend(more)
    return state, tuple(effects)


def _begun(state: ModelState, asked: Request) -> ModelState:
    rollout = machine.start(
        id=asked.id,
        model=state.model,
        strategy=asked.strategy,
        candidate=asked.candidate,
        stable=state.stable,
        history=state.history.counts,
        generation=state.generation,
    )
    return state.but(rollout=rollout, generation=rollout.generation, queued=None)


def _rolled(state: ModelState, tick: Tick) -> tuple[ModelState, tuple[Effect, ...]]:
    assert state.rollout is not None
    rollout, effects = machine.advance(state.rollout, tick)
    state = state.but(rollout=rollout, generation=rollout.generation)
    for effect in effects:
        if isinstance(effect, Quarantine):
            state = state.but(quarantine={**state.quarantine, effect.digest: effect.reason})
    state, told = _kept(state, rollout, tick)
    if rollout.phase == "promoted":
        state = _promoted(state, rollout)
    return state, effects + told


def _kept(state: ModelState, rollout: Rollout, tick: Tick) -> tuple[ModelState, tuple[Effect, ...]]:
    """Keep what concerns the stable version until the rollout is over; its alarms are told at once."""
    stable, effects = rollout.stable, tuple[Effect, ...]()
    if stable is None:
        return state, effects
    for batch in tick.batches:
        if batch.digest == stable.digest and batch.counts.labelled:
            labels = ArmCounts(labelled=batch.counts.labelled, wrong=batch.counts.wrong)
            state = state.but(late=state.late.plus(labels))
    for alarm in tick.alarms:
        if alarm.digest == stable.digest:
            reason = f"{stable.version}, stable: {alarm.kind}: {alarm.reason}"
            if alarm.action == "rollback":
                state = state.but(alarms=(*state.alarms, alarm))
            state, told = _told(state, "alarm", reason)
            effects += told
    return state, effects


def _promoted(state: ModelState, rollout: Rollout) -> ModelState:
    own, _ = rollout.analysis.totals(synthetic=False)
    record = own.plus(rollout.analysis.history).but(labelled=own.labelled, wrong=own.wrong)
    proven = tuple(version for version in state.proven if version.digest != rollout.candidate.digest)
    return state.but(
        stable=rollout.candidate,
        proven=(*proven, rollout.candidate)[-PROVEN:],
        history=History(last=own),
        limits=rollout.strategy.limits,
        after=rollout.strategy.after,
        late=NOTHING,
        alarms=(),
        watch=watch.arm(rollout.candidate.digest, record, rollout.strategy.limits, rollout.strategy.after),
    )


def _watched(state: ModelState, tick: Tick, passed: float, gone: float) -> tuple[ModelState, tuple[Effect, ...]]:
    assert state.stable is not None
    digest, counts = state.stable.digest, state.late
    for batch in tick.batches:
        if batch.digest == digest:
            counts = counts.plus(batch.counts)
    raised = (*state.alarms, *tick.alarms)
    state = state.but(history=state.history.plus(counts, passed), late=NOTHING, alarms=())
    state, effects = _alarmed(state, tick, raised)
    if state.watch is None:
        # A version that was here before this state was: watched from now on, once there is a record.
        if state.history.counts.requests >= 1_000:
            armed = watch.arm(digest, state.history.counts, state.limits, state.after)
            state = state.but(watch=armed)
        state, more = _asked_back(state, tick)
        return state, effects + more
    now, findings = watch.observe(state.watch, counts, gone)
    state = state.but(watch=now)
    for finding in findings:
        reason = f"{finding.criterion}: {finding.reason}"
        if now.settings.action == "alert" or not finding.evidence:
            state, more = _told(state, "alarm", reason, finding=finding)
        else:
            state, more = _turned_back(state, tick, reason, finding=finding)
        effects += more
    state, more = _asked_back(state, tick)
    return state, effects + more


def _alarmed(state: ModelState, tick: Tick, alarms: tuple[Alarm, ...]) -> tuple[ModelState, tuple[Effect, ...]]:
    """Do what monitors ask for about the stable version; there is nothing to pause."""
    effects: tuple[Effect, ...] = ()
    for alarm in alarms:
        if state.stable is None or alarm.digest != state.stable.digest or state.returning:
            continue
        reason = f"{alarm.kind}: {alarm.reason}"
        if alarm.action == "rollback" and state.after.action == "rollback":
            found = Finding(criterion=alarm.kind, reason=alarm.reason)
            state, more = _turned_back(state, tick, reason, finding=found)
        else:
            state, more = _told(state, "alarm", reason)
        effects += more
    return state, effects


def _asked_back(state: ModelState, tick: Tick) -> tuple[ModelState, tuple[Effect, ...]]:
    effects: tuple[Effect, ...] = ()
    for command in tick.commands:
        if command.kind == "rollback":
            state, more = _turned_back(state, tick, _said(command))
        else:
            state, more = _told(state, "warning", f"{_said(command)} has no effect: no rollout is running")
        effects += more
    return state, effects


def _turned_back(
    state: ModelState, tick: Tick, reason: str, *, finding: Finding | None = None
) -> tuple[ModelState, tuple[Effect, ...]]:
    """Begin the way back to the last version that was baked, is approved and is not banned.

    With a finding against the version it is banned.
    """
    if state.returning or state.stable is None:
        return state, ()
    stable = state.stable
    effects: list[Effect] = []
    target = next(
        (
            version
            for version in reversed(state.proven)
            if version.digest != stable.digest
            and version.digest in tick.eligible
            and version.digest not in state.quarantine
        ),
        None,
    )
    if target is None:
        # A bad version answers more than none, and only a person can say otherwise. It is not banned either: the next
        # start of the platform would then serve nothing.
        nowhere = f"{reason}. There is no baked and approved version to go back to: still serving"
        state, told = _told(state, "alarm", nowhere, finding=finding)
        return state, told
    if finding:
        state = state.but(quarantine={**state.quarantine, stable.digest: reason})
        state, key = _key(state)
        effects.append(Quarantine(key=key, digest=stable.digest, reason=reason))
    state, told = _told(
        state.but(returning=Return(target=target, reason=reason), generation=state.generation + 1),
        "alarm",
        f"back to {target.version}: {reason}",
        kind="model.rolling-back",
        target=target,
        finding=finding,
    )
    return state, (*effects, *told)


def _returned(state: ModelState, tick: Tick, passed: float) -> tuple[ModelState, tuple[Effect, ...]]:
    going = state.returning
    assert going is not None
    if tick.heard and tick.serving == going.target.digest:
        before = state.stable
        state = state.but(
            stable=going.target,
            returning=None,
            history=History(),
            watch=None,
            proven=tuple(version for version in state.proven if before is None or version.digest != before.digest),
        )
        return _told(
            state, "info", f"serving {going.target.version} again", kind="model.rolled-back", target=going.target
        )
    waited = going.waited + passed
    if waited < Strategy().deadlines.swap:
        return state.but(returning=going.but(waited=waited)), ()
    state = state.but(returning=going.but(waited=0.0))
    return _told(state, "alarm", f"not every replica serves {going.target.version} after {waited:.0f} s")


def _told(
    state: ModelState,
    level: Level,
    text: str,
    *,
    kind: str | None = None,
    target: Version | None = None,
    refused: Request | None = None,
    finding: Finding | None = None,
) -> tuple[ModelState, tuple[Effect, ...]]:
    effects: list[Effect] = []
    if kind or level == "alarm" or refused:
        state, key = _key(state)
        data = {"model": state.model, "reason": text, "stable": state.stable.to_json() if state.stable else None}
        if target:
            data["target"] = target.to_json()
        if finding:
            data["criterion"], data["figures"] = finding.criterion, finding.figures
        if refused:
            data["refused"] = {"rollout": refused.id, "candidate": refused.candidate.to_json(), "by": refused.by}
        default = "model.refused" if refused else "model.alarm"
        effects.append(Record(key=key, kind=kind or default, data=data))
    state, key = _key(state)
    effects.append(Message(key=key, level=level, text=f"{state.model}: {text}"))
    return state, tuple(effects)


def _key(state: ModelState) -> tuple[ModelState, str]:
    state = state.but(events=state.events + 1)
    return state, f"{state.model}#{state.events}"


def _said(command: Command) -> str:
    return f"{command.kind} by {command.by}" + (f": {command.reason}" if command.reason else "")


def dump(state: ModelState) -> str:
    """Write a model's state as JSON."""
    return state.model_dump_json(by_alias=True)


def load(text: str | bytes) -> ModelState:
    """Read what `dump` wrote.

    Raises:
        pydantic.ValidationError: it is not such a state, or one of a schema version that this code does not know.
    """
    return ModelState.model_validate_json(text)
