"""One rollout, moved by one tick: `(rollout, tick) → (rollout, effects)`.

    pending → starting → smoke → analysing (step by step) → promoting → baking → promoted
                             ↕ paused (a person, a gate, absent metrics, too little evidence, a broken split)
                             ↓ rolling-back → rolled-back | aborted | superseded | finished

A tick first takes in what was seen, then obeys commands, then judges, then moves on if time and evidence allow. Bad
evidence acts in every phase, a pause included. Nothing moves forward while metrics are absent.
"""

from collections.abc import Callable

from serving.rollout.analysis.counts import Analysis, ArmCounts
from serving.rollout.analysis.judge import judge
from serving.rollout.analysis.tails import binomial_tail
from serving.rollout.analysis.verdict import rate
from serving.rollout.commands import COMMANDS
from serving.rollout.effects import WHOLE, Effect
from serving.rollout.observation import Tick, Version
from serving.rollout.state import Phase, Rollout
from serving.rollout.strategy import Strategy
from serving.rollout.turn import Turn
from serving.traffic import SLOTS

SMOKE_LEVEL = 0.05
"""The smoke set is failed by more failures than a candidate right at the limit has in 95 % of cases."""

_WATCHED: frozenset[Phase] = frozenset(("smoke", "analysing", "promoting", "baking", "paused"))
_BESIDE: frozenset[Phase] = frozenset(("smoke", "analysing", "promoting"))


def start(
    *,
    id: str,  # noqa: A002  (the name of the field)
    model: str,
    strategy: Strategy,
    candidate: Version,
    stable: Version | None,
    history: ArmCounts,
    generation: int,
) -> Rollout:
    """Make a rollout that has not begun.

    Args:
        id: its name, unique for ever.
        model: what is released.
        strategy: how.
        candidate: what to roll out.
        stable: what is served now.
        history: stable's recent record.
        generation: the last split or replay number that was used for this model; numbers are never used again, so that
            late counts of an earlier rollout cannot be mistaken for this one's.
    """
    return Rollout(
        id=id,
        model=model,
        strategy=strategy,
        candidate=candidate,
        stable=stable,
        analysis=Analysis(history=history if stable else ArmCounts()).opened(generation + 1, 0),
        first_generation=generation + 1,
        generation=generation + 1,
        split=generation + 1,
    )


def advance(rollout: Rollout, tick: Tick) -> tuple[Rollout, tuple[Effect, ...]]:
    """Move a rollout by one tick; a rollout that is over stays as it is."""
    if rollout.over:
        return rollout, ()
    turn = Turn(rollout, tick)
    _take_in(turn)
    _obey(turn)
    _heed(turn)
    if turn.state.phase in _WATCHED:
        _check_health(turn)
    if turn.state.phase in _WATCHED:
        _check_evidence(turn)
    if turn.state.phase in _WATCHED:
        _check_metrics(turn)
    _move(turn)
    return turn.state, tuple(turn.effects)


def supersede(rollout: Rollout, by: str) -> tuple[Rollout, tuple[Effect, ...]]:
    """End a rollout in favour of another request; stable is served again first."""
    if rollout.over or rollout.phase == "rolling-back":
        return rollout, ()
    turn = Turn(rollout, None)
    turn.end("superseded", by)
    return turn.state, tuple(turn.effects)


def _take_in(turn: Turn) -> None:
    state, tick = turn.state, turn.tick
    passed = tick.clock.since(state.clock)
    analysis, counts = state.analysis, ArmCounts()
    for batch in tick.batches:
        candidate = batch.digest == state.candidate.digest
        if candidate or (state.stable is not None and batch.digest == state.stable.digest):
            analysis = analysis.observed(batch.generation, batch.counts, candidate=candidate)
            counts = counts.plus(batch.counts)
    running = state.phase != "paused"
    turn.state = state.but(
        clock=tick.clock,
        analysis=analysis,
        silent=0.0 if tick.heard else state.silent + passed,
        unhealthy=state.unhealthy + passed if tick.candidate.status != "ready" else 0.0,
        # Time that nobody reported about is no evidence of anything; only waiting for the platform goes on.
        waited=state.waited + passed if running and (tick.heard or state.phase not in _WATCHED) else state.waited,
        paused_for=state.paused_for if running else state.paused_for + passed,
        recent=state.recent if running else state.recent.plus(counts, passed),
        replay_waited=state.replay_waited + passed if state.replay else 0.0,
    )


def _obey(turn: Turn) -> None:
    for command in turn.tick.commands:
        handler = COMMANDS[command.kind]
        if turn.state.over or turn.state.phase == "rolling-back" or not handler(turn, command):
            turn.say("warning", f"{command.kind} by {command.by} has no effect while {turn.state.phase}")


def _heed(turn: Turn) -> None:
    """Do what monitors ask for about the candidate; alarms about stable are the model's to keep."""
    for alarm in turn.tick.alarms:
        if alarm.digest != turn.state.candidate.digest or turn.state.over or turn.state.phase == "rolling-back":
            continue
        reason = f"{alarm.kind}: {alarm.reason}"
        if alarm.action == "rollback":
            turn.fail(reason, True)
        elif alarm.action == "pause":
            turn.pause("alarm", reason)
        else:
            turn.say("warning", reason)


def _check_health(turn: Turn) -> None:
    state, tick = turn.state, turn.tick
    phase = state.paused_phase if state.phase == "paused" else state.phase
    if tick.swap_failed and phase in ("promoting", "baking"):
        turn.fail(f"a replica cannot load the candidate: {tick.swap_failed.reason}", tick.swap_failed.fault == "model")
    elif phase in _BESIDE and tick.candidate.status == "failed":
        turn.fail(f"candidate failed: {tick.candidate.reason}", tick.candidate.fault == "model")
    elif phase in _BESIDE and state.unhealthy >= state.strategy.deadlines.unhealthy:
        turn.fail(
            f"candidate has not been ready for {state.unhealthy:.0f} s: {tick.candidate.reason}",
            tick.candidate.fault == "model",
        )


def _check_evidence(turn: Turn) -> None:
    analysis, verdicts = judge(turn.state.analysis, turn.state.strategy)
    turn.state = turn.state.but(analysis=analysis)
    for verdict in verdicts:
        if verdict.action == "rollback":
            said = turn.tick.failure if verdict.criterion in ("failures", "failure-rate") else ""
            turn.fail(f"{verdict.criterion}: {verdict.reason}{said and f' (last: {said})'}", True, verdict)
            return
        turn.pause("sample-ratio" if verdict.criterion == "sample-ratio" else "failure-rate", verdict.reason)


def _check_metrics(turn: Turn) -> None:
    silent = turn.state.silent
    if silent >= turn.state.strategy.deadlines.silence and turn.state.phase != "paused":
        turn.pause("metrics", f"no replica has reported for {silent:.0f} s")


def _move(turn: Turn) -> None:
    mover = _MOVERS.get(turn.state.phase)
    if mover:
        mover(turn)


def _from_pending(turn: Turn) -> None:
    turn.enter("starting", f"deploying {turn.name}")


def _from_starting(turn: Turn) -> None:
    state, status = turn.state, turn.tick.candidate
    if status.status == "failed":
        turn.fail(f"candidate failed to start: {status.reason}", status.fault == "model")
    elif status.status == "ready" and state.strategy.kind == "all-at-once":
        # The replicas themselves have loaded and tried it; no application of its own could answer a smoke set.
        turn.promote("every replica has loaded it")
    elif status.status == "ready":
        turn.enter("smoke", "candidate is ready", unhealthy=0.0)
        turn.replay(state.strategy.evidence.smoke)
    elif state.waited >= state.strategy.deadlines.start:
        turn.end("aborted", f"candidate was not ready within {state.waited:.0f} s: {status.reason or status.status}")


def _from_smoke(turn: Turn) -> None:
    state = turn.state
    if not turn.replayed():
        return
    replay = state.replay
    part = state.analysis.stratum(replay.generation) if replay else None
    assert part is not None
    own, other = part.candidate, part.stable
    # Rows that stable cannot answer either are no fault of the candidate.
    surplus = own.failures - (other.failures if state.stable else 0)
    if binomial_tail(surplus, own.requests, state.strategy.limits.failure_rate) < SMOKE_LEVEL:
        turn.fail(f"smoke set: candidate failed {rate(own.failures, own.requests)}", True)
        return
    turn.state = turn.state.but(replay=None)
    turn.say("info", f"smoke set passed, {own.requests:,} rows")
    if state.stable is None or state.current_step is None:
        turn.promote("no steps" if state.stable else "first release: smoke set and fixed limits passed")
    else:
        turn.enter_step(0)


def _from_analysing(turn: Turn) -> None:
    state, step = turn.state, turn.state.current_step
    assert step is not None
    if state.waited < step.minutes * 60 or state.silent > 0:
        return
    needed, own = _needed(state), turn.step_requests()
    if own < needed:
        if state.replay is None:
            idle = step.weight == 0 and step.mirror == 0
            if idle or state.waited >= step.minutes * 60 + state.strategy.evidence.replay_after:
                lost = turn.step_lost()
                if lost >= needed - own:
                    # The requests are there, so that a sample is no substitute: nobody knows what they would show.
                    turn.pause(
                        "evidence",
                        f"{own:,} of {needed:,} requests came, and {lost:,} more were shed or excused: "
                        "the replicas have no processor to spare",
                    )
                    return
                turn.say("info", f"{own:,} of {needed:,} requests came: replaying the evaluation sample for the rest")
                turn.replay(needed - own)
        else:
            turn.replayed()
        return
    turn.state = turn.state.but(replay=None)
    if step.gate and "gate" not in state.forgiven:
        turn.pause("gate", f"step {state.step + 1} is done and waits for a person")
    else:
        turn.next_step()


def _from_paused(turn: Turn) -> None:
    state, deadlines = turn.state, turn.state.strategy.deadlines
    if state.paused == "metrics" and state.silent == 0:
        turn.unpause("metrics are back")
    elif state.paused == "evidence" and state.replay and turn.replayed():
        turn.unpause("the replay has come through")
    elif state.paused == "evidence" and state.replay is None and _enough(turn):
        turn.unpause("enough requests have come")
    elif state.paused == "failure-rate" and _recovered(state):
        turn.unpause("failures are within the limit again")
    elif state.paused == "gate":
        if deadlines.gate_minutes is not None and state.paused_for >= deadlines.gate_minutes * 60:
            turn.end("aborted", f"nobody opened the gate within {deadlines.gate_minutes:g} min")
    elif state.paused != "manual" and state.paused_for >= deadlines.absent:
        turn.end("aborted", f"paused for {state.paused_for:.0f} s: {state.reason}")


def _needed(rollout: Rollout) -> int:
    step = rollout.current_step
    return max(step.requests if step else 0, rollout.strategy.evidence.requests)


def _enough(turn: Turn) -> bool:
    """Whether the requests that a step lacked have come during the pause."""
    return turn.state.paused_phase == "analysing" and turn.step_requests() >= _needed(turn.state)


def _recovered(rollout: Rollout) -> bool:
    """Whether an incident is over: lately the arms keep the fixed limit."""
    recent = rollout.recent
    enough = recent.requests >= 1 / rollout.strategy.limits.failure_rate
    return enough and recent.failures <= rollout.strategy.limits.failure_rate * recent.requests


def _from_promoting(turn: Turn) -> None:
    state = turn.state
    if turn.tick.serving == state.candidate.digest and state.silent == 0:
        turn.divide(WHOLE, 0, weight=SLOTS)
        turn.enter("baking", "every replica serves the candidate")
        if state.strategy.bake_minutes == 0:
            _from_baking(turn)
    elif state.waited >= state.strategy.deadlines.swap:
        turn.end("aborted", f"not every replica served the candidate within {state.waited:.0f} s")


def _from_baking(turn: Turn) -> None:
    state = turn.state
    if state.waited >= state.strategy.bake_minutes * 60 and state.silent == 0:
        turn.enter("promoted", "baked")


def _from_rolling_back(turn: Turn) -> None:
    state, tick = turn.state, turn.tick
    target = state.stable.digest if state.stable else None
    if tick.heard and tick.serving == target and tick.applied >= state.split:
        assert state.ending is not None
        turn.state = state.but(draining=False)
        turn.enter(state.ending, state.reason)
    elif state.waited >= state.strategy.deadlines.swap:
        # There is nothing better to wish for than stable: keep wishing, and say so once in a while.
        turn.state = state.but(waited=0.0)
        turn.say("alarm", f"not every replica is back on stable after {state.strategy.deadlines.swap:.0f} s")


_MOVERS: dict[Phase, Callable[[Turn], None]] = {
    "pending": _from_pending,
    "starting": _from_starting,
    "smoke": _from_smoke,
    "analysing": _from_analysing,
    "paused": _from_paused,
    "promoting": _from_promoting,
    "baking": _from_baking,
    "rolling-back": _from_rolling_back,
}
