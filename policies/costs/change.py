"""What a change does to the cost of a stack, as the review shows it."""

from __future__ import annotations

from policies.costs.estimate import estimate, region_of
from policies.costs.model import Estimate, Total
from policies.facts import Facts
from policies.plan import Plan, Step
from policies.report.document import NOTHING, Amount, ComponentCost, CostChange


def cost_change(plan: Plan, facts: Facts) -> CostChange | None:
    """Return what a plan costs before and after its steps; None for a target that nobody bills.

    Before is what stands in the steps as old, with the prices and the use of today, so that the difference is that of
    the plan alone. It is None where the plan does not say what was there.

    Args:
        plan: the plan with its steps.
        facts: what is stated of the environment.

    Raises:
        BookError: the price book cannot be used, or has no prices for the region.
        ValueError: the settings state a use that is none.
    """
    if facts.target != "aws":
        return None
    region = region_of(facts.settings)
    after = estimate(plan, region, settings=facts.settings)
    old = before_of(plan)
    before = estimate(old, region, settings=facts.settings) if old is not None else None
    budget = facts.setting("aws", "governance", "budgetUsd")
    return compared(before, after, budget)


def before_of(plan: Plan) -> Plan | None:
    """Return the plan as it was before its steps; None where it holds none."""
    if plan.steps is None:
        return None
    stays = {one.urn for one in plan.steps}
    old = [one.old for one in plan.steps if one.old is not None and _was_there(one)]
    old += [one for one in plan.resources if one.urn not in stays]
    return Plan(stack=plan.stack, resources=old)


def _was_there(step: Step) -> bool:
    return step.operation != "create"


def compared(before: Estimate | None, after: Estimate, budget: float | None) -> CostChange:
    """Return the difference of two estimates."""
    was = before.by_component if before else {}
    now = after.by_component
    names = sorted({*was, *now}, key=lambda one: (-now.get(one, Total()).expected, one))
    return CostChange(
        before=_amount(before.total) if before else None,
        after=_amount(after.total),
        components=[
            ComponentCost(component=one, before=_amount(was[one]) if one in was else NOTHING,
                          after=_amount(now[one]) if one in now else NOTHING)
            for one in names
        ],
        unpriced=[one.text for one in after.gaps],
        budget=float(budget) if budget is not None else None,
        prices=f"price book of {after.prices_of}, {after.region}",
    )  # fmt: skip


def _amount(total: Total) -> Amount:
    return Amount(expected=float(round(total.expected, 2)), worst=float(round(total.worst, 2)))
