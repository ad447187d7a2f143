"""Errors and invalid outputs: does the candidate fail more often than stable?

Three tests, each with its own budget. *History* compares with stable's record before and during the rollout, which is
long and therefore sharp: a broken candidate shows in its first two to four failures. It rests on stable being what it
was, so it says nothing while stable fails more than in its record, and it must not contradict what stable does at the
same time. *Concurrent* rests on nothing but the split of traffic: whatever happens to both arms alike (an outage, a
flood of bad requests) is not held against the candidate. *Failure rate* is a fixed limit on top.
"""

from serving.rollout.analysis.counts import NOTHING, Analysis, ArmCounts
from serving.rollout.analysis.spending import FAILURES
from serving.rollout.analysis.tails import binomial_tail
from serving.rollout.analysis.verdict import Verdict, concurrent_tail, looked, next_look, rate
from serving.rollout.strategy import Evidence, Limits

DISTRUST = 0.01
"""Below this probability stable does worse than its record, and the record is no reference at this look."""
GUARD = (0.05, 0.25)
"""The history test needs the concurrent one to find the candidate suspicious too: at least with the first probability,
in the beginning with the second, and `GUARD_REQUESTS` over the candidate's requests in between."""
GUARD_REQUESTS = 15
"""A candidate that is broken shows in its first requests; what begins later is more likely to have hit both arms."""
USUAL_RATE = 0.02
"""Up to here stable's errors may move without anything being wrong, whatever its record says."""
MOVED = 0.006
"""Limit of the probability that errors moved to `USUAL_RATE` made the candidate's failures, times that of the
concurrent test. If that is what happened, the two are independent and their product is below c with a probability of
c (1 - ln c) at one look, about 4 % (Fisher, Statistical Methods for Research Workers, 4th ed., 1932). A canary that
begins with a small share errs in fewer than 1 % then, because stable's own failures soon drop the record."""
SHARED = 0.001
"""Below this probability the rates of the arms differ; above it a fixed limit that both break blames nobody. That is
asked at many looks while an incident lasts: at 0.01, one rollout in eighty was blamed for an incident of two minutes in
one of its steps, at 0.001 none of 250. A candidate beside a sound stable has nothing to share, whatever this is."""


def _failures(counts: ArmCounts) -> int:
    return counts.failures


def _requests(counts: ArmCounts) -> int:
    return counts.requests


def against_history(
    analysis: Analysis, limits: Limits, budget: float, evidence: Evidence
) -> tuple[Analysis, Verdict | None]:
    """Compare with stable's record before the rollout, continued by what it did since."""
    record = analysis.history
    if record.requests < evidence.history:
        return analysis, None
    look = next_look(analysis, "history", sum(stratum.candidate.failures for stratum in analysis.real))
    if look is None:
        return analysis, None
    candidate, stable = analysis.totals(synthetic=False)
    analysis = looked(analysis, "history", look)
    if not _as_recorded(analysis):
        return analysis, None
    allowed = look.level(budget)
    reference, failed = record.requests + stable.requests, record.failures + stable.failures
    scaled = limits.tolerated_ratio * candidate.requests
    probability = max(
        binomial_tail(look.failures, look.failures + failed, scaled / (scaled + reference)),
        binomial_tail(look.failures, candidate.requests, limits.tolerated_rate),
    )
    if probability > allowed:
        return analysis, None
    if not _suspicious_beside_stable(analysis, limits, look.failures, candidate.requests, failed / reference):
        return analysis, None
    return analysis, Verdict(
        criterion="failures",
        action="rollback",
        reason=f"{_story(candidate)}, stable {rate(failed, reference)}",
        probability=probability,
        level=allowed,
    )


def _as_recorded(analysis: Analysis) -> bool:
    """Whether stable does what it did in its record, under every split so far."""
    then = analysis.history
    for stratum in analysis.real:
        now = stratum.stable
        share = now.requests / (now.requests + then.requests)
        if now.failures > 1 and binomial_tail(now.failures, now.failures + then.failures, share) < DISTRUST:
            return False
    return True


def _suspicious_beside_stable(analysis: Analysis, limits: Limits, failures: int, requests: int, usual: float) -> bool:
    """Whether what stable does at the same time leaves room for blaming the candidate, however clear the record is.

    Beside a stable with equal traffic, three failures against none have a probability of 1/8 when something hits both:
    a test that decides in a dozen requests cannot ask for less there. So the guard is wide in the beginning, but then
    asks that the failures came faster than any usual rate explains.

    Args:
        analysis: all evidence.
        limits: what is tolerated.
        failures: those of the candidate that the look is about.
        requests: those that the candidate answered.
        usual: stable's rate of failures, by its record and since.
    """
    controlled = tuple(stratum for stratum in analysis.real if stratum.controlled)
    if not controlled or not _newest_is_controlled(analysis):
        return True
    beside = concurrent_tail(controlled, _failures, _requests, limits.tolerated_ratio)
    if beside > min(GUARD[1], max(GUARD[0], GUARD_REQUESTS / requests)):
        return False
    return beside * binomial_tail(failures, requests, max(USUAL_RATE, usual)) <= MOVED


def against_stable(analysis: Analysis, limits: Limits, budget: float) -> tuple[Analysis, Verdict | None]:
    """Compare with what stable did at the same time, replays included."""
    controlled = tuple(stratum for stratum in analysis.strata if stratum.controlled)
    failed = sum(stratum.candidate.failures for stratum in controlled)
    look = next_look(analysis, "concurrent", failed)
    if look is None:
        return analysis, None
    analysis = looked(analysis, "concurrent", look)
    allowed = look.level(budget)
    requests = sum(stratum.candidate.requests for stratum in controlled)
    probability = max(
        concurrent_tail(controlled, _failures, _requests, limits.tolerated_ratio, look.surplus),
        binomial_tail(look.failures, requests, limits.tolerated_rate),
    )
    if probability > allowed:
        return analysis, None
    candidate = stable = NOTHING
    for stratum in controlled:
        candidate, stable = candidate.plus(stratum.candidate), stable.plus(stratum.stable)
    return analysis, Verdict(
        criterion="failures",
        action="rollback",
        reason=f"{_story(candidate)}, stable {rate(stable.failures, stable.requests)} at the same time",
        probability=probability,
        level=allowed,
    )


def against_limit(analysis: Analysis, limits: Limits, budget: float) -> tuple[Analysis, Verdict | None]:
    """Compare with the fixed limit. If stable breaks it at the same time, the candidate is not the cause: pause."""
    look = next_look(analysis, "failure-rate", sum(stratum.candidate.failures for stratum in analysis.strata))
    if look is None:
        return analysis, None
    candidate, stable = analysis.totals(synthetic=True)
    analysis = looked(analysis, "failure-rate", look)
    allowed = look.level(budget)
    probability = binomial_tail(FAILURES[look.index], candidate.requests, limits.failure_rate)
    if probability > allowed:
        return analysis, None
    limit = f"limit {100 * limits.failure_rate:g} %"
    shared = _newest_is_controlled(analysis) and _shared(analysis, limits)
    return analysis, Verdict(
        criterion="failure-rate",
        action="pause" if shared else "rollback",
        reason=f"{_story(candidate)}, {limit}"
        + (f"; stable is above it too, {rate(stable.failures, stable.requests)}" if shared else ""),
        probability=probability,
        level=allowed,
    )


def _shared(analysis: Analysis, limits: Limits) -> bool:
    """Whether stable did about as badly while the candidate did badly.

    Stable's rate is weighted by where the candidate's requests were; over all its own it would be diluted by the time
    before, when the candidate had little traffic.
    """
    controlled = tuple(stratum for stratum in analysis.strata if stratum.controlled)
    answered = sum(stratum.candidate.requests for stratum in controlled)
    expected = sum(
        stratum.candidate.requests * stratum.stable.failures / stratum.stable.requests for stratum in controlled
    )
    if expected < limits.failure_rate / 2 * answered:
        return False
    return concurrent_tail(controlled, _failures, _requests, limits.tolerated_ratio) > SHARED


def _newest_is_controlled(analysis: Analysis) -> bool:
    for stratum in reversed(analysis.real):
        if stratum.candidate.requests:
            return stratum.controlled
    return False


def _story(counts: ArmCounts) -> str:
    kinds = [
        f"{counts.errors:,} errors" if counts.errors else "",
        f"{counts.invalid:,} invalid" if counts.invalid else "",
    ]
    return f"candidate failed {rate(counts.failures, counts.requests)}: {', '.join(filter(None, kinds))}"
