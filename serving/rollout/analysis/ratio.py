"""Sample ratio: does the traffic arrive in the proportion that was asked for?

If it does not, requests get lost on the way or arms are chosen by something else than chance, and no comparison of the
arms can be believed. So a mismatch pauses a rollout; it says nothing against the candidate.

The e-value is that of Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022), for two
arms: the Dirichlet-multinomial probability of the counts over their probability under the wanted proportion. It is a
martingale with mean one while the proportion is right, so it ever exceeds 1/a with probability at most a (Ville, 1939),
whenever and however often it is looked at. Strata are independent, so their e-values multiply.
"""

import math

from serving.rollout.analysis.counts import Analysis
from serving.rollout.analysis.verdict import Verdict
from serving.traffic import SLOTS

CONCENTRATION = 200.0
"""Weight of the prior around the wanted proportion, in requests: sharp for shares that are off by a tenth and more."""


def log_e_value(candidate: int, stable: int, share: float) -> float:
    """Return the logarithm of the evidence against this share of assignments."""
    if not candidate + stable:
        return 0.0
    own, other = CONCENTRATION * share, CONCENTRATION * (1 - share)
    return (
        _log_beta(own + candidate, other + stable)
        - _log_beta(own, other)
        - candidate * math.log(share)
        - stable * math.log1p(-share)
    )


def sound(analysis: Analysis, budget: float) -> Verdict | None:
    """Check all strata whose assignments are known."""
    evidence, candidate, stable, wanted = 0.0, 0, 0, 0.0
    for part in analysis.real:
        if 0 < part.weight < SLOTS:
            share = part.weight / SLOTS
            evidence += log_e_value(part.candidate.assigned, part.stable.assigned, share)
            candidate, stable = candidate + part.candidate.assigned, stable + part.stable.assigned
            wanted += share * (part.candidate.assigned + part.stable.assigned)
    if evidence < -math.log(budget):
        return None
    return Verdict(
        criterion="sample-ratio",
        action="pause",
        reason=f"the candidate was assigned {candidate:,} of {candidate + stable:,}, expected were {wanted:,.0f}: "
        "the split of traffic is not what it should be, so the arms cannot be compared",
        probability=math.exp(-evidence) if evidence < 700 else 0.0,
        level=budget,
    )


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
