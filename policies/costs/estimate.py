"""The estimate of a plan: what each resource is billed for in the expected month and in the worst one.

Pure: the plan, settings and the price book in, an `Estimate` out. A resource of a type that nobody stated to be free,
and that nothing here prices, is unpriced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.costs.book import Book, BookError, UnpricedError, free_types, shipped
from policies.costs.context import Context, Pricing, UnboundedError
from policies.costs.model import Estimate, Gap, Line
from policies.costs.pools import NODE_GROUP, NODE_POOL, node_group, node_pool
from policies.costs.services import PRICED
from policies.costs.usage import Usage, usage_of
from policies.plan import Plan, Resource, UndeterminedError, matches
from policies.rule import World

PLATFORM: Final = "mlops:platform:Platform"
ALL_PRICED: Final[Mapping[str, Pricing]] = {**PRICED, NODE_POOL: node_pool, NODE_GROUP: node_group}
NOT_COUNTED: Final = (
    "calls of KMS and Secrets Manager: cents, where buckets use bucket keys and secrets are read by the hour",
    "backups of databases beyond 100 % of their storage, which is included",
    "support plans, taxes, and discounts of the account (free tiers, Savings Plans, credits)",
)
"""What the estimate leaves out, said in every report."""
HOW: Final = (
    "a month has 730 hours",
    "a pool is expected to hold the pods that the plan asks for at least, packed onto its cheapest type; at worst its "
    "limit is full of the dearest type that fits, all month, Spot at the on-demand price",
    "at worst autoscaling stands at its maximum, storage has grown to its maximum, and all use that has no limit is "
    "`worstTimes` what is expected",
    "logs and backups are counted at steady state: as much is kept as the retention allows",
)


def region_of(settings: Mapping[str, Any]) -> str:
    """Return the region that settings state.

    Raises:
        BookError: they state none.
    """
    region = (settings.get("aws") or {}).get("region")
    if not isinstance(region, str):
        raise BookError("the settings state no aws.region, so that no price can be named")
    return region


def estimate(
    plan: Plan, region: str, *, settings: Mapping[str, Any] | None = None, book: Book | None = None,
    usage: Usage | None = None,
) -> Estimate:  # fmt: skip
    """Return what a plan costs.

    Args:
        plan: the plan.
        region: region of the prices.
        settings: the stack's settings by their names in the file.
        book: the prices; those that come with the blueprint where none are given.
        usage: the use that is assumed; that of the settings where none is given.

    Raises:
        BookError: the book cannot be read, or has no prices for the region.
        ValueError: the settings state a use that is none.
    """
    stated = settings or {}
    prices = book or shipped()
    prices.require_region(region)
    assumed = usage or usage_of(stated)
    context = Context(plan=plan, region=region, book=prices, usage=assumed, settings=stated)
    lines: list[Line] = []
    gaps: list[Gap] = []
    free = 0
    for resource in plan.resources:
        found = _priced(resource, context, lines, gaps)
        free += not found
    return Estimate(
        region=region,
        lines=lines,
        gaps=sorted(gaps),
        free=free,
        assumptions=(*HOW, *(f"not counted: {one}" for one in NOT_COUNTED)),
        usage=assumed.assumed(),
        prices_of=prices.date,
    )


def of_world(world: World) -> Estimate:
    """Return the estimate of what rules look at; it is made once for a plan.

    Raises:
        BookError: see `estimate`.
    """
    facts = world.facts

    def make() -> Estimate:
        return estimate(world.plan, region_of(facts.settings), settings=facts.settings)

    return world.plan.once(("costs", "estimate"), make)


def _priced(resource: Resource, context: Context, lines: list[Line], gaps: list[Gap]) -> bool:
    """Add what a resource is billed for; return whether it is billed, or should be."""
    component = component_of(resource, context.plan)
    price = ALL_PRICED.get(resource.type)
    if price is None:
        if not any(matches(resource.type, (one.type,)) for one in free_types()):
            why = f"nothing prices resources of type {resource.type}"
            gaps.append(Gap(urn=resource.urn, component=component, kind="unpriced", why=why))
            return True
        return False
    before = len(lines) + len(gaps)
    try:
        lines.extend(Line(urn=resource.urn, component=component, charge=charge) for charge in price(resource, context))
    except (UnpricedError, UnboundedError) as error:
        gaps.append(Gap(urn=resource.urn, component=component, kind="unpriced", why=str(error)))
    except UndeterminedError as error:
        gaps.append(Gap(urn=resource.urn, component=component, kind="undetermined", why=str(error)))
    except Exception as error:  # noqa: BLE001 - what cannot be read is not priced, and is said
        why = f"it cannot be read: {type(error).__name__}: {error}"
        gaps.append(Gap(urn=resource.urn, component=component, kind="undetermined", why=why))
    return len(lines) + len(gaps) > before


def component_of(resource: Resource, plan: Plan) -> str:
    """Return the component of the platform that a resource belongs to, such as `network`; `other` for the rest."""
    found = "other"
    seen: Resource | None = resource
    while seen is not None and seen.type != PLATFORM:
        if seen.type.startswith("mlops:"):
            found = seen.type.split(":")[1]
        seen = plan.by_urn.get(seen.parent)
    return found
