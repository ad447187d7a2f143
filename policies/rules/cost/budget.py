"""The budget: the estimate stays within it, everything is priced, and somebody hears before it is spent."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from policies.costs.estimate import of_world
from policies.costs.model import Estimate
from policies.plan import MISSING, Resource, UndeterminedError, name_of
from policies.rule import EVERYWHERE_ON_AWS, PRODUCTION_ONLY, Answer, Problem, World, plan_rule

BUDGETS = ("aws:budgets/budget:Budget",)
_AWS = ("aws:*",)
_BUDGET, _WORST = "aws.governance.budgetUsd", "aws.governance.worstCaseUsd"
_DEAREST = 3
_SPENT = 100
"""Per cent of the budget."""


@plan_rule(
    id="cost.expected-within-budget",
    title="The expected month costs no more than the budget",
    severity="high",
    why="A budget that the plan exceeds from the first day warns of nothing: people learn to ignore it.",
    fix="make the environment smaller, or raise the budget together with whoever pays for it",
    types=_AWS,
    levels=EVERYWHERE_ON_AWS,
)
def expected_within_budget(world: World) -> Iterator[Answer]:
    """Compare the estimate with the budget that the settings state."""
    budget = world.facts.setting("aws", "governance", "budgetUsd")
    if budget is None:
        yield Problem("the settings state no budget", setting=_BUDGET)
        return
    found = of_world(world)
    if found.total.expected > Decimal(str(budget)):
        yield Problem(
            f"the expected month costs {_usd(found.total.expected)}, the budget is {_usd(budget)}; "
            f"most of it: {_dearest(found, worst=False)}",
            setting=_BUDGET,
        )
        return
    _require_known(found)


@plan_rule(
    id="cost.worst-case-within-limit",
    title="The worst month costs no more than its limit",
    severity="high",
    why="A runaway job fills every pool up to its limit; what that costs must be decided before, not found on a bill.",
    fix="lower limits of pools or maxima of autoscaling, or raise worstCaseUsd together with whoever pays for it",
    types=_AWS,
    levels=EVERYWHERE_ON_AWS,
)
def worst_case_within_limit(world: World) -> Iterator[Answer]:
    """Compare the worst month with its limit, which is the budget where none is stated."""
    stated = world.facts.setting("aws", "governance", "worstCaseUsd")
    limit = world.facts.setting("aws", "governance", "budgetUsd") if stated is None else stated
    setting = _BUDGET if stated is None else _WORST
    if limit is None:
        yield Problem("the settings state neither worstCaseUsd nor budgetUsd", setting=_WORST)
        return
    found = of_world(world)
    if found.total.worst > Decimal(str(limit)):
        yield Problem(
            f"the worst month costs {_usd(found.total.worst)}, the limit is {_usd(limit)}; "
            f"most of it: {_dearest(found, worst=True)}",
            setting=setting,
        )
        return
    _require_known(found)


@plan_rule(
    id="cost.everything-priced",
    title="Everything that may cost something has a price",
    severity="medium",
    why="What nobody priced is missing from the estimate, and from the decision that rests on it.",
    fix="use what the price book has, or add a row with its source to policies/costs/prices.csv",
    types=_AWS,
    levels=PRODUCTION_ONLY,
    yields_to=("cost.pool-has-limits", "cost.log-retention-bounded", "cost.instance-family-allowed"),
)
def everything_priced(world: World) -> Iterator[Answer]:
    """Name what has no price."""
    found = of_world(world)
    for gap in found.gaps:
        if gap.kind == "unpriced":
            yield Problem(f"unpriced: {gap.why}", urn=gap.urn)
    _require_known(found)


@plan_rule(
    id="cost.budget-with-alarms",
    title="A monthly budget of the stated amount warns people before it is spent",
    severity="high",
    why="The estimate is a forecast; the budget is what notices that it was wrong.",
    fix="make a Budget of type COST over a month, with notifications at or below 100 % to mails or topics",
    types=_AWS,
    levels=EVERYWHERE_ON_AWS,
)
def budget_with_alarms(world: World) -> Iterator[Answer]:
    """Look for the budget, its amount and who hears of it."""
    stated = world.facts.setting("aws", "governance", "budgetUsd")
    budgets = [one for one in world.plan.of(*BUDGETS) if _monthly(one)]
    if not budgets:
        yield Problem("there is no budget over the cost of a month", setting=_BUDGET)
    for budget in budgets:
        amount = budget.value("limitAmount")
        if stated is None or amount is None or Decimal(str(amount)) != Decimal(str(stated)):
            yield Problem(
                f"its limit is {amount} USD, the settings state {stated}", urn=budget.urn, path="limitAmount",
                setting=_BUDGET,
            )  # fmt: skip
        warned = [_warns(budget, index) for index in range(len(budget.items("notifications")))]
        for kind in ("ACTUAL", "FORECASTED"):
            if kind not in warned:
                what = "what was spent" if kind == "ACTUAL" else "what is forecast"
                yield Problem(
                    f"nobody hears of {what} at or below 100 %", urn=budget.urn, path="notifications",
                    setting="aws.governance.budgetMails",
                )  # fmt: skip


def _monthly(budget: Resource) -> bool:
    return bool(budget.value("budgetType") == "COST" and budget.value("timeUnit") == "MONTHLY")


def _warns(budget: Resource, index: int) -> str | None:
    """Return what a notification warns of in time and to somebody; None where it does not.

    A topic that is made along has no name yet: that one is stated is enough.
    """
    at = ("notifications", index)
    topics = budget.peek(*at, "subscriberSnsTopicArns")
    heard = (topics is not MISSING and topics != []) or budget.value(*at, "subscriberEmailAddresses")
    in_time = (
        budget.value(*at, "thresholdType") == "PERCENTAGE"
        and budget.value(*at, "threshold", default=_SPENT + 1) <= _SPENT
    )
    return str(budget.value(*at, "notificationType")) if heard and in_time else None


def _require_known(found: Estimate) -> None:
    for gap in found.gaps:
        if gap.kind == "undetermined":
            raise UndeterminedError(f"the price of {name_of(gap.urn)}")


def _usd(amount: Any) -> str:
    return f"{Decimal(str(amount)):,.0f} USD"


def _dearest(found: Estimate, *, worst: bool) -> str:
    amounts = {urn: one.worst if worst else one.expected for urn, one in found.by_resource.items()}
    order = sorted(amounts, key=lambda urn: -amounts[urn])[:_DEAREST]
    return ", ".join(f"{name_of(urn)} {_usd(amounts[urn])}" for urn in order)
