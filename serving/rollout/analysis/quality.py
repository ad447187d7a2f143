"""Quality: is the candidate wrong more often than stable, and does a shadow disagree too often?

Labels come late and for both arms alike, so both are compared as they come in: given how many of the labelled
predictions were wrong, the candidate's share of them is judged by its share of the labels. Knowing only the wrong ones
makes the test a little too cautious where many are wrong (the true spread is hypergeometric), never too bold.
"""

from serving.rollout.analysis.counts import Analysis, ArmCounts
from serving.rollout.analysis.tails import binomial_tail
from serving.rollout.analysis.verdict import Verdict, concurrent_tail, looked, next_look, rate
from serving.rollout.strategy import Limits


def _wrong(counts: ArmCounts) -> int:
    return counts.wrong


def _labelled(counts: ArmCounts) -> int:
    return counts.labelled


def against_stable(analysis: Analysis, limits: Limits, budget: float) -> tuple[Analysis, Verdict | None]:
    """Compare the shares of wrong predictions among the labelled ones."""
    strata = tuple(part for part in analysis.strata if part.candidate.labelled and part.stable.labelled)
    wrong = sum(part.candidate.wrong for part in strata)
    look = next_look(analysis, "quality", wrong)
    if look is None:
        return analysis, None
    analysis = looked(analysis, "quality", look)
    allowed = look.level(budget)
    probability = concurrent_tail(strata, _wrong, _labelled, limits.wrong_ratio, look.surplus)
    if probability > allowed:
        return analysis, None
    labelled = sum(part.candidate.labelled for part in strata)
    beside = rate(sum(part.stable.wrong for part in strata), sum(part.stable.labelled for part in strata))
    return analysis, Verdict(
        criterion="quality",
        action="rollback",
        reason=f"candidate was wrong in {rate(wrong, labelled)} labelled predictions, stable in {beside}",
        probability=probability,
        level=allowed,
    )


def agreement(analysis: Analysis, limits: Limits, budget: float) -> tuple[Analysis, Verdict | None]:
    """Compare the share of answers that differ from stable's with its fixed limit, where there is one."""
    if limits.disagreement is None:
        return analysis, None
    disagreed = sum(part.candidate.disagreed for part in analysis.strata)
    look = next_look(analysis, "disagreement", disagreed)
    if look is None:
        return analysis, None
    analysis = looked(analysis, "disagreement", look)
    allowed = look.level(budget)
    compared = sum(part.candidate.compared for part in analysis.strata)
    probability = binomial_tail(look.failures, compared, limits.disagreement)
    if probability > allowed:
        return analysis, None
    return analysis, Verdict(
        criterion="disagreement",
        action="rollback",
        reason=f"candidate differs from stable in {rate(disagreed, compared)} answers, "
        f"limit {100 * limits.disagreement:g} %",
        probability=probability,
        level=allowed,
    )
