"""What no resource states: how much goes through it in a month. Defaults, which settings under `aws.usage` replace.

Each is listed in every report. They are for an environment that is used by one team; what a stack really uses stands in
its bill, and belongs into its settings. Allowances that an account has once (free tiers) are not taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

HOURS: Final = Decimal(730)
"""Hours of a month: 24 x 365 / 12, as AWS's own calculator takes it."""
DAYS: Final = Decimal(365) / 12
"""Days of a month."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Use of a month as it is expected.

    Attributes:
        worst_times: the worst month has this many times of all that has no limit of its own.
        nat_gb: GB through each NAT gateway.
        endpoint_gb: GB through each interface endpoint.
        internet_gb: GB out to the internet.
        between_zones_gb: GB between zones, both directions counted.
        log_gb: GB written to each log group.
        object_gb: GB in each bucket.
        capture_gb: GB a day that go into a bucket whose objects expire, such as that of captures.
        object_writes: thousand writes to each bucket.
        object_reads: thousand reads from each bucket.
        image_gb: GB in each repository of images.
        feature_gb: GB in each table of online features.
        feature_writes: million write units of each table.
        feature_reads: million read units of each table.
        queue_requests: million requests to each queue.
        balancer_units: capacity units of each load balancer, on average.
        insight_metrics: metrics of Container Insights, where it is on.
        query_metrics: metrics that an alarm over a query looks at.
        training_runs: runs of training.
        training_hours: hours of one run.
    """

    worst_times: float = 3
    nat_gb: float = 50
    endpoint_gb: float = 5
    internet_gb: float = 50
    between_zones_gb: float = 100
    log_gb: float = 2
    object_gb: float = 100
    capture_gb: float = 0.3
    object_writes: float = 500
    object_reads: float = 2000
    image_gb: float = 20
    feature_gb: float = 5
    feature_writes: float = 10
    feature_reads: float = 50
    queue_requests: float = 1
    balancer_units: float = 1
    insight_metrics: float = 300
    query_metrics: float = 3
    training_runs: float = 20
    training_hours: float = 1

    def expected(self, name: str) -> Decimal:
        """Return one of them."""
        return Decimal(str(getattr(self, name)))

    def worst(self, name: str) -> Decimal:
        """Return what the worst month has of one of them."""
        return self.expected(name) * max(Decimal(1), Decimal(str(self.worst_times)))

    def assumed(self) -> dict[str, float]:
        """Return all of them by the names of the settings."""
        return {_camel(one.name): getattr(self, one.name) for one in fields(self)}


def usage_of(settings: Mapping[str, Any]) -> Usage:
    """Return the use that settings state under `aws.usage`; the defaults stand for what they leave out.

    Raises:
        ValueError: a key is not known, or its value is no number of 0 or more.
    """
    stated = (settings.get("aws") or {}).get("usage") or {}
    names = {_camel(one.name): one.name for one in fields(Usage)}
    wrong = sorted(set(stated) - set(names))
    if wrong:
        raise ValueError(f"aws.usage.{wrong[0]} is not known; it has: {', '.join(names)}")
    for key, value in stated.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ValueError(f"aws.usage.{key} is {value!r}; it must be a number of 0 or more")
    return Usage(**{names[key]: float(value) for key, value in stated.items()})


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(one.capitalize() for one in rest)
