"""Does each workload fit on some pool: by selector, taint, architecture, GPU, size, zones, limit and quota.

A pod that no node can hold waits for ever and says so only in an event that nobody reads; here it is said before
anything is made. Each refusal names every pool and why it does not do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies.scheduling.nodes import Capacity, Instance, instances

GPU_TAINT = "nvidia.com/gpu"
"""Taint of GPU nodes, so that nothing gets onto them that asks for none."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A pool of nodes.

    Attributes:
        name: its name, which is the value of the label `mlops/pool` on its nodes.
        instance_types: what it may start.
        spot: whether its nodes may be taken away with two minutes' notice.
        taints: keys of its taints; pods must tolerate all of them.
        labels: labels of its nodes besides.
        zones: zones that it may start nodes in.
        limit: what all its nodes together may have; None without a limit.
        gpu_name: GPU model that is meant; None for a pool without GPUs.
    """

    name: str
    instance_types: Sequence[str]
    spot: bool = False
    taints: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    zones: frozenset[str] = frozenset()
    limit: Capacity | None = None
    gpu_name: str | None = None

    def has(self, label: str, value: str) -> bool:
        """Whether nodes of it carry a label."""
        return (label == "mlops/pool" and value == self.name) or self.labels.get(label) == value


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Pods of one kind.

    Attributes:
        name: what they are called in messages.
        namespace: where they run.
        size: what one asks for.
        replicas: how many there are at most.
        selector: labels that their node must have.
        tolerations: keys of the taints that they tolerate.
        zones: zones that they must run in; any without one.
        survives_spot: whether they may lose their node at two minutes' notice.
        architecture: instruction set of their image.
    """

    name: str
    namespace: str
    size: Capacity
    replicas: int = 1
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    survives_spot: bool = True
    architecture: str = "x86_64"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What pods have to share.

    Attributes:
        pools: the pools.
        daemons: what the pods of all daemon sets on a node ask for together.
        quotas: what the pods of a namespace may ask for together.
    """

    pools: Sequence[Pool]
    daemons: Capacity
    quotas: Mapping[str, Capacity] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a workload, a pool or a namespace can't be as it is.

    Attributes:
        subject: what it is about, such as `workload serving/ray-worker`.
        reasons: one for each pool that was tried, or the only one.
    """

    subject: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.reasons) == 1:
            return f"{self.subject}: {self.reasons[0]}"
        return "\n".join([f"{self.subject} fits on no pool:", *(f"  - {reason}" for reason in self.reasons)])


def check(environment: Environment, workloads: Sequence[Workload]) -> list[Refusal]:
    """Everything that can't be scheduled, pools and quotas that contradict themselves included; empty when all fits."""
    found = [Refusal(subject=f"pool {pool.name}", reasons=(why,)) for pool in environment.pools for why in wrong(pool)]
    demand: dict[str, Capacity] = {}
    for workload in workloads:
        reasons = [reason for pool in environment.pools if (reason := misfit(environment, pool, workload)) is not None]
        if len(reasons) == len(environment.pools):
            subject = f"workload {workload.namespace}/{workload.name}"
            found.append(Refusal(subject=subject, reasons=tuple(reasons) or ("there are no pools",)))
        at_most = workload.size.times(workload.replicas)
        before = demand.get(workload.namespace, Capacity(cpus=0, memory_mib=0))
        demand[workload.namespace] = Capacity(
            cpus=before.cpus + at_most.cpus,
            memory_mib=before.memory_mib + at_most.memory_mib,
            gpus=before.gpus + at_most.gpus,
        )
    for namespace, asked in sorted(demand.items()):
        quota = environment.quotas.get(namespace)
        if quota is not None and not quota.holds(asked):
            reason = f"its workloads ask for up to {said(asked)}, the quota is {said(quota)}: raise it or ask for less"
            found.append(Refusal(subject=f"namespace {namespace}", reasons=(reason,)))
    return found


def wrong(pool: Pool) -> list[str]:
    """What is wrong with a pool by itself."""
    known, found = instances(), []
    for kind in pool.instance_types:
        instance = known.get(kind)
        if instance is None:
            found.append(f"instance type {kind} is not in the table of known types; is it a slip?")
        elif pool.gpu_name and instance.gpu_name != pool.gpu_name:
            has = f"has {instance.gpu_name}" if instance.gpu_name else "has no GPU"
            found.append(f"states GPU {pool.gpu_name}, but {kind} {has}")
        elif instance.gpu_name and not pool.gpu_name:
            found.append(f"{kind} has GPUs ({instance.gpu_name}), but the pool states none: it would cost them unused")
        elif pool.limit is not None and not pool.limit.holds(instance.size):
            found.append(f"its limit of {said(pool.limit)} does not hold a single {kind} ({said(instance.size)})")
    return found


def misfit(environment: Environment, pool: Pool, workload: Workload) -> str | None:
    """Why a workload can't run on a pool; None when it can."""
    for label, value in sorted(workload.selector.items()):
        if not pool.has(label, value):
            return f"{pool.name}: its nodes have no label {label}={value}"
    refused = sorted(pool.taints - workload.tolerations)
    if refused:
        return f"{pool.name}: it is tainted with {', '.join(refused)}, which is not tolerated"
    if pool.spot and not workload.survives_spot:
        return f"{pool.name}: it is a Spot pool, and this must not lose its node"
    missing = sorted(workload.zones - pool.zones)
    if missing:
        return f"{pool.name}: it starts no nodes in {', '.join(missing)}"
    usable = [known for kind in pool.instance_types if (known := instances().get(kind)) is not None]
    usable = [instance for instance in usable if instance.architecture == workload.architecture]
    if not usable:
        return f"{pool.name}: none of its instance types runs {workload.architecture}"
    if not any(_free(environment, instance).holds(workload.size) for instance in usable):
        largest = max(usable, key=lambda instance: (instance.size.gpus, instance.size.cpus, instance.size.memory_mib))
        free = _free(environment, largest)
        return f"{pool.name}: asks for {said(workload.size)}; {largest.type} has {said(free)} left for it"
    if pool.limit is not None and not pool.limit.holds(workload.size.times(workload.replicas)):
        return f"{pool.name}: up to {workload.replicas} of {said(workload.size)} exceed the limit of {said(pool.limit)}"
    return None


def _free(environment: Environment, instance: Instance) -> Capacity:
    return instance.allocatable.minus(environment.daemons)


def said(size: Capacity) -> str:
    """A capacity in words: `3.5 CPU, 10.0 GiB, 1 GPU`."""
    gpus = f", {size.gpus} GPU" if size.gpus else ""
    return f"{size.cpus:.4g} CPU, {size.memory_mib / 1024:.1f} GiB{gpus}"
