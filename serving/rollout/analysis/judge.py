"""All criteria, asked in turn after each batch, under one budget of false alarms."""

from serving.rollout.analysis import failures, latency, quality, ratio
from serving.rollout.analysis.counts import Analysis
from serving.rollout.analysis.verdict import Verdict
from serving.rollout.strategy import Strategy


def judge(analysis: Analysis, strategy: Strategy) -> tuple[Analysis, tuple[Verdict, ...]]:
    """Ask every criterion once.

    Args:
        analysis: all evidence so far.
        strategy: limits, budget and minimum of evidence.

    Returns:
        The analysis with the looks that were taken, and what is wrong: rollbacks first.
    """
    limits, budget, evidence = strategy.limits, strategy.budget, strategy.evidence
    found: list[Verdict | None] = []
    analysis, verdict = failures.against_history(analysis, limits, budget.history, evidence)
    found.append(verdict)
    # Without a record there is no history test, and its budget goes to this one. That is settled before the first
    # look and does not change, so that nothing is spent twice.
    alone = analysis.history.requests < evidence.history
    concurrent = budget.concurrent + (budget.history if alone else 0.0)
    analysis, verdict = failures.against_stable(analysis, limits, concurrent)
    found.append(verdict)
    analysis, verdict = failures.against_limit(analysis, limits, budget.failure_rate)
    found.append(verdict)
    analysis, verdict = latency.against_stable(analysis, limits, budget.latency, evidence)
    found.append(verdict)
    analysis, verdict = latency.against_limit(analysis, limits, budget.latency_seconds)
    found.append(verdict)
    analysis, verdict = quality.against_stable(analysis, limits, budget.quality)
    found.append(verdict)
    analysis, verdict = quality.agreement(analysis, limits, budget.disagreement)
    found.append(verdict)
    found.append(ratio.sound(analysis, budget.sample_ratio))
    verdicts = [verdict for verdict in found if verdict is not None]
    return analysis, tuple(sorted(verdicts, key=lambda verdict: verdict.action != "rollback"))
