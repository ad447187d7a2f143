"""Latency: are the candidate's slow requests too many?

A p99 that is at most `ratio` times stable's means that at most 1 % of the candidate's requests take longer than that.
So the test fixes that border once, at the edge of a bucket, and counts requests above it: a binomial count, with the
same sequential test as failures. Where stable is at work at the same time, the candidate must also have more slow
requests than stable has, so that a slow network or a busy machine is not held against it. The second is not needed for
the fixed limit in seconds, which means what it says.
"""

from serving.rollout.analysis.counts import Analysis, ArmCounts
from serving.rollout.analysis.histogram import EDGES, above, bucket_of, quantile
from serving.rollout.analysis.tails import binomial_tail
from serving.rollout.analysis.verdict import Verdict, concurrent_tail, looked, next_look
from serving.rollout.strategy import Evidence, Limits

SLOW_SHARE = 0.01
"""What may lie above the p99."""


def against_stable(
    analysis: Analysis, limits: Limits, budget: float, evidence: Evidence
) -> tuple[Analysis, Verdict | None]:
    """Compare the candidate's p99 with stable's."""
    if analysis.latency_bucket is None:
        analysis = _fix_border(analysis, limits, evidence)
    border = analysis.latency_bucket
    if border is None:
        return analysis, None

    def slow(counts: ArmCounts) -> int:
        return above(counts.latency, border)

    strata = tuple(stratum for stratum in analysis.real if stratum.candidate.latency)
    count = sum(slow(stratum.candidate) for stratum in strata)
    look = next_look(analysis, "latency", count)
    if look is None:
        return analysis, None
    analysis = looked(analysis, "latency", look)
    allowed = look.level(budget)
    timed = sum(_timed(stratum.candidate) for stratum in strata)
    probability = binomial_tail(look.failures, timed, SLOW_SHARE)
    controlled = tuple(stratum for stratum in strata if stratum.controlled)
    if probability <= allowed and controlled and strata[-1].controlled:
        probability = max(probability, concurrent_tail(controlled, slow, _timed, 1.0))
    if probability > allowed:
        return analysis, None
    return analysis, _verdict(
        "latency", analysis.totals(synthetic=False), probability, allowed, EDGES[border], count, timed
    )


def against_limit(analysis: Analysis, limits: Limits, budget: float) -> tuple[Analysis, Verdict | None]:
    """Compare the candidate's p99 with the fixed limit."""
    if limits.latency_seconds is None:
        return analysis, None
    border = bucket_of(limits.latency_seconds)
    count = sum(above(stratum.candidate.latency, border) for stratum in analysis.real)
    look = next_look(analysis, "latency-seconds", count)
    if look is None:
        return analysis, None
    candidate, _ = counts = analysis.totals(synthetic=False)
    analysis = looked(analysis, "latency-seconds", look)
    allowed = look.level(budget)
    timed = _timed(candidate)
    probability = binomial_tail(look.failures, timed, SLOW_SHARE)
    if probability > allowed:
        return analysis, None
    return analysis, _verdict("latency-seconds", counts, probability, allowed, EDGES[border], count, timed)


def _fix_border(analysis: Analysis, limits: Limits, evidence: Evidence) -> Analysis:
    stable = analysis.history
    for stratum in analysis.real:
        if stratum.stable.latency:
            stable = stable.plus(stratum.stable)
    if _timed(stable) < evidence.latency:
        return analysis
    p99 = quantile(stable.latency, 1 - SLOW_SHARE)
    assert p99 is not None
    return analysis.but(latency_bucket=bucket_of(p99 * limits.latency_ratio))


def _timed(counts: ArmCounts) -> int:
    return sum(counts.latency.values())


def _verdict(
    criterion: str,
    arms: tuple[ArmCounts, ArmCounts],
    probability: float,
    allowed: float,
    border: float,
    count: int,
    timed: int,
) -> Verdict:
    candidate, stable = (quantile(arm.latency, 1 - SLOW_SHARE) for arm in arms)
    beside = f", stable's is {_milliseconds(stable)}" if stable is not None else ""
    return Verdict(
        criterion=criterion,
        action="rollback",
        reason=f"candidate's p99 latency is {_milliseconds(candidate)}{beside}: "
        f"{count:,} of {timed:,} requests took longer than {_milliseconds(border)}",
        probability=probability,
        level=allowed,
    )


def _milliseconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{1000 * seconds:.3g} ms"
