"""The pods that a plan asks for at least: what has to run when nobody uses the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from policies.costs.services import gib
from policies.plan import Plan, Secret, Unknown
from policies.pods import CRON_JOB, RAY_JOB, WORKLOADS, Pods, pods_of
from policies.scheduling.nodes import Capacity

SYSTEM: Final = "CriticalAddonsOnly"
"""Taint of the nodes that the cluster itself runs on: what tolerates it and selects them is in no pool."""
_CHARTS: Final = ("kubernetes:helm.sh/v3:Release", "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy")


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One pod.

    Attributes:
        size: what it asks for.
        selector: labels that its node must have.
        tolerations: keys of taints that it tolerates.
    """

    size: Capacity
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: frozenset[str] = frozenset()


def demand(plan: Plan) -> Iterator[Pod]:
    """Yield the pods that a plan asks for at least.

    Raises:
        UndeterminedError: what one asks for, or how many there are, is not known.
    """
    for resource in plan.of(*WORKLOADS):
        for pods in pods_of(resource):
            pod = _pod(pods)
            yield from [pod] * replicas(pods)
    for resource in plan.of(*_CHARTS):
        stated = resource.inputs.get("values" if resource.type.endswith("Release") else "spec")
        yield from (pod for pod in _stated(stated, {}, 1) if "mlops/pool" not in pod.selector or _pooled(pod))


def _pooled(pod: Pod) -> bool:
    return pod.selector["mlops/pool"] != "system"


def replicas(pods: Pods) -> int:
    """Return how many pods there are at least.

    Raises:
        UndeterminedError: it is not known.
    """
    owner = pods.owner
    # What they start, and when, is no matter of the plan: the usage says how many runs of training there are.
    if owner.type == CRON_JOB or (owner.type == RAY_JOB and owner.value("spec", "suspend", default=False)):
        return 0
    if not pods.group:
        return int(owner.value("spec", "replicas", default=1))
    if pods.group == "head":
        return 1
    group = pods.path[:-1]
    return int(owner.value(*group, "minReplicas", default=owner.value(*group, "replicas", default=1)))


def _pod(pods: Pods) -> Pod:
    sizes = [_size(one.value("resources", default={})) for one in pods.containers() if not one.init]
    tolerations = pods.value("tolerations", default=[])
    return Pod(
        size=_together(sizes),
        selector=pods.value("nodeSelector", default={}),
        tolerations=frozenset(str(one.get("key", "")) for one in tolerations),
    )


def _together(sizes: list[Capacity]) -> Capacity:
    return Capacity(
        cpus=sum(one.cpus for one in sizes),
        memory_mib=sum(one.memory_mib for one in sizes),
        gpus=sum(one.gpus for one in sizes),
    )


def _size(resources: Mapping[str, Any]) -> Capacity:
    """Return what `resources` asks for; a limit counts where no request is stated, as Kubernetes has it."""
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    cpu = str(asked.get("cpu", 0))
    return Capacity(
        cpus=float(Decimal(cpu[:-1]) / 1000 if cpu.endswith("m") else Decimal(cpu)),
        memory_mib=float(gib(asked.get("memory", 0)) * 1024),
        gpus=int(asked.get("nvidia.com/gpu", 0)),
    )


def _stated(value: Any, selector: Mapping[str, str], count: int) -> Iterator[Pod]:
    """Yield the pods that values of a chart describe: one for each `resources`, as often as `replicas` near it says."""
    if isinstance(value, Secret | Unknown):
        return
    if isinstance(value, list):
        for one in value:
            yield from _stated(one, selector, count)
    if not isinstance(value, Mapping):
        return
    chosen = value.get("nodeSelector", selector)
    number = value.get("replicas", value.get("replicaCount", count))
    number = number if isinstance(number, int) else count
    resources = value.get("resources")
    if isinstance(resources, Mapping) and isinstance(resources.get("requests"), Mapping):
        yield from [Pod(size=_size(resources), selector=chosen)] * number
    for name, inner in value.items():
        if name not in ("resources", "volumeClaimTemplate"):
            yield from _stated(inner, chosen, number)
