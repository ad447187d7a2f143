"""What runs of a SageMaker pipeline cost: the machines of its steps, for as long as a run takes.

A run of an hour is counted as an hour of each step, which it is at most: steps follow one another. A step is stopped
after the time that its definition states, so that no run is longer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from policies.costs.book import Book, Price, UnpricedError
from policies.costs.context import Context
from policies.costs.model import Charge
from policies.plan import Resource, UndeterminedError, Unknown

SERVICE: Final = "AmazonSageMaker"
STEPS: Final = ("ingest", "materialize", "train")
"""The steps of a pipeline whose definition is not known yet, at most (`components.pipelines.steps`)."""


def training_pipeline(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the jobs of a SageMaker pipeline's runs, as its definition states their machines.

    On the very first `up` the definition names subnets that are not there yet, and is not known. The settings then say
    what machines are started, and all steps that a model may have are counted.
    """
    stated = resource.peek("pipelineDefinition")
    if isinstance(stated, Unknown):
        steps = [(name, *_settled(context, stated)) for name in STEPS]
    else:
        steps = list(_defined(json.loads(resource.value("pipelineDefinition", default="{}"))))
    runs, hours = (context.usage.expected(name) for name in ("training_runs", "training_hours"))
    most_runs, most_hours = (context.usage.worst(name) for name in ("training_runs", "training_hours"))
    for name, kind, count, longest in steps:
        price = price_of(kind, context)
        bounded = "" if price.sku == f"training {kind}" else ", at most"
        yield Charge(
            what=f"{name} on {kind}{bounded}",
            price=price,
            expected=runs * min(hours, longest) * count,
            worst=most_runs * min(most_hours, longest) * count,
        )


def price_of(kind: str, context: Context) -> Price:
    """Return what an hour of a machine of SageMaker costs, or costs at most where the book has no row for it.

    SageMaker bills the machine of EC2 and something on top, which is 20 % for general machines and 40 % for those with
    GPUs. Where the region has no row, the price of EC2 is taken with the largest premium of any row of the book.

    Raises:
        UnpricedError: there is no price of the machine on EC2 either, or none to see a premium from.
    """
    try:
        return context.price(SERVICE, f"training {kind}")
    except UnpricedError:
        plain = context.price("AmazonEC2", f"linux {kind.removeprefix('ml.')}")
        premium = largest_premium(context.book)
        if premium is None:
            raise
        return Price(
            service=SERVICE,
            sku=f"{plain.sku} with the largest premium of SageMaker in the book, {premium:.3f}",
            region=plain.region,
            unit=plain.unit,
            usd=plain.usd * premium,
            source=plain.source,
            date=plain.date,
        )


def largest_premium(book: Book) -> Decimal | None:
    """Return the largest ratio of a price of SageMaker to that of the same machine on EC2 in the same region.

    None where no machine has both.
    """
    ratios = []
    for (service, sku, region), row in book.prices.items():
        kind = sku.removeprefix("training ml.")
        plain = book.prices.get(("AmazonEC2", f"linux {kind}", region)) if service == SERVICE and kind != sku else None
        if plain is not None and plain.usd:
            ratios.append(row.usd / plain.usd)
    return max(ratios, default=None)


def _settled(context: Context, unknown: Unknown) -> tuple[str, Decimal, Decimal]:
    """Return machine, number and longest hours of a step by the settings."""
    pipelines = (context.settings.get("aws") or {}).get("pipelines") or {}
    kind, hours = pipelines.get("instanceType"), pipelines.get("maxHours")
    if not isinstance(kind, str) or not isinstance(hours, int | float):
        raise UndeterminedError("pipelineDefinition", unknown.origins)
    return kind, Decimal(1), Decimal(str(hours))


def _defined(definition: Mapping[str, Any]) -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """Yield name, machine, number and longest hours of each step that runs on machines."""
    defaults = {one["Name"]: one.get("DefaultValue") for one in definition.get("Parameters", ())}
    for step in definition.get("Steps", ()):
        arguments = step.get("Arguments", {})
        resources = arguments.get("ResourceConfig") or arguments.get("ProcessingResources", {}).get("ClusterConfig")
        if not resources:
            continue
        kind = resources.get("InstanceType")
        if isinstance(kind, Mapping):  # {"Get": "Parameters.InstanceType"}: the machine unless somebody states another
            kind = defaults.get(str(kind.get("Get", "")).removeprefix("Parameters."))
        seconds = arguments.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
        longest = Decimal(seconds) / 3600 if seconds else Decimal("Infinity")
        yield step.get("Name", "step"), str(kind), Decimal(resources.get("InstanceCount", 1)), longest
