"""Capacity: which instances run, how many GPUs there are, and that everything that scales has an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from policies.costs.context import UnboundedError
from policies.costs.pools import GPU, NODE_GROUP, NODE_POOL, pool_of
from policies.plan import MISSING, Resource
from policies.pods import WORKLOADS, pods_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, plan_rule, resource_rule
from policies.scheduling.nodes import instances

_DATABASE, _INSTANCE = "aws:rds/instance:Instance", "aws:ec2/instance:Instance"
_HPA, _TARGET = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "aws:appautoscaling/target:Target"
_FAMILIES, _GPUS, _REPLICAS = (
    f"aws.governance.{one}" for one in ("instanceFamilies", "gpus", "maxReplicas")
)  # fmt: skip
_RAY: Final = tuple(one for one in WORKLOADS if one.startswith("kubernetes:ray.io/"))
_AT_REST: Final = 3600
"""A pool is as good as scaled to zero when an empty node is given back within this many seconds."""


@resource_rule(
    id="cost.instance-family-allowed",
    title="Only instances of allowed families run",
    severity="medium",
    why="One slip in an instance type can cost more in a night than the environment in a month.",
    fix="use a type of an allowed family, or add the family to aws.governance.instanceFamilies",
    types=(NODE_POOL, NODE_GROUP, _DATABASE, _INSTANCE),
    levels=EVERYWHERE_ON_AWS,
)
def instance_family_allowed(resource: Resource, world: World) -> Iterator[Answer]:
    """Compare the families of its types with those that the settings allow."""
    allowed = world.facts.setting("aws", "governance", "instanceFamilies", default=[])
    path, kinds = _types(resource)
    if not kinds:
        yield Problem("it does not say which instance types it may start", path=path)
    for kind in kinds:
        family = kind.removeprefix("db.").partition(".")[0]
        if family not in allowed:
            yield Problem(
                f"{kind} is of family {family}; allowed: {', '.join(allowed) or 'none'}", path=path, setting=_FAMILIES
            )


def _types(resource: Resource) -> tuple[str, Sequence[str]]:
    if resource.type == NODE_POOL:
        try:
            return "spec.template.spec.requirements", pool_of(resource).types
        except UnboundedError:
            return "spec.template.spec.requirements", ()
    if resource.type == NODE_GROUP:
        return "instanceTypes", resource.value("instanceTypes", default=[])
    path = "instanceClass" if resource.type == _DATABASE else "instanceType"
    kind = resource.value(path)
    return path, [kind] if kind else []


@resource_rule(
    id="cost.pool-has-limits",
    title="Every pool of nodes has limits of CPUs and memory, and of GPUs where it has any",
    severity="high",
    why="A pool without a limit starts as many nodes as pods ask for; a loop that makes pods has no end.",
    fix="state limits of cpu and memory, and of nvidia.com/gpu for a GPU pool",
    types=(NODE_POOL,),
    levels=EVERYWHERE_ON_AWS,
)
def pool_has_limits(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the limits."""
    name = resource.value("metadata", "name", default=resource.name)
    wanted = {"cpu": "cpus", "memory": "memoryGib"}
    if _gpu_types(resource):
        wanted[GPU] = "gpus"
    for limit, key in wanted.items():
        if resource.value("spec", "limits", limit) is None:
            yield Problem(
                f"it has no limit of {limit}", path=f"spec.limits.{limit}", setting=f"aws.kubernetes.pools.{name}.{key}"
            )


def _gpu_types(resource: Resource) -> list[str]:
    known = instances()
    return [one for one in _types(resource)[1] if one in known and known[one].size.gpus]


@plan_rule(
    id="cost.gpu-count",
    title="All pools together have no more GPUs than the settings allow",
    severity="high",
    why="GPUs are the dearest thing in the account, and the first that an experiment takes more of.",
    fix="lower the limits of the GPU pools, or raise aws.governance.gpus together with whoever pays for it",
    types=(NODE_POOL,),
    levels=EVERYWHERE_ON_AWS,
)
def gpu_count(world: World) -> Iterator[Answer]:
    """Sum the limits."""
    allowed = world.facts.setting("aws", "governance", "gpus", default=0)
    found = {one.name: int(one.value("spec", "limits", GPU, default=0)) for one in world.plan.of(NODE_POOL)}
    if sum(found.values()) > allowed:
        told = ", ".join(f"{name} {count}" for name, count in sorted(found.items()) if count)
        yield Problem(f"the pools may have {sum(found.values())} GPUs ({told}), allowed: {allowed}", setting=_GPUS)


@resource_rule(
    id="cost.autoscaling-has-a-maximum",
    title="Everything that scales by itself has a maximum, and not too high a one",
    severity="medium",
    why="Autoscaling answers load with money; without a maximum, an attack does too.",
    fix="state a maximum of at most aws.governance.maxReplicas",
    types=(NODE_GROUP, _HPA, _TARGET, *_RAY),
    levels=EVERYWHERE_ON_AWS,
)
def autoscaling_has_a_maximum(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at each maximum."""
    allowed = world.facts.setting("aws", "governance", "maxReplicas", default=1)
    for path in _maxima(resource):
        steps = [int(step) if step.isdigit() else step for step in path.split(".")]
        found = resource.value(*steps)
        if found is None:
            yield Problem("it scales without a maximum", path=path, setting=_REPLICAS)
        elif found > allowed:
            yield Problem(f"it may scale to {found}, allowed: {allowed}", path=path, setting=_REPLICAS)


def _maxima(resource: Resource) -> Iterator[str]:
    """Yield the paths where something that scales states its maximum."""
    if resource.type == NODE_GROUP:
        yield "scalingConfig.maxSize"
    elif resource.type == _HPA:
        yield "spec.maxReplicas"
    elif resource.type == _TARGET:
        yield "maxCapacity"
    else:
        for pods in pods_of(resource):
            if pods.group not in ("", "head"):
                yield ".".join(map(str, (*pods.path[:-1], "maxReplicas")))


@resource_rule(
    id="cost.spare-outside-production",
    title="Outside production, pools for training and GPUs are Spot or empty at rest",
    severity="medium",
    why="What nobody waits for should cost nothing at night.",
    fix="buy Spot, or let Karpenter take back empty nodes within an hour; a node group goes down to 0",
    types=(NODE_POOL, NODE_GROUP),
    levels={"local": "off", "dev": "mandatory", "staging": "mandatory", "prod": "off"},
)
def spare_outside_production(resource: Resource, world: World) -> Iterator[Answer]:
    """Ask of pools for training and of GPU pools how they buy, and what they keep at rest."""
    if resource.type == NODE_GROUP:
        known = instances()
        gpus = any(known[one].size.gpus for one in resource.value("instanceTypes", default=[]) if one in known)
        spot = resource.value("capacityType", default="ON_DEMAND") == "SPOT"
        least = resource.value("scalingConfig", "minSize", default=0)
        if gpus and not spot and least > 0:
            yield Problem(
                f"it keeps {least} on-demand nodes with GPUs", path="scalingConfig.minSize",
                setting="aws.kubernetes.system.min",
            )  # fmt: skip
        return
    name = resource.value("metadata", "name", default=resource.name)
    trains = world.facts.setting("aws", "pipelines", "pool") == name
    if not trains and not _gpu_types(resource):
        return
    wanted = resource.value("spec", "template", "spec", "requirements", default=[])
    spot = any(one["key"] == "karpenter.sh/capacity-type" and one.get("values") == ["spot"] for one in wanted)
    if not spot and not _emptied(resource):
        yield Problem(
            "it buys on demand and keeps empty nodes for more than an hour", path="spec.disruption.consolidateAfter",
            setting=f"aws.kubernetes.pools.{name}.capacity",
        )  # fmt: skip


def _emptied(resource: Resource) -> bool:
    """Return whether Karpenter takes an empty node back within an hour."""
    after = resource.peek("spec", "disruption", "consolidateAfter")
    if after is MISSING:
        return False
    text = str(resource.value("spec", "disruption", "consolidateAfter"))
    units = {"s": 1, "m": 60, "h": 3600}
    return text[-1:] in units and text[:-1].isdigit() and int(text[:-1]) * units[text[-1]] <= _AT_REST
