"""How a budget of false alarms is spent over the looks of a test.

A criterion looks at the candidate's 2nd, 3rd, … 10th, 11th, 12th, 13th, 14th, 16th … failure, about 15 % apart,
whatever the size of the batches that bring them: look j asks whether that many failures came too early, and may raise a
false alarm with probability `level(j, budget)`. This is error spending (Lan and DeMets, Biometrika 70, 1983) with the
number of failures as information time: most of the budget lies on the first looks, because a broken candidate shows
there, and the rest falls so slowly that a slight worsening is still found.

The levels add up to 1.45 times the budget. Looks overlap (who failed too often by the 3rd failure often did by the
4th), and the exact probability that a Poisson process of known rate ever crosses these limits, by recursion over its
counts (the test of this module does it), stays below the budget for all budgets from 0.05 % to 1 %.
"""

from bisect import bisect_right
from itertools import accumulate

OVERLAP = 1.45
_FIRST = (0.08, 0.20, 0.12, 0.08)
"""Shares of the looks at 2 to 5 failures; the first is small, it pays off only where failures are very rare."""
_LOOKS = 80


def _failures() -> tuple[int, ...]:
    grid = list(range(2, 11))
    while len(grid) < _LOOKS:
        grid.append(max(grid[-1] + 1, int(grid[-1] * 1.15)))
    return tuple(grid)


def _shares() -> tuple[float, ...]:
    tail = [(look + 6) ** -1.6 for look in range(_LOOKS - len(_FIRST))]
    rest = (1 - sum(_FIRST)) / sum(tail)
    return (*_FIRST, *(rest * weight for weight in tail))


FAILURES = _failures()
"""The numbers of failures at which a criterion looks. One failure never condemns a candidate."""
SHARES = _shares()
"""Each look's share of the budget; they add up to one."""

assert abs(list(accumulate(SHARES))[-1] - 1) < 1e-9


def look_at(failures: int) -> int:
    """Return the index of the last look that this many failures reach, or -1 before the first."""
    return bisect_right(FAILURES, failures) - 1


def level(look: int, budget: float) -> float:
    """Return the probability of a false alarm that a look may spend; 0 for no look."""
    return OVERLAP * budget * SHARES[look] if look >= 0 else 0.0
