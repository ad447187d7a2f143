"""The work of one tick on one rollout: the state so far, the effects so far, and the moves that both are changed by.

`machine` decides which move is due; here is what each move means for phase, split, replay, ledger and operator.
"""

from dataclasses import dataclass, field
from typing import Any

from serving.rollout.analysis.verdict import Verdict
from serving.rollout.effects import WHOLE, Effect, Level, Message, Quarantine, Record, Replay
from serving.rollout.observation import Tick
from serving.rollout.state import Ending, PauseReason, Phase, Recent, Rollout
from serving.traffic import CANDIDATE, SLOTS, STABLE, Runs, reweighted

_LEVELS: dict[Ending, Level] = {
    "rolled-back": "alarm",
    "aborted": "warning",
    "superseded": "info",
    "finished": "info",
}


@dataclass
class Turn:
    """A state that is replaced move by move, and the effects so far.

    Attributes:
        state: The rollout as it is now.
        seen: What the tick brought; None when a rollout is ended from outside, between ticks.
        effects: Events so far, in order.
    """

    state: Rollout
    seen: Tick | None
    effects: list[Effect] = field(default_factory=list)

    def enter_step(self, index: int) -> None:
        """Begin a step: its split of traffic, then its clock."""
        self.state = self.state.but(step=index, forgiven=tuple(why for why in self.state.forgiven if why != "gate"))
        step = self.state.current_step
        assert step is not None
        weight, mirror = round(step.weight * 100), round(step.mirror * 100)
        weights = {STABLE: SLOTS - weight, CANDIDATE: weight}
        self.divide(reweighted(self.state.runs, weights), mirror, weight=weight)
        told = f"{step.weight:g} % of traffic" + (f", {step.mirror:g} % mirrored" if mirror else "")
        self.enter("analysing", f"step {index + 1} of {len(self.state.strategy.plan())}: {told}")

    def next_step(self) -> None:
        """Go on after a step: to the next, to promotion, or to the end that the strategy wants."""
        if self.state.step + 1 < len(self.state.strategy.plan()):
            self.enter_step(self.state.step + 1)
        elif self.state.strategy.then == "stop":
            self.end("finished", "observed to the end; the strategy does not promote")
        else:
            self.promote("all steps passed")

    def promote(self, why: str) -> None:
        """Ask every replica to serve the candidate as stable."""
        self.state = self.state.but(replay=None)
        # From here on replicas swap one by one: neither arm has a share that counts could be compared by.
        self.divide(self.state.runs, self.state.mirror, weight=SLOTS)
        self.enter("promoting", why)

    def fail(self, reason: str, evidence: bool, verdict: Verdict | None = None) -> None:
        """Roll back; with evidence against the model itself its digest is quarantined."""
        if evidence and not self.state.quarantined:
            self.state = self.state.but(quarantined=True)
            self.effects.append(Quarantine(key=self._key(), digest=self.state.candidate.digest, reason=reason))
        self.end("rolled-back", reason, verdict)

    def end(self, ending: Ending, reason: str, verdict: Verdict | None = None) -> None:
        """Send all traffic to stable and end the rollout once every replica has done so."""
        beside = self.state.desired().candidate is not None
        was = self.state.paused_phase or self.state.phase
        self.state = self.state.but(
            ending=ending, reason=reason, draining=beside, paused=None, paused_phase=None, replay=None
        )
        more: dict[str, Any] = {"verdict": verdict.to_json()} if verdict else {}
        # What a pause had interrupted says who was stable.
        more |= {"ending": ending, "was": was}
        if was in ("pending", "starting"):
            # No replica was ever told of the candidate: there is nothing to take back, and nobody to wait for.
            self.state = self.state.but(draining=False)
            self.enter(ending, reason, level=_LEVELS[ending], **more)
            return
        self.divide(WHOLE, 0, weight=0)
        self.enter("rolling-back", reason, level=_LEVELS[ending], **more)

    def pause(self, why: PauseReason, reason: str) -> None:
        """Hold the rollout where it is; of two reasons the one that heals by itself gives way."""
        state = self.state
        if why in state.forgiven or (state.phase == "paused" and (why == state.paused or state.paused != "metrics")):
            return
        interrupted = state.paused_phase if state.phase == "paused" else state.phase
        self.state = state.but(paused=why, paused_phase=interrupted, paused_for=0.0, recent=Recent())
        self.enter("paused", reason, level="info" if why in ("gate", "manual") else "warning")

    def unpause(self, reason: str) -> None:
        """Go on where the pause interrupted."""
        state = self.state
        assert state.paused_phase is not None
        waited, before = state.waited, state.paused_phase
        self.state = state.but(paused=None, paused_phase=None, paused_for=0.0)
        self.enter(before, reason, waited=waited)

    def divide(self, runs: Runs, mirror: int, weight: int) -> None:
        """Give the traffic a new split with a number of its own, and its counts a stratum."""
        number = self.state.generation + 1
        self.state = self.state.but(
            generation=number,
            split=number,
            runs=runs,
            mirror=mirror,
            analysis=self.state.analysis.opened(number, weight),
        )

    def replay(self, rows: int) -> None:
        """Ask for rows of the evaluation sample to be sent through both arms."""
        number = self.state.generation + 1
        self.state = self.state.but(
            generation=number,
            replay=Replay(generation=number, rows=rows),
            replay_waited=0.0,
            analysis=self.state.analysis.opened(number, 0, synthetic=True),
        )

    def replayed(self) -> bool:
        """Whether the replay in progress is complete; one that cannot be done pauses the rollout."""
        state = self.state
        assert state.replay is not None
        part = state.analysis.stratum(state.replay.generation)
        if part and part.candidate.requests >= state.replay.rows:
            return not state.stable or part.stable.requests >= state.replay.rows
        if self.tick.replay_failed:
            self.pause("evidence", f"the evaluation sample cannot be replayed: {self.tick.replay_failed}")
        elif state.replay_waited >= state.strategy.deadlines.smoke:
            self.pause("evidence", f"the evaluation sample was not answered within {state.replay_waited:.0f} s")
        return False

    def step_requests(self) -> int:
        """Requests that the candidate has answered since the step began, replays included."""
        return sum(
            part.candidate.requests for part in self.state.analysis.strata if part.generation >= self.state.split
        )

    def step_lost(self) -> int:
        """Requests since the step began that say nothing about the candidate, since a replica lacked a processor."""
        own = [part.candidate for part in self.state.analysis.strata if part.generation >= self.state.split]
        return sum(counts.shed + counts.excused for counts in own)

    def enter(self, phase: Phase, reason: str, *, level: Level = "info", **data: Any) -> None:
        """Change the phase and tell ledger and operator, with the counts it was decided on."""
        before = self.state
        changes = {"waited": data.pop("waited", 0.0), "unhealthy": data.pop("unhealthy", before.unhealthy)}
        self.state = before.but(phase=phase, reason=reason, **changes)
        candidate, stable = before.analysis.totals(synthetic=False)
        weight = sum(length for arm, length in self.state.runs if arm == CANDIDATE)
        self.effects.append(
            Record(
                key=self._key(),
                kind=f"rollout.{phase}",
                data={
                    "rollout": before.id,
                    "model": before.model,
                    "candidate": before.candidate.to_json(),
                    "stable": before.stable.to_json() if before.stable else None,
                    "from": before.phase,
                    "step": before.step,
                    "weight": weight,
                    "reason": reason,
                    "counts": {
                        "candidate": candidate.model_dump(exclude={"latency"}, exclude_defaults=True),
                        "stable": stable.model_dump(exclude={"latency"}, exclude_defaults=True),
                    },
                    **data,
                },
            )
        )
        self.say(level, f"{phase}: {reason}")

    def say(self, level: Level, text: str) -> None:
        """Tell the operator."""
        self.effects.append(Message(key=self._key(), level=level, text=f"{self.name}: {text}"))

    def _key(self) -> str:
        self.state = self.state.but(events=self.state.events + 1)
        return f"{self.state.id}/{self.state.events}"

    @property
    def name(self) -> str:
        """Model and version, for people."""
        return f"{self.state.model} {self.state.candidate.version}"

    @property
    def tick(self) -> Tick:
        """What the tick brought."""
        assert self.seen is not None
        return self.seen
