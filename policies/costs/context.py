"""What the price of a resource may depend on besides itself: the plan, the settings, the use, the book."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from policies.costs.book import Book, Price
from policies.costs.model import Charge
from policies.costs.usage import HOURS, Usage
from policies.plan import Plan, Resource


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an estimate is made from.

    Attributes:
        plan: the plan.
        region: region that it is for.
        book: the prices.
        usage: the use that is assumed.
        settings: the stack's settings, by their names in the file.
    """

    plan: Plan
    region: str
    book: Book
    usage: Usage
    settings: Mapping[str, Any] = field(default_factory=dict)

    def price(self, service: str, sku: str) -> Price:
        """Return a price of this region.

        Raises:
            UnpricedError: there is none.
        """
        return self.book.price(service, sku, self.region)

    def hours(self, what: str, service: str, sku: str, count: Decimal | int = 1, worst: Decimal | int = 0) -> Charge:
        """Return the charge for something that is there all month, `count` times, at worst `worst` times."""
        return Charge(
            what=what, price=self.price(service, sku), expected=HOURS * count, worst=HOURS * max(count, worst)
        )

    def fixed(
        self, what: str, service: str, sku: str, count: Decimal | int = 1, worst: Decimal | int | None = None
    ) -> Charge:
        """Return the charge for a quantity."""
        most = Decimal(count if worst is None else worst)
        return Charge(what=what, price=self.price(service, sku), expected=Decimal(count), worst=most)

    def used(self, what: str, service: str, sku: str, name: str, times: Decimal | int = 1) -> Charge:
        """Return the charge for a use that is assumed, `times` over."""
        usage = self.usage
        return Charge(
            what=what, price=self.price(service, sku), expected=usage.expected(name) * times,
            worst=usage.worst(name) * times,
        )  # fmt: skip


Pricing = Callable[[Resource, Context], Iterable[Charge]]
"""Yields what a resource is billed for.

It raises `UnpricedError` where there is no price, `UndeterminedError` where an input that the price depends on is not
known in the plan, `UnboundedError` where no price can be named at all.
"""


class UnboundedError(Exception):
    """What a resource may cost has no bound, or follows a way of billing that the estimate does not know."""
