"""Nodes: the cluster's own group, and the pools that Karpenter fills.

A pool costs at worst what its limit holds of the dearest type that fits into it, whatever mix of types is started:
along each limit (CPUs, memory, GPUs) no mix costs more than the limit times the dearest price of one CPU (GiB, GPU)
among the types, and the lowest of these bounds holds. A Spot pool is bounded by the on-demand price, which a Spot
request pays at most. It is expected to hold the pods that the plan asks for at least, packed onto the type that does it
cheapest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from policies.costs.book import Price, UnpricedError
from policies.costs.context import Context, UnboundedError
from policies.costs.demand import Pod, demand
from policies.costs.model import Charge
from policies.costs.services import gib
from policies.costs.usage import HOURS
from policies.plan import Resource
from policies.scheduling.nodes import Capacity, Instance, instances

NODE_POOL: Final = "kubernetes:karpenter.sh/v1:NodePool"
NODE_GROUP: Final = "aws:eks/nodeGroup:NodeGroup"
NODE_CLASS: Final = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
GPU: Final = "nvidia.com/gpu"
DAEMONS: Final = Capacity(cpus=0.3, memory_mib=512)
"""What daemon sets take of each node."""
_TYPE_KEY, _CAPACITY_KEY = "node.kubernetes.io/instance-type", "karpenter.sh/capacity-type"


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """A pool as the plan states it.

    Attributes:
        name: its name.
        types: instance types that it may start.
        spot: whether it may buy Spot.
        on_demand: whether it may buy on demand.
        limits: limits by dimension: `cpu`, `memory` in MiB, `gpu`.
        taints: keys of its taints.
        labels: labels of its nodes.
        node_class: name of the class of its nodes.
    """

    name: str
    types: Sequence[str]
    spot: bool
    on_demand: bool
    limits: Mapping[str, Decimal]
    taints: frozenset[str]
    labels: Mapping[str, str]
    node_class: str


def pool_of(resource: Resource) -> NodePool:
    """Return the pool that a NodePool states.

    Raises:
        UndeterminedError: something in it is not known.
        UnboundedError: it does not say which types it may start.
    """
    template = ("spec", "template", "spec")
    wanted = {
        one["key"]: list(one.get("values", ()))
        for one in resource.value(*template, "requirements", default=[])
        if one.get("operator") == "In"
    }
    if not wanted.get(_TYPE_KEY):
        raise UnboundedError("it does not list the instance types that it may start")
    capacity = wanted.get(_CAPACITY_KEY) or ["on-demand"]
    limits = resource.value("spec", "limits", default={}) or {}
    found: dict[str, Decimal] = {}
    if "cpu" in limits:
        found["cpu"] = cpus(limits["cpu"])
    if "memory" in limits:
        found["memory"] = gib(limits["memory"]) * 1024
    if GPU in limits:
        found["gpu"] = Decimal(str(limits[GPU]))
    return NodePool(
        name=str(resource.value("metadata", "name")),
        types=wanted[_TYPE_KEY],
        spot="spot" in capacity,
        on_demand="on-demand" in capacity,
        limits=found,
        taints=frozenset(one["key"] for one in resource.value(*template, "taints", default=[])),
        labels=dict(resource.value("spec", "template", "metadata", "labels", default={})),
        node_class=str(resource.value(*template, "nodeClassRef", "name", default="")),
    )


def cpus(quantity: Any) -> Decimal:
    """Return a Kubernetes quantity of CPUs: `250m` is 0.25."""
    text = str(quantity)
    return Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)


def node_pool(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the nodes of a pool and their disks."""
    pool = pool_of(resource)
    types = [_known(kind) for kind in pool.types]
    on_demand = {one.type: context.price("AmazonEC2", f"linux {one.type}") for one in types}
    fitting = [one for one in types if fits(one, pool.limits)]
    count, kind = needed(pool, types, on_demand, context)
    price = _bought(pool, kind, on_demand, context)
    if not pool.limits:
        raise UnboundedError("it has no limits, so that nobody can say what it may cost")
    dearest = max(fitting, key=lambda one: on_demand[one.type].usd, default=kind)
    most = worst_hourly(fitting, on_demand, pool.limits) * HOURS
    runs = _runs(pool, context)
    expected, worst = HOURS * count + runs, most / on_demand[dearest.type].usd
    yield Charge(
        what=f"{count} x {kind.type}{' Spot' if pool.spot else ''}; at worst its limit of {dearest.type}",
        price=price, expected=expected, worst=max(worst, expected), worst_price=on_demand[dearest.type],
    )  # fmt: skip
    size = disk_gib(pool, context)
    disk = context.price("AmazonEC2", "ebs-gp3")
    share = (Decimal(count) + runs / HOURS) * size
    yield Charge(what=f"disks of {size} GiB", price=disk, expected=share, worst=max(share, most_nodes(pool) * size))


def needed(
    pool: NodePool, types: Sequence[Instance], on_demand: Mapping[str, Price], context: Context
) -> tuple[int, Instance]:
    """Return how many nodes of which type hold what the plan asks for at least, the cheapest way."""
    pods = assigned(context).get(pool.name, ())
    options = []
    for kind in types:
        count = nodes_for(pods, kind)
        if count is not None:
            usd = count * _bought(pool, kind, on_demand, context).usd
            options.append((usd, _bought(pool, kind, on_demand, context).usd, kind.type, count, kind))
    if not options:
        raise UnboundedError("a pod that asks for this pool fits on none of its types")
    *_, count, best = min(options, key=lambda one: one[:3])
    return count, best


def nodes_for(pods: Sequence[Pod], kind: Instance) -> int | None:
    """Return how many nodes of a type hold pods (first fit, largest first); None where one of them fits on none."""
    free = kind.allocatable.minus(DAEMONS)
    nodes: list[Capacity] = []
    for pod in sorted(pods, key=lambda one: (-one.size.gpus, -one.size.cpus, -one.size.memory_mib)):
        if not free.holds(pod.size):
            return None
        place = next((index for index, left in enumerate(nodes) if left.holds(pod.size)), None)
        if place is None:
            nodes.append(free.minus(pod.size))
        else:
            nodes[place] = nodes[place].minus(pod.size)
    return len(nodes)


def assigned(context: Context) -> Mapping[str, Sequence[Pod]]:
    """Return the pods of the plan by pool: that which they select, else the first untainted one on demand."""
    return context.plan.once(("costs", "assigned"), lambda: _assigned(context))


def _assigned(context: Context) -> Mapping[str, Sequence[Pod]]:
    pools = [pool_of(one) for one in context.plan.of(NODE_POOL)]
    found: dict[str, list[Pod]] = {}
    for pod in demand(context.plan):
        for pool in sorted(pools, key=lambda one: (not one.on_demand, bool(one.taints), one.name)):
            labelled = all(pool.labels.get(key) == value for key, value in pod.selector.items())
            gpus = "gpu" in pool.limits
            if labelled and pool.taints <= pod.tolerations and gpus == bool(pod.size.gpus):
                found.setdefault(pool.name, []).append(pod)
                break
    return found


def fits(kind: Instance, limits: Mapping[str, Decimal]) -> bool:
    """Return whether one node of a type is within limits."""
    return all(_size(kind, name) <= limit for name, limit in limits.items())


def worst_hourly(types: Sequence[Instance], prices: Mapping[str, Price], limits: Mapping[str, Decimal]) -> Decimal:
    """Return the most that any mix of types within limits costs an hour; see the module for why it bounds."""
    bounds = []
    for name, limit in limits.items():
        sized = [(prices[one.type].usd, _size(one, name)) for one in types if _size(one, name) > 0]
        if len(sized) == len(types) and sized:
            bounds.append(limit * max(usd / size for usd, size in sized))
    return min(bounds, default=Decimal(0))


def most_nodes(pool: NodePool) -> Decimal:
    """Return the most nodes that the limits of a pool allow."""
    types = [_known(kind) for kind in pool.types]
    bounds = [
        limit / min(_size(one, name) for one in types)
        for name, limit in pool.limits.items()
        if min(_size(one, name) for one in types) > 0
    ]
    return min((Decimal(math.floor(one)) for one in bounds), default=Decimal(0))


def _size(kind: Instance, name: str) -> Decimal:
    size = kind.size
    return Decimal(str({"cpu": size.cpus, "memory": size.memory_mib, "gpu": size.gpus}[name]))


def _known(kind: str) -> Instance:
    try:
        return instances()[kind]
    except KeyError:
        raise UnboundedError(f"instance type {kind} is not in the table of types") from None


def _bought(pool: NodePool, kind: Instance, on_demand: Mapping[str, Price], context: Context) -> Price:
    """Return what a node of a type is expected to cost an hour; on demand where no Spot price is known."""
    if pool.spot:
        try:
            return context.price("AmazonEC2", f"spot {kind.type}")
        except UnpricedError:
            return on_demand[kind.type]
    return on_demand[kind.type]


def _runs(pool: NodePool, context: Context) -> Decimal:
    """Return the hours of a node that runs of training add, in the pool that the settings name for them."""
    pipelines = (context.settings.get("aws") or {}).get("pipelines") or {}
    if pipelines.get("pool") != pool.name or pipelines.get("runner", "ray") != "ray":
        return Decimal(0)
    return context.usage.expected("training_runs") * context.usage.expected("training_hours")


def disk_gib(pool: NodePool, context: Context) -> Decimal:
    """Return the disks of one node, GiB."""
    for resource in context.plan.of(NODE_CLASS):
        if resource.value("metadata", "name") == pool.node_class:
            disks = ("spec", "blockDeviceMappings")
            sizes = [resource.value(*disks, one, "ebs", "volumeSize") for one in range(len(resource.items(*disks)))]
            return sum((gib(one) for one in sizes), start=Decimal(0))
    raise UnboundedError(f"the class of its nodes, {pool.node_class!r}, is not in the plan: its disks are not known")


def node_group(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the nodes of a managed group, and their disks."""
    scaling = ("scalingConfig",)
    least = Decimal(max(resource.value(*scaling, "minSize", default=0), resource.value(*scaling, "desiredSize")))
    most = Decimal(resource.value(*scaling, "maxSize"))
    kinds = resource.value("instanceTypes", default=[])
    if not kinds:
        raise UnboundedError("it does not list its instance types")
    prices = [context.price("AmazonEC2", f"linux {kind}") for kind in kinds]
    dearest = max(prices, key=lambda one: one.usd)
    spot = resource.value("capacityType", default="ON_DEMAND") == "SPOT"
    first = context.price("AmazonEC2", f"spot {kinds[0]}") if spot else prices[0]
    yield Charge(
        what=f"{least} to {most} x {kinds[0]}", price=first, expected=HOURS * least, worst=HOURS * most,
        worst_price=dearest,
    )  # fmt: skip
    size = _group_disk(resource, context)
    yield context.fixed(f"disks of {size} GiB", "AmazonEC2", "ebs-gp3", least * size, most * size)


def _group_disk(resource: Resource, context: Context) -> Decimal:
    templates = context.plan.origins(resource, "launchTemplate")
    mappings = [
        one
        for template in templates
        if template.type == "aws:ec2/launchTemplate:LaunchTemplate"
        for one in template.items("blockDeviceMappings")
    ]
    if mappings:
        return sum((Decimal(one["ebs"]["volumeSize"]) for one in mappings), start=Decimal(0))
    return Decimal(resource.value("diskSize", default=20))
