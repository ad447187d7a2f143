"""How a new version takes over: the settings of one rollout, as a model's owner states them.

A strategy says what it does to traffic (`kind`, `steps`), how long the previous version stays warm (`bake_minutes`),
how bad the candidate may be (`limits`), how sure a rollback must be (`budget`), and what a served version must keep up
afterwards (`after`). `plan` turns each kind into the same thing, a list of steps, so that the machine knows no kinds.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from serving.rollout.record import Value

Kind = Literal["all-at-once", "canary", "blue-green", "shadow", "ab"]
Percent = Annotated[float, Field(ge=0, le=100)]
Minutes = Annotated[float, Field(ge=0, le=43_200)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Step(Value):
    """One step: what the candidate gets, and what ends the step. All stated conditions must hold."""

    weight: Percent = 0
    """Share of the traffic that the candidate answers, per cent."""
    mirror: Percent = 0
    """Share of the traffic that is copied to the candidate without waiting for its answer, per cent."""
    minutes: Minutes = 0
    """The step lasts at least this long, in observed time."""
    requests: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """The candidate has answered at least this many requests of the step; 0 asks only for the minimum of evidence."""
    gate: bool = False
    """At the end a person must say `promote` or `resume`."""


class Limits(Value):
    """How bad a candidate may be, relative to stable and in absolute terms."""

    tolerated_rate: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """A candidate whose share of failed requests is not above this is never rolled back for it."""
    tolerated_ratio: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Failures of the candidate per failure of stable that are still all right, at equal traffic."""
    failure_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Fixed limit of the share of failed requests; a first release has only this one."""
    latency_ratio: Annotated[float, Field(ge=1, le=100)] = 1.3
    """p99 latency of the candidate as a multiple of stable's p99."""
    latency_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    """Fixed limit of the p99 latency."""
    wrong_ratio: Annotated[float, Field(ge=1, le=100)] = 1.05
    """Share of wrong predictions among labelled ones, as a multiple of stable's."""
    disagreement: Share | None = None
    """Fixed limit of the share of mirrored answers that differ from stable's; None does not judge them."""


class Budget(Value):
    """Probability that a healthy candidate is stopped, over a whole rollout, criterion by criterion; 1 % in all."""

    history: Share = 0.005
    """Failures against stable's record before and during the rollout."""
    concurrent: Share = 0.0015
    """Failures against stable at the same time."""
    failure_rate: Share = 0.0005
    latency: Share = 0.001
    latency_seconds: Share = 0.0005
    quality: Share = 0.0005
    disagreement: Share = 0.0005
    sample_ratio: Share = 0.0005
    """Traffic that does not arrive in the wanted proportion; it pauses instead of rolling back."""

    @property
    def total(self) -> float:
        """The sum, an upper bound for all criteria together."""
        return sum((getattr(self, name) for name in type(self).model_fields), 0.0)

    @model_validator(mode="after")
    def _within_reason(self) -> "Budget":
        if self.total > 0.05:
            raise ValueError(f"the budget of false rollbacks adds up to {self.total:.3f}, allowed is 0.05")
        return self


class Evidence(Value):
    """How much must be known before a candidate moves on."""

    requests: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Requests that the candidate has answered in each step, synthetic ones included."""
    history: Annotated[int, Field(ge=0)] = 500
    """Requests of stable before the rollout from which its record counts as a reference."""
    latency: Annotated[int, Field(ge=1)] = 200
    """Requests of stable from which its p99 counts as known."""
    smoke: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Rows of the evaluation sample that every candidate answers before it gets traffic."""
    replay_after: Seconds = 60
    """A step that lacks requests this long after its minutes are up is filled by replaying the evaluation sample."""


class Deadlines(Value):
    """When waiting turns into giving up, in observed time."""

    start: Seconds = 600
    """From asking for the candidate to its being ready."""
    smoke: Seconds = 300
    swap: Seconds = 300
    """From the decision to promote to every replica serving the new version."""
    silence: Seconds = 15
    """Without metrics for this long a rollout pauses."""
    absent: Seconds = 600
    """A rollout paused for want of metrics, evidence or a sound split of traffic is aborted after this long."""
    unhealthy: Seconds = 10
    """A candidate that is not ready for this long in a row has failed."""
    gate_minutes: Minutes | None = None
    """A gate that nobody opens aborts the rollout after this long; None waits for ever."""


class AfterPromotion(Value):
    """What the served version must keep up, and what happens when it does not."""

    action: Literal["rollback", "alert"] = "rollback"
    """`rollback` to the last version that was approved, signed and baked; `alert` only tells."""
    alarm_every: Annotated[float, Field(ge=1e3, le=1e15)] = 1e8
    """Requests between two false alarms, at least, while the failure rate is what it was."""
    failure_ratio: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Multiple of the failure rate before that is still all right."""
    latency_ratio: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Multiple of the p99 latency before that is still all right."""
    quality_drop: Share = 0.08
    """Relative loss of accuracy that counts, for example 0.08 from 0.90 to 0.828."""
    quality_days: Annotated[float, Field(gt=0, le=366)] = 7
    """Window over which accuracy is taken."""
    quality_labels: Annotated[int, Field(ge=10)] = 200
    """Labels in the window below which nothing is concluded."""


class Strategy(Value):
    """How a new version takes over."""

    kind: Kind = "all-at-once"
    steps: tuple[Step, ...] = ()
    """Steps of a gradual kind; empty takes those that `plan` knows."""
    bake_minutes: Minutes = 10
    """The previous version stays warm this long after the swap, while the new one is on probation."""
    then: Literal["promote", "gate", "stop"] = "promote"
    """After the last step: promote, wait for a person, or end without promotion (an observation only)."""
    on_conflict: Literal["supersede", "queue"] = "supersede"
    """What another request for the same model does to this rollout while it runs."""
    limits: Limits = Limits()
    budget: Budget = Budget()
    evidence: Evidence = Evidence()
    deadlines: Deadlines = Deadlines()
    after: AfterPromotion = AfterPromotion()

    @model_validator(mode="after")
    def _steps_fit(self) -> "Strategy":
        if self.kind == "all-at-once" and self.steps:
            raise ValueError("strategy all-at-once takes no steps; name another kind or leave them out")
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError(f"the weights of the steps must not fall, they are {weights}")
        if self.kind in ("blue-green", "shadow") and any(weights):
            raise ValueError(f"the steps of {self.kind} have weight 0 (they may mirror), they are {weights}")
        if self.kind in ("canary", "ab") and not all(weights):
            raise ValueError(f"the steps of {self.kind} have a weight above 0, they are {weights}")
        if any(weight >= 100 for weight in weights):
            raise ValueError("a step's weight is below 100: at 100 there is nothing to compare with, promote instead")
        return self

    @property
    def sticky(self) -> bool:
        """Whether a subject keeps its arm."""
        return self.kind == "ab"

    def plan(self) -> tuple[Step, ...]:
        """Return the steps that the machine takes: the stated ones, or the usual ones of the kind."""
        steps = self.steps or _USUAL[self.kind]
        if self.then == "gate" and steps and not steps[-1].gate:
            return (*steps[:-1], steps[-1].but(gate=True))
        return steps


_USUAL: dict[Kind, tuple[Step, ...]] = {
    "all-at-once": (),
    "canary": (Step(weight=5, minutes=5), Step(weight=25, minutes=5), Step(weight=50, minutes=5)),
    "blue-green": (Step(),),
    "shadow": (Step(mirror=100, minutes=30),),
    "ab": (Step(weight=50, minutes=1440),),
}
