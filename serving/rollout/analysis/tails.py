"""Upper tails of binomial counts, exact or to about 1 %, in plain Python: they are taken at every failed request.

No array library: the controller that calls these once a second should start fast and stay small.
"""

import math
from collections.abc import Sequence

_EXACT_UP_TO = 60


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Return P(X ≥ successes) for X ~ Binomial(trials, probability).

    At or below the mean the tail is of no interest to a test and 1.0 is returned, which errs on the safe side.
    Above it the terms fall at least geometrically, so that few are summed.
    """
    if successes <= 0 or successes <= trials * probability:
        return 1.0
    if successes > trials or probability <= 0:
        return 0.0
    odds = probability / (1 - probability)
    term = total = math.exp(
        math.lgamma(trials + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(trials - successes + 1)
        + successes * math.log(probability)
        + (trials - successes) * math.log1p(-probability)
    )
    count = successes
    while count < trials and term > total * 1e-9:
        term *= (trials - count) / (count + 1) * odds
        total += term
        count += 1
    return min(1.0, total)


def sum_tail(successes: int, parts: Sequence[tuple[int, float]]) -> float:
    """Return P(X ≥ successes) for a sum of independent binomial counts.

    Args:
        successes: the count that was seen.
        parts: (trials, probability) of each summand.

    Exact by convolution up to 60 successes, above by the saddle point approximation of Lugannani and Rice (Adv. Appl.
    Prob. 12, 1980) with Daniels' second correction for lattices (Int. Stat. Rev. 55, 1987), whose relative error is
    below 1 % here. At, below and right above the mean 1.0 is returned, as in `binomial_tail`.
    """
    live = [(trials, probability) for trials, probability in parts if trials > 0 and probability > 0]
    certain = sum(trials for trials, probability in live if probability >= 1)
    live = [(trials, probability) for trials, probability in live if probability < 1]
    wanted = successes - certain
    if wanted <= sum(trials * probability for trials, probability in live):
        return 1.0
    if wanted > sum(trials for trials, _ in live):
        return 0.0
    if len(live) == 1:
        return binomial_tail(wanted, *live[0])
    return _convolved(wanted, live) if wanted <= _EXACT_UP_TO else _saddle_point(wanted, live)


def _convolved(successes: int, parts: Sequence[tuple[int, float]]) -> float:
    below = [1.0] + [0.0] * (successes - 1)
    for trials, probability in parts:
        masses = _masses(trials, probability, successes)
        below = [
            sum(below[count - own] * masses[own] for own in range(min(count, len(masses) - 1) + 1))
            for count in range(successes)
        ]
    # The complement loses digits below 1e-13, far under any level that is spent on one look.
    return max(0.0, 1.0 - math.fsum(below))


def _masses(trials: int, probability: float, length: int) -> list[float]:
    term = math.exp(trials * math.log1p(-probability))
    odds = probability / (1 - probability)
    masses = [term]
    for count in range(min(trials, length - 1)):
        term *= (trials - count) / (count + 1) * odds
        masses.append(term)
    return masses


def _saddle_point(successes: int, parts: Sequence[tuple[int, float]]) -> float:
    # Continuity: the tail from `successes` on is taken at successes - 1/2.
    point = successes - 0.5
    average = sum(trials * probability for trials, probability in parts)
    spread = math.sqrt(sum(trials * probability * (1 - probability) for trials, probability in parts))
    if point < average + 0.5 * spread:
        return 1.0  # about 0.3 in truth, and the formula below is a difference of large numbers there

    def mean(tilt: float) -> float:
        grown = math.exp(tilt)
        return sum(
            trials * probability * grown / (1 - probability + probability * grown) for trials, probability in parts
        )

    low, high = 0.0, 1.0
    while mean(high) < point:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < point else (low, middle)
    tilt = (low + high) / 2
    grown = math.exp(tilt)
    cumulant = variance = 0.0
    for trials, probability in parts:
        share = probability * grown / (1 - probability + probability * grown)
        cumulant += trials * math.log1p(probability * (grown - 1))
        variance += trials * share * (1 - share)
    signed = math.sqrt(2 * (tilt * point - cumulant))
    height = 2 * math.sinh(tilt / 2) * math.sqrt(variance)
    normal = math.erfc(signed / math.sqrt(2)) / 2
    density = math.exp(-(signed**2) / 2) / math.sqrt(2 * math.pi)
    return min(1.0, max(0.0, normal + density * (1 / height - 1 / signed)))
