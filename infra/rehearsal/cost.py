"""What the environment that a rehearsal plays would cost in an account, by the price book and the judged plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies.costs.book import BookError
from policies.costs.estimate import estimate, region_of
from policies.plan import Plan


@dataclass(frozen=True)
class Cost:
    """Two months, in US dollars; `docs/costs.md` says how they are reckoned.

    Attributes:
        expected: An expected month; None where there is no estimate.
        worst: A month with every limit used up.
        unpriced: Resources that no price is known of; they are in no sum.
        missing: Why there is no estimate.
    """

    expected: float | None = None
    worst: float | None = None
    unpriced: int = 0
    missing: str = ""

    def said(self, stack: str) -> str:
        """Return it in words."""
        if self.expected is None or self.worst is None:
            return f"what it would cost is not known: {self.missing}"
        gaps = f"; {self.unpriced} resources have no price and are in no sum" if self.unpriced else ""
        return (
            f"it would cost {self.expected:,.0f} US dollars a month, {self.worst:,.0f} at worst{gaps} "
            f"(`./mlops cost {stack}` says for what)"
        )


def cost_of(plan: Plan, settings: Mapping[str, Any]) -> Cost:
    """Estimate what a plan would cost.

    Args:
        plan: What a preview plans.
        settings: The stack's settings, as the plan states them.
    """
    try:
        found = estimate(plan, region_of(settings), settings=settings)
    except (BookError, ValueError) as error:
        return Cost(missing=str(error))
    gaps = len({one.urn for one in found.gaps})
    return Cost(round(float(found.total.expected), 2), round(float(found.total.worst), 2), gaps)
