"""All that is remembered of one rollout, as JSON that names its schema's version.

`load` and `dump` are the only way in and out of a database, so that a controller that is killed at any point goes on
from what it stored last.
"""

from typing import Any, Literal, get_args

from serving.rollout.analysis.counts import Analysis, ArmCounts
from serving.rollout.effects import WHOLE, Desired, Replay
from serving.rollout.observation import Clock, Version
from serving.rollout.record import Value
from serving.rollout.strategy import Step, Strategy
from serving.traffic import CANDIDATE, Runs

Phase = Literal[
    "pending",
    "starting",
    "smoke",
    "analysing",
    "paused",
    "promoting",
    "baking",
    "promoted",
    "rolling-back",
    "rolled-back",
    "aborted",
    "superseded",
    "finished",
]
Ending = Literal["rolled-back", "aborted", "superseded", "finished"]
PauseReason = Literal["manual", "gate", "metrics", "evidence", "sample-ratio", "failure-rate", "alarm"]

HALF_LIFE = 20.0
ENDINGS: frozenset[str] = frozenset((*get_args(Ending), "promoted"))
"""Phases that nothing follows."""


class Recent(Value):
    """Failures of both arms lately: what came before counts half after every `HALF_LIFE` seconds."""

    requests: float = 0.0
    failures: float = 0.0

    def plus(self, counts: ArmCounts, passed: float) -> "Recent":
        """Add counts that arose in the seconds that have passed."""
        kept = 0.5 ** (passed / HALF_LIFE)
        return Recent(requests=kept * self.requests + counts.requests, failures=kept * self.failures + counts.failures)


class Rollout(Value):
    """One rollout."""

    schema_version: Literal[1] = 1
    id: str
    model: str
    strategy: Strategy
    candidate: Version
    stable: Version | None
    """What served before; None for a first release."""
    phase: Phase = "pending"
    step: int = 0
    """Index into the plan."""
    waited: float = 0.0
    """Observed seconds in this phase or step, without pauses."""
    silent: float = 0.0
    """Seconds since a replica was last heard of."""
    unhealthy: float = 0.0
    """Seconds that the candidate has not been ready, in a row."""
    paused: PauseReason | None = None
    paused_phase: Phase | None = None
    """What the pause interrupts."""
    paused_for: float = 0.0
    recent: Recent = Recent()
    """Since the pause began: whether an incident is over."""
    forgiven: tuple[PauseReason, ...] = ()
    """Reasons that a person has overruled by `resume`; they do not pause again in this step."""
    ending: Ending | None = None
    """How a rollout that is rolling back will end."""
    draining: bool = False
    """While rolling back: the candidate's application still has requests to finish."""
    quarantined: bool = False
    reason: str = ""
    """Why it ended or paused, for people."""
    first_generation: int = 0
    generation: int = 0
    """Last number given to a split or a replay."""
    split: int = 0
    """Number of the split in force."""
    runs: Runs = WHOLE
    mirror: int = 0
    replay: Replay | None = None
    replay_waited: float = 0.0
    analysis: Analysis = Analysis()
    clock: Clock | None = None
    events: int = 0
    """Events so far; they number the keys."""

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self.phase in ENDINGS

    @property
    def current_step(self) -> Step | None:
        """The step of the plan, or None after the last."""
        plan = self.strategy.plan()
        return plan[self.step] if self.step < len(plan) else None

    @property
    def swapped(self) -> bool:
        """Whether the candidate is what replicas should serve as stable."""
        phase = self.paused_phase if self.phase == "paused" else self.phase
        return phase in ("promoting", "baking", "promoted")

    def desired(self) -> Desired:
        """Return how the model should be served in this state."""
        phase = self.paused_phase if self.phase == "paused" else self.phase
        beside = phase in ("starting", "smoke", "analysing", "promoting") or (phase == "rolling-back" and self.draining)
        return Desired(
            rollout=self.id,
            stable=self.candidate if self.swapped else self.stable,
            candidate=self.candidate if beside else None,
            warm=self.stable if phase in ("promoting", "baking") else None,
            generation=self.split,
            runs=self.runs,
            sticky=self.strategy.sticky and any(arm == CANDIDATE for arm, _ in self.runs),
            mirror=self.mirror,
            replay=self.replay,
        )


def dump(rollout: Rollout) -> str:
    """Write a rollout as JSON."""
    return rollout.model_dump_json(by_alias=True)


def load(text: str | bytes) -> Rollout:
    """Read what `dump` wrote.

    Raises:
        pydantic.ValidationError: it is not a rollout, or one of a schema version that this code does not know.
    """
    return Rollout.model_validate_json(text)


def summary(rollout: Rollout) -> dict[str, Any]:
    """Return what people and `ModelRelease` want to see of a rollout, as JSON data."""
    candidate, stable = rollout.analysis.totals(synthetic=False)
    return {
        "id": rollout.id,
        "model": rollout.model,
        "phase": rollout.phase,
        "reason": rollout.reason,
        "step": rollout.step,
        "steps": len(rollout.strategy.plan()),
        "weight": sum(length for arm, length in rollout.runs if arm == CANDIDATE) / 100,
        "paused": rollout.paused,
        "candidate": {"requests": candidate.requests, "errors": candidate.errors, "invalid": candidate.invalid},
        "stable": {"requests": stable.requests, "errors": stable.errors, "invalid": stable.invalid},
    }
