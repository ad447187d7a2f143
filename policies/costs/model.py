"""An estimate: lines with their prices, and what could not be priced, which is never counted as nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from policies.costs.book import Price
from policies.plan import name_of

GapKind = Literal["unpriced", "undetermined"]


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a resource is billed for, before it is known whose it is.

    Attributes:
        what: what it is, in few words.
        price: the row of the price book.
        expected: quantity of the expected month, in the row's unit.
        worst: quantity of the worst month.
        worst_price: the row for the worst month where it is another.
    """

    what: str
    price: Price
    expected: Decimal
    worst: Decimal
    worst_price: Price | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of an estimate.

    Attributes:
        urn: the resource.
        component: the component that it belongs to, such as `network`.
        charge: what is billed.
    """

    urn: str
    component: str
    charge: Charge

    @property
    def expected(self) -> Decimal:
        """US dollars of the expected month."""
        return self.charge.expected * self.charge.price.usd

    @property
    def worst(self) -> Decimal:
        """US dollars of the worst month; never below the expected one."""
        return max(self.charge.worst * (self.charge.worst_price or self.charge.price).usd, self.expected)


@dataclass(frozen=True, order=True, kw_only=True)
class Gap:
    """What could not be priced.

    Attributes:
        urn: the resource.
        component: the component that it belongs to.
        kind: no price is known for it, or the plan does not know an input that the price depends on.
        why: what is missing.
    """

    urn: str
    component: str
    kind: GapKind
    why: str

    @property
    def text(self) -> str:
        """It in words."""
        return f"{name_of(self.urn)} [{self.kind}]: {self.why}"


@dataclass(frozen=True)
class Total:
    """US dollars of a month."""

    expected: Decimal = Decimal(0)
    worst: Decimal = Decimal(0)

    def __add__(self, other: Total) -> Total:
        return Total(self.expected + other.expected, self.worst + other.worst)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a plan costs in a month.

    Attributes:
        region: region of the prices.
        lines: what is priced.
        gaps: what is not.
        free: how many resources are not billed.
        assumptions: what was assumed, each a sentence.
        usage: the use that was assumed, by the names of the settings.
        prices_of: day of the newest price.
    """

    region: str
    lines: Sequence[Line] = ()
    gaps: Sequence[Gap] = ()
    free: int = 0
    assumptions: Sequence[str] = ()
    usage: Mapping[str, float] = field(default_factory=dict)
    prices_of: date | None = None

    @property
    def total(self) -> Total:
        """The whole."""
        return _sum(self.lines)

    @property
    def by_component(self) -> Mapping[str, Total]:
        """By component, the dearest in front."""
        return _grouped((one.component, one) for one in self.lines)

    @property
    def by_resource(self) -> Mapping[str, Total]:
        """By URN, the dearest in front."""
        return _grouped((one.urn, one) for one in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; amounts are rounded to cents."""
        return {
            "region": self.region, "pricesOf": self.prices_of and self.prices_of.isoformat(), "currency": "USD",
            "total": _json(self.total),
            "components": {name: _json(one) for name, one in self.by_component.items()},
            "lines": [
                {
                    "urn": one.urn, "component": one.component, "what": one.charge.what,
                    "expected": _cents(one.expected), "worst": _cents(one.worst),
                    "quantity": float(one.charge.expected), "worstQuantity": float(one.charge.worst),
                    "price": one.charge.price.cited,
                }
                for one in self.lines
            ],
            "unpriced": [{"urn": one.urn, "kind": one.kind, "why": one.why} for one in self.gaps],
            "free": self.free, "assumptions": list(self.assumptions), "usage": dict(self.usage),
        }  # fmt: skip


def _grouped(pairs: Iterable[tuple[str, Line]]) -> dict[str, Total]:
    found: dict[str, Total] = {}
    for key, line in pairs:
        found[key] = found.get(key, Total()) + Total(line.expected, line.worst)
    return dict(sorted(found.items(), key=lambda one: (-one[1].expected, one[0])))


def _sum(lines: Iterable[Line]) -> Total:
    return sum((Total(one.expected, one.worst) for one in lines), start=Total())


def _json(total: Total) -> dict[str, float]:
    return {"expected": _cents(total.expected), "worst": _cents(total.worst)}


def _cents(usd: Decimal) -> float:
    return float(round(usd, 2))
