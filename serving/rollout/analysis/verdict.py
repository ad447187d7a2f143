"""What a test says when it has something to say, and the arithmetic that every one-sided test of counts shares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from serving.rollout.analysis.counts import Analysis, ArmCounts, Stratum
from serving.rollout.analysis.spending import FAILURES, level, look_at
from serving.rollout.analysis.tails import sum_tail
from serving.rollout.record import Value

Select = Callable[[ArmCounts], int]


class Verdict(Value):
    """A criterion that a candidate does not meet."""

    criterion: str
    action: Literal["rollback", "pause"]
    reason: str
    """For people, with the numbers."""
    probability: float
    """Of counts at least as bad from a healthy candidate."""
    level: float
    """Probability of a false alarm that this look was allowed."""


@dataclass(frozen=True)
class Look:
    """One look of a criterion.

    Attributes:
        index: Which look.
        failures: The number of failures at which the look stands; batches may have brought more.
        surplus: How many more.
    """

    index: int
    failures: int
    surplus: int

    def level(self, budget: float) -> float:
        """Probability of a false alarm that this look may spend."""
        return level(self.index, budget)


def next_look(analysis: Analysis, criterion: str, failures: int) -> Look | None:
    """Return the look that this many failures call for, or None where it was taken already."""
    index = look_at(failures)
    if index <= analysis.looks.get(criterion, -1):
        return None
    return Look(index, FAILURES[index], failures - FAILURES[index])


def looked(analysis: Analysis, criterion: str, look: Look) -> Analysis:
    """Remember that a look was taken."""
    return analysis.but(looks={**analysis.looks, criterion: look.index})


def concurrent_tail(
    strata: tuple[Stratum, ...], failures: Select, exposure: Select, ratio: float, surplus: int = 0
) -> float:
    """Return the probability of so many failures of the candidate, given what stable did at the same time.

    Given the number of failures in a stratum, the candidate's share of them is binomial with its share of the exposure
    if both arms fail equally often (the conditional test of two Poisson rates: Przyborowski and Wilenski, Biometrika
    31, 1940). It holds whatever the rate is and however it moves, because it moves for both arms.

    Args:
        strata: those in which both arms were at work; the last is the newest.
        failures: picks the failures of an arm.
        exposure: picks what they are a part of.
        ratio: failures of the candidate per failure of stable, at equal exposure, that are all right.
        surplus: failures of the candidate beyond those that the look is about; they are taken to be the newest.
    """
    total, parts = -surplus, []
    for stratum in strata:
        own, other = failures(stratum.candidate), failures(stratum.stable)
        scaled = ratio * exposure(stratum.candidate)
        total += own
        parts.append((own + other, scaled / (scaled + exposure(stratum.stable))))
    for index in range(len(parts) - 1, -1, -1):
        removed = min(surplus, failures(strata[index].candidate))
        parts[index] = (parts[index][0] - removed, parts[index][1])
        surplus -= removed
    return sum_tail(total, parts)


def rate(part: int, whole: int) -> str:
    """Write `4 of 21 (19 %)`."""
    return f"{part:,} of {whole:,} ({100 * part / whole:.3g} %)" if whole else f"{part:,} of none"
