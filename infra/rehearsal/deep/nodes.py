"""Nodes as the environment's pools would get them: from Karpenter's NodePools and from managed node groups. Pure.

Played is only who makes a node, and when. What a node has is stated: labels and taints are those of the NodePool or of
the node group, what is left for pods is EC2's figure less what the node keeps (`policies.scheduling.nodes`) and what
the daemon sets of charts would take, which no rehearsal renders. Whether a pod may run there, the real scheduler says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from policies.scheduling.nodes import DAEMONS, PODS, Capacity, Instance, instances
from policies.scheduling.quantities import mib, quantity

Object = dict[str, Any]
PLAYED = "mlops/rehearsed-by"
"""Annotation of every node that is played; its value is the pool that made it."""
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, kw_only=True)
class NodeSource:
    """What nodes are made by.

    Attributes:
        name: `nodepool/<name>` or `nodegroup/<name>`.
        instance_types: what it may start.
        labels: labels of its nodes.
        taints: taints of its nodes, as Kubernetes writes them.
        zones: zones of its subnets.
        limit: what all its nodes may have together; None without a limit.
        size: how many nodes there always are; None where pods decide.
    """

    name: str
    instance_types: tuple[str, ...]
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    zones: tuple[str, ...]
    limit: Capacity | None = None
    size: int | None = None

    def known(self) -> list[Instance]:
        """Its instance types, the smallest first."""
        found = [known for one in self.instance_types if (known := instances().get(one)) is not None]
        return sorted(found, key=lambda one: (one.size.gpus, one.size.cpus, one.size.memory_mib))


@dataclass(frozen=True)
class New:
    """A node to be made, and what is still free on it."""

    source: NodeSource
    instance: Instance
    zone: str
    free: Capacity = field(compare=False)


def from_node_pool(pool: Object, zones: Sequence[str]) -> NodeSource:
    """Read a NodePool of Karpenter.

    Args:
        pool: the object.
        zones: zones of the subnets that its node class selects.

    Raises:
        ValueError: it states something that is not played, which would be judged wrongly.
    """
    name, spec = pool["metadata"]["name"], pool["spec"]
    template = spec["template"]
    labels = {"karpenter.sh/nodepool": name, **(template.get("metadata") or {}).get("labels", {})}
    kinds: tuple[str, ...] = ()
    for one in template["spec"].get("requirements") or ():
        values = one.get("values") or []
        if one["operator"] != "In":
            raise ValueError(f"NodePool {name}: requirement {one['key']} {one['operator']} is not played")
        if one["key"] == "node.kubernetes.io/instance-type":
            kinds = tuple(values)
        elif one["key"] == "topology.kubernetes.io/zone":
            zones = [zone for zone in zones if zone in values]
        elif len(values) == 1:
            labels[one["key"]] = values[0]
    stated = spec.get("limits") or {}
    limit = Capacity(
        cpus=quantity(stated.get("cpu", "1000000")),
        memory_mib=mib(stated.get("memory", "1000000Gi")),
        gpus=int(quantity(stated.get(_GPU, "1000000"))),
    )
    return NodeSource(
        name=f"nodepool/{name}",
        instance_types=kinds,
        labels=labels,
        taints=tuple(template["spec"].get("taints") or ()),
        zones=tuple(zones),
        limit=limit,
    )


def from_node_group(group: Mapping[str, Any], zones: Sequence[str]) -> NodeSource:
    """Read a managed node group, as EKS describes it; it always has the size that it wishes."""
    effects = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
    name = group["nodegroupName"]
    taints = [
        {"key": one["key"], "value": one.get("value", ""), "effect": effects[one["effect"]]}
        for one in group.get("taints") or ()
    ]
    return NodeSource(
        name=f"nodegroup/{name}",
        instance_types=tuple(group.get("instanceTypes") or ()),
        labels={"eks.amazonaws.com/nodegroup": name, **(group.get("labels") or {})},
        taints=tuple(taints),
        zones=tuple(zones),
        size=int((group.get("scalingConfig") or {}).get("desiredSize", 0)),
    )


def free_of(instance: Instance) -> Capacity:
    """What a node has for pods beside those of daemon sets."""
    return instance.allocatable.minus(DAEMONS)


def node(source: NodeSource, instance: Instance, zone: str, region: str, name: str, ip: str) -> Object:
    """A node as its kubelet would register it, already ready.

    Args:
        source: what it is made by.
        instance: its instance type.
        zone: where it is.
        region: region of the zone.
        name: its name.
        ip: its address, which nobody listens at.
    """
    left = free_of(instance)
    capacity = _resources(instance.size)
    conditions = {"Ready": ("True", "KubeletReady"), "MemoryPressure": ("False", "KubeletHasSufficientMemory")}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {PLAYED: source.name},
            "labels": {
                "kubernetes.io/arch": "amd64" if instance.architecture == "x86_64" else instance.architecture,
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": name,
                "node.kubernetes.io/instance-type": instance.type,
                "topology.kubernetes.io/region": region,
                "topology.kubernetes.io/zone": zone,
                **source.labels,
            },
        },
        "spec": {"taints": [dict(one) for one in source.taints], "providerID": f"aws:///{zone}/{name}"},
        "status": {
            "capacity": capacity,
            "allocatable": _resources(left),
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": "played by a rehearsal"}
                for kind, (status, reason) in conditions.items()
            ],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.35.4",
                "bootID": "", "containerRuntimeVersion": "kwok", "kernelVersion": "", "kubeProxyVersion": "",
                "machineID": "", "osImage": "rehearsal", "systemUUID": "",
            },
        },
    }  # fmt: skip


def _resources(size: Capacity) -> dict[str, str]:
    gpus = {_GPU: str(size.gpus)} if size.gpus else {}
    cpus, memory = f"{round(size.cpus * 1000)}m", f"{int(size.memory_mib)}Mi"
    return {"cpu": cpus, "memory": memory, "pods": str(PODS), "ephemeral-storage": "64Gi"} | gpus


def asked(pod: Object) -> Capacity:
    """What a pod asks for: the sum of its containers, or its largest init container (Kubernetes, "Init containers")."""
    spec = pod["spec"]

    def of(container: Mapping[str, Any]) -> Capacity:
        requests = (container.get("resources") or {}).get("requests") or {}
        return Capacity(
            cpus=quantity(requests.get("cpu", "0")),
            memory_mib=mib(requests.get("memory", "0")),
            gpus=int(quantity(requests.get(_GPU, "0"))),
        )

    together = Capacity(cpus=0, memory_mib=0)
    for one in map(of, spec.get("containers") or ()):
        together = Capacity(
            cpus=together.cpus + one.cpus,
            memory_mib=together.memory_mib + one.memory_mib,
            gpus=together.gpus + one.gpus,
        )
    for one in map(of, spec.get("initContainers") or ()):
        together = Capacity(
            cpus=max(together.cpus, one.cpus),
            memory_mib=max(together.memory_mib, one.memory_mib),
            gpus=max(together.gpus, one.gpus),
        )
    return together


def waits(pod: Object) -> str | None:
    """Why the scheduler found no node for a pod, in its words; None when it found one or has not looked yet."""
    if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return None
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return str(one.get("message") or one.get("reason"))
    return None


def wanted(
    pods: Sequence[Object], sources: Sequence[NodeSource], nodes: Sequence[Object], already: Sequence[New] = ()
) -> list[New]:
    """Return the nodes that Karpenter would make for pods that wait.

    Pods are packed onto new nodes first-fit, the largest first; a new node is the smallest that does, in the zone where
    its source has the fewest. A pod that no source can hold gets none: the scheduler's words about it are the finding.

    Args:
        pods: those that wait.
        sources: what nodes can be made by.
        nodes: those that are there.
        already: those that are made for earlier pods, and may still be empty.
    """
    made: list[New] = list(already)
    for pod in sorted(pods, key=lambda one: (-asked(one).cpus, -asked(one).memory_mib)):
        size = asked(pod)
        for index, new in enumerate(made):
            if new.free.holds(size) and admits(new.source, new.zone, pod):
                made[index] = replace(new, free=new.free.minus(size))
                break
        else:
            if (found := _new(pod, size, sources, nodes, made)) is not None:
                made.append(found)
    return made[len(already) :]


def _new(
    pod: Object, size: Capacity, sources: Sequence[NodeSource], nodes: Sequence[Object], made: Sequence[New]
) -> New | None:
    found: list[tuple[tuple[float, float, str], New]] = []
    for source in sources:
        zones = [zone for zone in source.zones if admits(source, zone, pod)]
        if source.size is not None or not zones:
            continue
        for instance in source.known():
            free = free_of(instance)
            if free.holds(size) and _within(source, instance, nodes, made):
                zone = min(zones, key=lambda one: (_count(source, one, nodes, made), one))
                key = (instance.size.cpus, instance.size.memory_mib, source.name)
                found.append((key, New(source, instance, zone, free.minus(size))))
                break
    return min(found, key=lambda one: one[0])[1] if found else None


def admits(source: NodeSource, zone: str, pod: Object) -> bool:
    """Whether a node of a source in a zone has the labels that a pod selects, and only taints that it tolerates."""
    spec = pod["spec"]
    labels = {**source.labels, "topology.kubernetes.io/zone": zone}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    tolerations = spec.get("tolerations") or ()
    return all(any(_tolerates(one, taint) for one in tolerations) for taint in source.taints)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    """The rule of the Kubernetes documentation, "Taints and Tolerations"."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def of_source(source: NodeSource, nodes: Sequence[Object]) -> Iterator[Object]:
    """Yield the nodes of a source."""
    for one in nodes:
        if (one["metadata"].get("annotations") or {}).get(PLAYED) == source.name:
            yield one


def _count(source: NodeSource, zone: str, nodes: Sequence[Object], made: Sequence[New]) -> int:
    there = [one["metadata"]["labels"]["topology.kubernetes.io/zone"] for one in of_source(source, nodes)]
    return there.count(zone) + sum(new.source.name == source.name and new.zone == zone for new in made)


def _within(source: NodeSource, instance: Instance, nodes: Sequence[Object], made: Sequence[New]) -> bool:
    if source.limit is None:
        return True
    sizes = [
        instances()[one["metadata"]["labels"]["node.kubernetes.io/instance-type"]].size
        for one in of_source(source, nodes)
    ]
    sizes += [new.instance.size for new in made if new.source.name == source.name]
    left = source.limit
    for size in sizes:
        left = left.minus(size)
    return left.holds(instance.size)
