"""What a plan asks of nodes, and what nodes it may start, in the words of `policies.scheduling`.

Pods of charts are not in a plan; what daemon sets take of every node is `DAEMONS`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from policies.plan import Plan, Resource
from policies.pods import RAY_JOB, Pods, all_pods
from policies.scheduling.nodes import Capacity, instances
from policies.scheduling.preflight import GPU_TAINT, Pool, Workload
from policies.scheduling.quantities import mib, quantity

NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
QUOTA = "kubernetes:core/v1:ResourceQuota"
_TYPE, _CAPACITY, _ARCH = "node.kubernetes.io/instance-type", "karpenter.sh/capacity-type", "kubernetes.io/arch"
_ZONE, _GPU_NAME = "topology.kubernetes.io/zone", "karpenter.k8s.aws/instance-gpu-name"
_GPU = "nvidia.com/gpu"
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
_CHOSEN = (_TYPE, _CAPACITY, _ARCH, _ZONE)
_UPGRADES = "NewClusterWithIncrementalUpgrade"
_STRATEGY = ("spec", "upgradeStrategy")


def pool_of(resource: Resource) -> Pool:
    """Return a pool of Karpenter, or a group of nodes of EKS.

    Raises:
        UndeterminedError: something of it is not known.
        ValueError: a limit is no quantity.
    """
    return _group(resource) if resource.type == NODE_GROUP else _karpenter(resource)


def capacity_of(resource: Resource) -> str:
    """Return how a pool or a group buys: `spot`, where it may, else `on-demand`."""
    if resource.type == NODE_GROUP:
        return "spot" if resource.value("capacityType") == "SPOT" else "on-demand"
    return "spot" if "spot" in _requirements(resource).get(_CAPACITY, ("on-demand",)) else "on-demand"


def workloads_of(plan: Plan) -> Iterator[tuple[Resource, Workload]]:
    """Yield what runs at most of each kind of pods, with the resource that makes them; daemon sets are not among it.

    Raises:
        UndeterminedError: something of it is not known.
        ValueError: a request is no quantity.
    """
    for pods in all_pods(plan):
        if pods.owner.type == "kubernetes:apps/v1:DaemonSet":
            continue
        yield (
            pods.owner,
            Workload(
                name=pods.title,
                namespace=pods.namespace,
                size=_size(pods),
                replicas=_most(pods),
                selector=_selector(pods),
                tolerations=_tolerations(plan, pods),
                zones=frozenset(_wanted(pods, _ZONE)),
                survives_spot=_survives_spot(pods),
                architecture=_ARCHITECTURES.get(next(iter(_wanted(pods, _ARCH)), "amd64"), "x86_64"),
            ),
        )


def quota_of(resource: Resource) -> Capacity:
    """Return what a ResourceQuota lets its namespace ask for; what it does not bound is endless.

    Raises:
        UndeterminedError: something of it is not known.
        ValueError: a bound is no quantity.
    """
    hard = resource.value("spec", "hard", default={})
    cpus, memory, gpus = hard.get("requests.cpu"), hard.get("requests.memory"), hard.get(f"requests.{_GPU}")
    return Capacity(
        cpus=quantity(cpus) if cpus is not None else math.inf,
        memory_mib=mib(memory) if memory is not None else math.inf,
        gpus=int(quantity(gpus)) if gpus is not None else sys.maxsize,
    )


def _karpenter(resource: Resource) -> Pool:
    template = ("spec", "template")
    asked = _requirements(resource)
    limits = resource.value("spec", "limits", default={})
    taints = frozenset(str(one["key"]) for one in resource.value(*template, "spec", "taints", default=()))
    limit = None
    if "cpu" in limits and "memory" in limits:
        gpus = int(quantity(limits.get(_GPU, "0")))
        limit = Capacity(cpus=quantity(limits["cpu"]), memory_mib=mib(limits["memory"]), gpus=gpus)
    chosen = {key: values[0] for key, values in asked.items() if len(values) == 1}
    return Pool(
        name=str(resource.value("metadata", "name")),
        instance_types=asked.get(_TYPE, ()),
        spot=capacity_of(resource) == "spot",
        taints=taints,
        labels={**chosen, **resource.value(*template, "metadata", "labels", default={})},
        zones=frozenset(asked.get(_ZONE, ())),
        limit=limit,
        gpu_name=_gpu_name(asked, taints),
    )


def _group(resource: Resource) -> Pool:
    types = tuple(resource.value("instanceTypes", default=()))
    taints = frozenset(str(one["key"]) for one in resource.value("taints", default=()))
    sizes = [known.size for kind in types if (known := instances().get(kind)) is not None]
    limit = None
    if sizes:
        most = int(resource.value("scalingConfig", "maxSize"))
        limit = max(sizes, key=lambda size: (size.cpus, size.memory_mib)).times(most)
    return Pool(
        name=str(resource.value("nodeGroupName", default=resource.name)),
        instance_types=types,
        spot=capacity_of(resource) == "spot",
        taints=taints,
        labels=resource.value("labels", default={}),
        limit=limit,
        gpu_name=_gpu_name({_TYPE: types}, taints),
    )


def _requirements(resource: Resource) -> Mapping[str, tuple[str, ...]]:
    stated = resource.value("spec", "template", "spec", "requirements", default=())
    return {one["key"]: tuple(one.get("values") or ()) for one in stated if one.get("operator") == "In"}


def _gpu_name(asked: Mapping[str, tuple[str, ...]], taints: frozenset[str]) -> str | None:
    if _GPU_NAME in asked:
        return asked[_GPU_NAME][0]
    if GPU_TAINT not in taints:
        return None
    return next((one.gpu_name for kind in asked.get(_TYPE, ()) if (one := instances().get(kind))), None)


def _size(pods: Pods) -> Capacity:
    """Return what one pod asks for: its containers together, or the largest that runs before them, if it is more."""
    together, before = Capacity(cpus=0, memory_mib=0), Capacity(cpus=0, memory_mib=0)
    asked = [(one.init, one.value("resources", default={})) for one in pods.containers("containers", "initContainers")]
    if pods.group == "head":
        cluster = pods.path[:-2]
        if pods.owner.value(*cluster, "enableInTreeAutoscaling", default=False):
            asked.append((False, pods.owner.value(*cluster, "autoscalerOptions", "resources", default={})))
    for init, resources in asked:
        size = _asked(resources)
        if init:
            before = Capacity(
                cpus=max(before.cpus, size.cpus),
                memory_mib=max(before.memory_mib, size.memory_mib),
                gpus=max(before.gpus, size.gpus),
            )
        else:
            together = Capacity(
                cpus=together.cpus + size.cpus,
                memory_mib=together.memory_mib + size.memory_mib,
                gpus=together.gpus + size.gpus,
            )
    return Capacity(
        cpus=max(together.cpus, before.cpus),
        memory_mib=max(together.memory_mib, before.memory_mib),
        gpus=max(together.gpus, before.gpus),
    )


def _asked(resources: Mapping[str, Any]) -> Capacity:
    """Return what a container asks for; where only a limit is stated, Kubernetes asks for as much."""
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return Capacity(
        cpus=quantity(asked.get("cpu", 0)),
        memory_mib=mib(asked.get("memory", 0)),
        gpus=int(quantity(asked.get(_GPU, 0))),
    )


def _survives_spot(pods: Pods) -> bool:
    """Return whether pods may lose their node: workers, jobs, and the head of a RayJob that is run again."""
    if pods.group == "head":
        return pods.owner.type == RAY_JOB and int(pods.owner.value("spec", "backoffLimit", default=0)) > 0
    return bool(pods.group) or pods.owner.type.startswith("kubernetes:batch/")


def _most(pods: Pods) -> int:
    """Return how many pods there are at most, an update under way included."""
    owner = pods.owner
    if pods.group == "head":
        return 2 if _upgraded(owner) else 1
    if pods.group:
        most = int(owner.value(*pods.path[:-1], "maxReplicas", default=1))
        if _upgraded(owner) == _UPGRADES:
            step = int(owner.value(*_STRATEGY, "clusterUpgradeOptions", "stepSizePercent", default=100))
            return math.ceil(most * (1 + step / 100))
        return most * 2 if _upgraded(owner) else most
    if owner.type == "kubernetes:batch/v1:Job":
        return int(owner.value("spec", "parallelism", default=1))
    if owner.type != "kubernetes:apps/v1:Deployment":
        return int(owner.value("spec", "replicas", default=1))
    count = int(owner.value("spec", "replicas", default=1))
    if owner.value("spec", "strategy", "type") == "Recreate":
        return count
    surge = str(owner.value("spec", "strategy", "rollingUpdate", "maxSurge", default="25%"))
    return count + (math.ceil(int(surge[:-1]) * count / 100) if surge.endswith("%") else int(surge))


def _upgraded(owner: Resource) -> str:
    """Return how a second cluster takes the place of the first, empty where none does."""
    if not owner.type.endswith(":RayService"):
        return ""
    stated = str(owner.value(*_STRATEGY, "type", default="NewCluster"))
    return "" if stated == "None" else stated


def _selector(pods: Pods) -> Mapping[str, str]:
    stated = pods.value("nodeSelector", default={})
    return {key: str(value) for key, value in stated.items() if key not in (_ARCH, _ZONE)}


def _wanted(pods: Pods, label: str) -> tuple[str, ...]:
    found = pods.value("nodeSelector", default={}).get(label)
    return () if found is None else (str(found),)


def _tolerations(plan: Plan, pods: Pods) -> frozenset[str]:
    """Return the keys of taints that pods tolerate; one without a key tolerates every taint there is."""
    found = set()
    for one in pods.value("tolerations", default=()):
        if one.get("key"):
            found.add(str(one["key"]))
        else:
            found.update(taint for pool in plan.of(NODE_POOL, NODE_GROUP) for taint in pool_of(pool).taints)
    return frozenset(found)
