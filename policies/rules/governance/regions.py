"""Data stays where its class allows it to be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

_PROVIDER: Final = "pulumi:providers:aws"
_ANY: Final = "*"


@resource_rule(
    id="governance.region-allowed",
    title="An environment is only in regions that are allowed for the class of its data",
    severity="high",
    why="Where data lies decides whose law it is under; moving it back is a project.",
    fix="choose a region that is allowed for the class, or change `gates.regions` with who answers for the data",
    references=("NIST AI RMF GOVERN 1.1", "ISO/IEC 42001 A.7.2"),
    types=(_PROVIDER, "aws:*"),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def region_allowed(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the region of the provider, and at that of each resource that states one of its own."""
    region = resource.value("region")
    if region is None:
        if resource.type == _PROVIDER:
            yield Problem("it states no region, so that whoever runs it decides", path="region", setting="aws.region")
        return
    kind = world.facts.setting("aws", "governance", "dataClass")
    allowed = world.facts.setting("gates", "regions", default={}).get(kind, ())
    if _ANY in allowed or region in allowed:
        return
    listed = ", ".join(allowed) or "none: gates.regions does not name the class"
    yield Problem(f"{region} is not allowed for {kind} data; allowed are {listed}", path="region", setting="aws.region")
