"""What the tests work on: counts per arm, kept apart by the split of traffic under which they arose.

Each change of the split opens a new stratum. Candidate and stable are compared only inside a stratum, so that an
incident that hits both arms while the candidate has half of the traffic is not held against it because it had little
before (Simpson's paradox).
"""

from typing import Annotated

from pydantic import Field

from serving.rollout.analysis.histogram import merged
from serving.rollout.record import Value
from serving.traffic import SLOTS

Count = Annotated[int, Field(ge=0)]


class ArmCounts(Value):
    """Outcomes of the requests that one version answered."""

    requests: Count = 0
    """Requests sent to the version, whatever became of them."""
    errors: Count = 0
    """Exceptions, timeouts and refusals of the version, also where another version then answered the user."""
    invalid: Count = 0
    """Answers that break the signature or are not finite (NaN, infinity)."""
    latency: dict[int, Count] = Field(default_factory=dict)
    """Buckets of `analysis.histogram`, of the version's own time (`serving.batching.Answered`); of answers that went
    together (`serving.arms`) one is counted."""
    labelled: Count = 0
    """Predictions whose true outcome has arrived."""
    wrong: Count = 0
    """Those of them that were wrong; for regression, off by more than the model's owner tolerates."""
    compared: Count = 0
    """Mirrored answers compared with stable's."""
    disagreed: Count = 0
    shed: Count = 0
    """Copies that were sampled and not sent, because the shadow or the replica had no room for them."""
    excused: Count = 0
    """Calls without an answer in time that say nothing, since the caller could not go on either: `serving.lateness`."""
    assigned: Count = 0
    """Independent assignments: draws in a canary (one for requests that go together, see `serving.arms`), distinct
    subjects in an A/B experiment; 0 if unknown."""

    @property
    def failures(self) -> int:
        """Errors and invalid outputs."""
        return self.errors + self.invalid

    def plus(self, other: "ArmCounts") -> "ArmCounts":
        """Add two counts."""
        return ArmCounts.model_construct(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            invalid=self.invalid + other.invalid,
            latency=merged(self.latency, other.latency) if other.latency else self.latency,
            labelled=self.labelled + other.labelled,
            wrong=self.wrong + other.wrong,
            compared=self.compared + other.compared,
            disagreed=self.disagreed + other.disagreed,
            shed=self.shed + other.shed,
            excused=self.excused + other.excused,
            assigned=self.assigned + other.assigned,
        )


NOTHING = ArmCounts()


class Stratum(Value):
    """The counts of both arms under one split of traffic, or under one replay of the evaluation sample."""

    generation: int
    """Number of the split or of the replay; batches name it."""
    weight: Annotated[int, Field(ge=0, le=SLOTS)]
    """The candidate's share, basis points."""
    synthetic: bool = False
    """A replay: both arms answer the same rows, and nobody waits for the answers."""
    candidate: ArmCounts = NOTHING
    stable: ArmCounts = NOTHING

    @property
    def controlled(self) -> bool:
        """Whether both arms were at work at the same time."""
        return self.weight < SLOTS and self.candidate.requests > 0 and self.stable.requests > 0


class Analysis(Value):
    """All evidence about one candidate, and where each test stands."""

    history: ArmCounts = NOTHING
    """Stable's record from before the rollout."""
    strata: tuple[Stratum, ...] = ()
    looks: dict[str, int] = Field(default_factory=dict)
    """Criterion → last look taken."""
    latency_bucket: int | None = None
    """Above this bucket's edge a request counts as slow; fixed as soon as stable's p99 is known."""

    def opened(self, generation: int, weight: int, *, synthetic: bool = False) -> "Analysis":
        """Open a stratum."""
        return self.but(strata=(*self.strata, Stratum(generation=generation, weight=weight, synthetic=synthetic)))

    def observed(self, generation: int, counts: ArmCounts, *, candidate: bool) -> "Analysis":
        """Add counts to their stratum, however late they come; counts of an unknown split are dropped."""
        return self.but(
            strata=tuple(
                stratum
                if stratum.generation != generation
                else stratum.but(candidate=stratum.candidate.plus(counts))
                if candidate
                else stratum.but(stable=stratum.stable.plus(counts))
                for stratum in self.strata
            )
        )

    def stratum(self, generation: int) -> Stratum | None:
        """Return the stratum of a split or replay."""
        return next((stratum for stratum in self.strata if stratum.generation == generation), None)

    @property
    def real(self) -> tuple[Stratum, ...]:
        """Strata of real traffic."""
        return tuple(stratum for stratum in self.strata if not stratum.synthetic)

    def totals(self, *, synthetic: bool) -> tuple[ArmCounts, ArmCounts]:
        """Return the candidate's and stable's counts over all strata, with or without the synthetic ones."""
        candidate = stable = NOTHING
        for stratum in self.strata:
            if synthetic or not stratum.synthetic:
                candidate, stable = candidate.plus(stratum.candidate), stable.plus(stratum.stable)
        return candidate, stable
