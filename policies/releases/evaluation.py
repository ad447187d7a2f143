"""The schema of `evaluation.json`: what a training run found out about its model before anyone may serve it.

It is written by training, carried in the release manifest and read by policies, reviewers and the rollout. Verdict and
reasons are not free text beside the numbers: `passed` must be what the checks say, otherwise the record is refused.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from policies.releases.record import Digest, Finite, ModelName, Record, Sha256, Time

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=120)]
Rows = Annotated[int, Field(ge=0)]
Family = Literal["quality", "baseline", "fairness", "robustness", "latency", "parity"]


class Check(Record):
    """One number against one limit.

    `value` is None where it could not be found out; such a check never passes.
    """

    family: Family
    name: Name
    value: Finite | None
    comparison: Literal["at-least", "at-most"]
    limit: Finite
    passed: bool
    reason: str = ""

    @model_validator(mode="after")
    def _verdict_follows(self) -> "Check":
        if self.passed != holds(self.value, self.comparison, self.limit):
            raise ValueError(
                f"check {self.name!r}: passed is {self.passed}, but {self.value} {self.comparison} {self.limit} is not"
            )
        if not self.passed and not self.reason:
            raise ValueError(f"check {self.name!r}: a failed check needs its reason")
        return self


def holds(value: float | None, comparison: Literal["at-least", "at-most"], limit: float) -> bool:
    """Say whether a value keeps its limit; an absent value or one that is not finite never does."""
    if value is None or not math.isfinite(value):
        return False
    return value >= limit if comparison == "at-least" else value <= limit


def check(
    family: Family,
    name: str,
    value: float | None,
    comparison: Literal["at-least", "at-most"],
    limit: float,
    absent: str = "it could not be measured",
) -> Check:
    """Judge one value and say why it fails, with the number and the limit.

    Args:
        family: what kind of property it is.
        name: the property, unique in the evaluation.
        value: what was measured, or None.
        comparison: on which side of the limit the value must lie; the limit itself passes.
        limit: what the model's owner allows.
        absent: why there is no value, for the reason.
    """
    if value is not None and not math.isfinite(value):
        value = None
    passed = holds(value, comparison, limit)
    words = comparison.replace("-", " ")
    reason = (
        ""
        if passed
        else f"{name}: {absent}"
        if value is None
        else f"{name} is {value:.4g}, must be {words} {limit:.4g}"
    )
    return Check(
        family=family, name=name, value=value, comparison=comparison, limit=limit, passed=passed, reason=reason
    )


class HeldOut(Record):
    """The rows the numbers come from, which training never saw.

    `time`: everything after a moment, as in production. `random`: a seeded share, where the data has no time.
    """

    kind: Literal["time", "random"]
    rows: Annotated[int, Field(ge=1)]
    training_rows: Annotated[int, Field(ge=1)]
    positives: Rows
    start: Time | None = None
    end: Time | None = None
    description: str = ""

    @model_validator(mode="after")
    def _time_is_stated(self) -> "HeldOut":
        if self.kind == "time" and (self.start is None or self.end is None):
            raise ValueError("data held out by time states start and end")
        return self


class Metric(Record):
    """A metric on the held-out rows; `standard_error` where a formula for it is known."""

    value: Finite
    standard_error: Finite | None = None


class Baseline(Record):
    """What a simple model reaches on the same held-out rows."""

    name: Name
    description: str
    metrics: dict[str, Metric]


class Group(Record):
    """How the model treats one group. Rates are None where the group has no row of that kind."""

    name: Name
    rows: Rows
    selection_rate: Share | None
    true_positive_rate: Share | None
    false_positive_rate: Share | None
    accuracy: Share | None


class Fairness(Record):
    """The groups of one protected attribute and the gaps between them.

    Gaps: `selectionRatio` (lowest over highest selection rate), `selectionDifference`, `truePositiveDifference`
    (equal opportunity), `equalizedOddsDifference`.
    """

    attribute: Name
    positive: str
    used_as_feature: bool
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]
    gaps: dict[str, Finite | None]


class Perturbation(Record):
    """What happens to the model when its input gets worse."""

    name: Name
    description: str
    metric: Name
    clean: Finite
    perturbed: Finite
    loss: Finite


class Latency(Record):
    """Time of one single-row prediction in the serving runtime, in process, in milliseconds.

    The best of `rounds` rounds: other work on the machine only ever adds time.
    """

    runtime: Name
    predictions: Annotated[int, Field(ge=1)]
    rounds: Annotated[int, Field(ge=1)]
    p50_ms: Annotated[float, Field(gt=0)]
    p99_ms: Annotated[float, Field(gt=0)]


class Sample(Record):
    """Held-out rows kept beside the model, for a rollout that sees too few requests to judge by."""

    path: Name
    rows: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Evaluation(Record):
    """The content of `evaluation.json`."""

    schema_version: Literal["1"] = "1"
    model: ModelName
    digest: Digest
    data_digest: Digest
    seed: int
    evaluated_at: Time
    architecture: Name
    held_out: HeldOut
    metrics: dict[str, Metric]
    baseline: Baseline
    fairness: tuple[Fairness, ...] = ()
    robustness: tuple[Perturbation, ...] = ()
    latency: Latency
    sample: Sample | None = None
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    passed: bool
    reasons: tuple[str, ...]

    @model_validator(mode="after")
    def _verdict_follows(self) -> "Evaluation":
        passed, reasons = verdict(self.checks)
        if self.passed != passed:
            raise ValueError(f"passed is {self.passed}, but the checks say {passed}")
        if self.reasons != reasons:
            raise ValueError("reasons are not those of the failed checks")
        names = [(one.family, one.name) for one in self.checks]
        if len(set(names)) != len(names):
            raise ValueError("two checks have the same name")
        return self


def verdict(checks: Iterable[Check]) -> tuple[bool, tuple[str, ...]]:
    """Return whether all checks passed, and the reasons of those that did not. No check at all is no pass."""
    judged = tuple(checks)
    return bool(judged) and all(one.passed for one in judged), tuple(one.reason for one in judged if not one.passed)
