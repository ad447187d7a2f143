"""What is seen on a cluster with running controllers, in words a person can act on. Pure: objects in, readings out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from infra.rehearsal.deep.nodes import PLAYED, waits

Object = dict[str, Any]


def place(item: Object) -> str:
    """`Kind namespace/name` of an object."""
    metadata = item["metadata"]
    space = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{item.get('kind', 'Pod')} {space}{metadata['name']}"


def conditions(item: Object) -> dict[str, Object]:
    """Conditions of an object by type."""
    return {one["type"]: one for one in (item.get("status") or {}).get("conditions") or ()}


def holds(item: Object, kind: str) -> bool:
    """Whether a condition of an object is true."""
    return bool(conditions(item).get(kind, {}).get("status") == "True")


# --- workloads -----------------------------------------------------------------------------------------------------


def unavailable(workload: Object) -> str | None:
    """Why a Deployment or StatefulSet does not run with all its pods; None when it does."""
    wanted = workload["spec"].get("replicas", 1)
    status = workload.get("status") or {}
    ready = min(status.get("availableReplicas", 0), status.get("updatedReplicas", 0))
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
    if seen and ready >= wanted and status.get("replicas", 0) == wanted:
        return None
    failed = conditions(workload).get("ReplicaFailure", {}).get("message", "")
    return f"{place(workload)}: {ready} of {wanted} pods are available{f': {failed}' if failed else ''}"


def unscheduled(pods: Sequence[Object]) -> list[str]:
    """Pods that no node holds, each with what the scheduler says."""
    return [f"{place({'kind': 'Pod', **pod})} has no node: {why}" for pod in pods if (why := waits(pod)) is not None]


def lacking(
    pods: Sequence[Object],
    secrets: Mapping[tuple[str, str], Object],
    config_maps: Mapping[tuple[str, str], Object],
    accounts: Mapping[tuple[str, str], Object],
) -> list[str]:
    """What pods name and nobody has made, or without the key that they read: a kubelet would not start them.

    Args:
        pods: the pods.
        secrets: Secrets by namespace and name.
        config_maps: ConfigMaps by namespace and name.
        accounts: ServiceAccounts by namespace and name.
    """
    found: Counter[str] = Counter()
    tables = {"Secret": secrets, "ConfigMap": config_maps, "ServiceAccount": accounts}
    for pod in pods:
        space = pod["metadata"]["namespace"]
        for kind, name, keys in _references(pod["spec"]):
            there = tables[kind].get((space, name))
            if there is None:
                found[f"{space}: {kind} {name} is not there; pods such as {pod['metadata']['name']} need it"] += 1
                continue
            data = {**(there.get("data") or {}), **(there.get("binaryData") or {})}
            for key in keys - set(data):
                found[f"{space}: {kind} {name} has no key {key}; pods such as {pod['metadata']['name']} read it"] += 1
    return sorted(found)


def _references(spec: Object) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield what a pod needs: kind, name, and keys; optional ones are left out."""
    if spec.get("serviceAccountName"):
        yield "ServiceAccount", spec["serviceAccountName"], frozenset()
    for volume in spec.get("volumes") or ():
        parts = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for part in parts:
            for kind, field, named in (("Secret", "secret", "secretName"), ("ConfigMap", "configMap", "name")):
                source = part.get(field)
                if source and not source.get("optional"):
                    keys = frozenset(one["key"] for one in source.get("items") or ())
                    yield kind, source.get(named) or source["name"], keys
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                if field in source and not source[field].get("optional"):
                    yield kind, source[field]["name"], frozenset({source[field]["key"]})
        for source in container.get("envFrom") or ():
            for kind, field in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
                if field in source and not source[field].get("optional"):
                    yield kind, source[field]["name"], frozenset()


def spread_over(pods: Sequence[Object], nodes: Sequence[Object]) -> dict[str, int]:
    """How many pods run on the nodes of each pool."""
    made_by = {one["metadata"]["name"]: (one["metadata"].get("annotations") or {}).get(PLAYED, "?") for one in nodes}
    counted = Counter(made_by.get(pod["spec"]["nodeName"], "?") for pod in pods if pod["spec"].get("nodeName"))
    return dict(sorted(counted.items()))


def warnings(events: Sequence[Object], about: frozenset[str]) -> list[str]:
    """Warnings of controllers about some kinds of objects: reason, object and text, with how often.

    Args:
        events: events.
        about: kinds that count.
    """
    counted: Counter[str] = Counter()
    for event in events:
        target = event.get("involvedObject") or {}
        if event.get("type") == "Warning" and target.get("kind") in about:
            text = f"{event.get('reason')} ({target['kind']} {target.get('namespace')}/{target.get('name')})"
            counted[f"{text}: {' '.join(str(event.get('message', '')).split())}"] += int(event.get("count") or 1)
    return [f"{text}{f' ({times} times)' if times > 1 else ''}" for text, times in counted.items()]


def errors(log: str) -> list[str]:
    """Errors that an operator wrote to its log and tells nowhere else, each once, in the order of their last time.

    Args:
        log: what controller-runtime logs, a JSON document a line. Conflicts are left out: its next round mends them.
    """
    found: dict[str, None] = {}
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("level") != "error" or entry.get("msg") != "Reconciler error":
            continue
        kind = str(entry.get("logger", "")).rpartition(".")[2]
        about = entry.get(kind) or {}
        text = " ".join(str(entry.get("error", "")).split())
        if "the object has been modified" in text:
            continue
        text = f"{kind} {about.get('namespace', '')}/{about.get('name', '')}: {text}"
        found.pop(text, None)
        found[text] = None
    return list(found)


# --- the RayService ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """A RayService as its operator sees it.

    Attributes:
        active: Ray cluster that serves.
        pending: Ray cluster that takes over; empty while none does.
        traffic: share of the traffic of the two, per cent; None where the operator says none.
        capacity: share of the replicas of the two, per cent.
        ready: whether it serves.
        upgrading: whether a cluster takes over.
        rolling_back: whether the operator goes back.
        says: what its conditions and applications say, where something is not as it should be.
    """

    active: str
    pending: str
    traffic: tuple[int | None, int | None]
    capacity: tuple[int | None, int | None]
    ready: bool
    upgrading: bool
    rolling_back: bool
    says: tuple[str, ...]

    @property
    def running(self) -> bool:
        """Whether one cluster serves and none takes over."""
        return self.ready and bool(self.active) and not self.pending and not self.upgrading


def service(item: Object) -> Service:
    """Read a RayService."""
    status = item.get("status") or {}
    active, pending = status.get("activeServiceStatus") or {}, status.get("pendingServiceStatus") or {}
    says = []
    ready = conditions(item).get("Ready", {})
    if ready.get("status") != "True":
        says.append(
            f"Ready is {ready.get('status', 'not stated')} ({ready.get('reason', '')}): {ready.get('message', '')}"
        )
    for side in (active, pending):
        for name, application in sorted((side.get("applicationStatuses") or {}).items()):
            if application.get("status") != "RUNNING":
                cluster = side.get("rayClusterName", "")
                says.append(
                    f"application {name} of {cluster}: {application.get('status')} {application.get('message', '')}"
                )
    return Service(
        active=active.get("rayClusterName", ""),
        pending=pending.get("rayClusterName", ""),
        traffic=(active.get("trafficRoutedPercent"), pending.get("trafficRoutedPercent")),
        capacity=(active.get("targetCapacity"), pending.get("targetCapacity")),
        ready=holds(item, "Ready"),
        upgrading=holds(item, "UpgradeInProgress"),
        rolling_back=holds(item, "RollbackInProgress"),
        says=tuple(text.strip() for text in says),
    )


def weights(route: Object | None) -> dict[str, int]:
    """Share of the traffic that a route gives to each Service."""
    rules = ((route or {}).get("spec") or {}).get("rules") or ()
    return {one["name"]: int(one.get("weight", 1)) for rule in rules for one in rule.get("backendRefs") or ()}


def endpoints(slices: Sequence[Object], service_name: str) -> int:
    """How many ready pods are behind a Service."""
    return sum(
        bool((one.get("conditions") or {}).get("ready"))
        for item in slices
        if (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == service_name
        for one in item.get("endpoints") or ()
    )


def unanswered(route: Object | None, slices: Sequence[Object]) -> list[str]:
    """What is wrong with where a route sends requests at this moment: nowhere, or to a Service without a ready pod."""
    shares = weights(route)
    if shares and not any(shares.values()):
        return [f"the route sends no traffic anywhere: {shares}"]
    return [
        f"{share} % of the traffic goes to {name}, which has no ready pod"
        for name, share in shares.items()
        if share and not endpoints(slices, name)
    ]


def kept(history: Sequence[tuple[int, int]], step: int) -> list[str]:
    """What is wrong with how the traffic moved in an upgrade.

    Args:
        history: shares of the old and the new cluster, per cent, in order and without repetitions.
        step: the greatest change that is allowed at once, per cent.
    """
    found = []
    if not history or history[-1] != (0, 100):
        found.append(f"the traffic did not arrive at 0/100: {shown(history)}")
    for before, after in pairwise(history):
        if not 0 < after[1] - before[1] <= step:
            found.append(f"a step from {before[0]}/{before[1]} to {after[0]}/{after[1]}, allowed are {step} %")
        if sum(after) != 100:
            found.append(f"shares of {after[0]}/{after[1]} are not the whole")
    return found


def shown(history: Sequence[tuple[int, int]]) -> str:
    """Shares in order, as people write them."""
    return " → ".join(f"{old}/{new}" for old, new in history)
