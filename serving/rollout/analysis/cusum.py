"""An alarm that stays armed: has the rate of failures gone up since the version was promoted?

A sequential test that adds everything up since the start gets slower with every good request. After promotion the
question is another one, whether something changed, and CUSUM answers it: for each rate p1 that failures may have gone
up to, the log likelihood ratio of p1 against what is all right, p0, is summed up and never falls below zero (Page,
Biometrika 41, 1954). With an alarm at h the mean number of requests to a false one is at least exp(h) (Lorden, Ann.
Math. Statist. 42, 1971). The state is one number per p1.
"""

import math

RISES = (2.0, 5.0, 20.0)
"""Multiples of p0 that are watched for, beside `SHARES`."""
SHARES = (0.2, 0.5)
"""Plain rates that are watched for: a version that broke fails in a good part of its requests."""


def alternatives(allowed: float) -> tuple[float, ...]:
    """Return the rates that are watched for, when this rate is all right."""
    rates = {min(allowed * rise, 0.9) for rise in RISES} | set(SHARES)
    return tuple(sorted(rate for rate in rates if rate > 1.2 * allowed))


def updated(scores: tuple[float, ...], failures: int, requests: int, allowed: float) -> tuple[float, ...]:
    """Return the scores after a batch.

    Args:
        scores: one for each of `alternatives(allowed)`; empty to begin.
        failures: failed requests of the batch.
        requests: all requests of the batch.
        allowed: rate of failures that is all right, above 0.
    """
    rates = alternatives(allowed)
    scores = scores or (0.0,) * len(rates)
    good = requests - failures
    return tuple(
        max(0.0, score + failures * math.log(rate / allowed) + good * math.log((1 - rate) / (1 - allowed)))
        for score, rate in zip(scores, rates, strict=True)
    )


def limit(alarm_every: float, watched: int) -> float:
    """Return the score that is an alarm when `watched` sums together may raise a false one every so many requests."""
    return math.log(alarm_every * watched)


def upper_rate(failures: int, requests: int) -> float:
    """Return a rate that the true one exceeds with a probability of about 5 %: what a record still allows for.

    The square root form of the Poisson limit (Freeman and Tukey, 1950, rounded up); 3 / n without failures.
    """
    return min(1.0, (failures + 2 * math.sqrt(failures + 1) + 1) / requests) if requests else 1.0
