"""What a change does to a stack's cost: the estimate of the plan beside that of what was there before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.costs.book import BookError
from policies.costs.estimate import estimate, region_of
from policies.costs.model import Estimate, Total
from policies.facts import Facts, FactsError, facts_of
from policies.plan import Plan
from policies.report.document import NOTHING, Amount, ComponentCost, CostChange


def before(plan: Plan) -> Plan:
    """Return what was there before a plan: the old side of its steps."""
    return Plan(stack=plan.stack, resources=[one.old for one in plan.steps or () if one.old is not None])


def cost_change(plan: Plan, facts: Facts) -> tuple[CostChange | None, str]:
    """Return what a plan costs before and after, and why that is not known where it is not.

    Args:
        plan: the plan with its steps.
        facts: what its gate states.
    """
    if facts.target != "aws":
        return None, ""
    try:
        after = _estimate(plan, facts.settings)
    except (BookError, ValueError) as error:
        return None, f"The cost is not known: {error}"
    old, note = before(plan), ""
    earlier: Estimate | None = None
    if old.resources:
        try:
            earlier = _estimate(old, facts_of(old).settings)
        except (BookError, FactsError, ValueError) as error:
            note = f"The cost before is not known: {error}"
    components = sorted({*after.by_component, *(earlier.by_component if earlier else ())})
    budget = facts.setting("aws", "governance", "budgetUsd")
    return CostChange(
        before=_amount(earlier.total) if earlier else None,
        after=_amount(after.total),
        components=[
            ComponentCost(
                component=name,
                before=_amount(earlier.by_component[name]) if earlier and name in earlier.by_component else NOTHING,
                after=_amount(after.by_component[name]) if name in after.by_component else NOTHING,
            )
            for name in components
        ],
        unpriced=[one.text for one in after.gaps],
        budget=float(budget) if isinstance(budget, int | float) else None,
        prices=f"price book of {after.prices_of}, {after.region}",
    ), note


def _estimate(plan: Plan, settings: Mapping[str, Any]) -> Estimate:
    return estimate(plan, region_of(settings), settings=settings)


def _amount(total: Total) -> Amount:
    return Amount(expected=round(float(total.expected), 2), worst=round(float(total.worst), 2))
