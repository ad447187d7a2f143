"""Replicas: what serves in production survives the loss of one of its pods, and the end of a node at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.plan import Plan, Resource, Unknown
from policies.pods import Pods, namespace_of, pods_of, selects
from policies.rule import Answer, Problem, World, resource_rule
from policies.rules.reliability.zones import PAID_FOR_IN_PROD

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
STATEFUL_SET = "kubernetes:apps/v1:StatefulSet"
RAY_SERVICE = "kubernetes:ray.io/v1:RayService"
PROXY = "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy"
BUDGET = "kubernetes:policy/v1:PodDisruptionBudget"
SERVERS = (DEPLOYMENT, STATEFUL_SET, RAY_SERVICE)


@resource_rule(
    id="reliability.replicas",
    title="What serves in production has at least two replicas",
    severity="high",
    why="With one replica every update of a node, and every crash, is an outage.",
    fix="set two replicas or more (min of the workers, for Ray)",
    types=(*SERVERS, PROXY),
    levels=PAID_FOR_IN_PROD,
)
def replicas(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the least number of pods that there are.

    What is recreated for an update (strategy Recreate) says itself that two must not run at once: it holds a lease, and
    nothing that serves may wait for it.
    """
    if resource.type == PROXY:
        path = ("spec", "provider", "kubernetes", "envoyDeployment", "replicas")
        if (found := resource.value(*path, default=1)) < 2:
            yield Problem(f"{found} replicas; allowed: 2 or more", path=".".join(path))
        return
    if resource.type == DEPLOYMENT and resource.value("spec", "strategy", "type") == "Recreate":
        return
    for pods in pods_of(resource):
        if pods.group == "head":
            continue
        least, path_text = _least(pods)
        if least < 2:
            setting = f"aws.inference.workers.{pods.group}.min" if pods.group else ""
            text = f"{pods.title}: {least} replica{'' if least == 1 else 's'}; allowed: 2 or more"
            yield Problem(text, path=path_text, setting=setting)


@resource_rule(
    id="reliability.disruption-budget",
    title="A disruption budget covers what has replicas, and allows a disruption",
    severity="medium",
    why="Without a budget an update of nodes takes all replicas at once; with one that allows nothing it never ends.",
    fix="give it a PodDisruptionBudget with maxUnavailable: 1",
    types=SERVERS,
)
def disruption_budget(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for the budget that picks the pods by their labels, and at what it leaves of them."""
    budgets = _budgets(world.plan).get(namespace_of(resource), ())
    for pods in pods_of(resource):
        if pods.group == "head":
            continue
        least, _ = _least(pods)
        if least < 2:
            continue
        labels = running_labels(pods)
        covering = [one for one in budgets if selects(one.value("spec", "selector"), labels)]
        if not covering:
            yield Problem(f"{pods.title}: no PodDisruptionBudget picks its pods")
        for one in covering:
            if not _allows(one, least):
                yield Problem(f"it allows no disruption of the {least} pods of {pods.title}", urn=one.urn, path="spec")


@resource_rule(
    id="reliability.spread-over-zones",
    title="What has replicas spreads them over zones",
    severity="medium",
    why="Two replicas in one zone are lost together.",
    fix="add a topologySpreadConstraint (or anti-affinity) over topology.kubernetes.io/zone",
    types=SERVERS,
)
def spread_over_zones(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for a constraint or an anti-affinity over zones that is about the pods themselves."""
    for pods in pods_of(resource):
        if pods.group == "head":
            continue
        most = _least(pods)[0]
        if pods.group:
            most = pods.owner.value(*pods.path[:-1], "maxReplicas", default=most)
        if most < 2:
            continue
        if not any(selects(one, running_labels(pods)) for one in _spread(pods)):
            path = pods.where("topologySpreadConstraints")
            yield Problem(f"{pods.title}: nothing spreads its pods over zones", path=path)


def running_labels(pods: Pods) -> Mapping[str, str]:
    """Return the labels that pods carry when they run: KubeRay adds the kind of node and the group.

    Raises:
        UndeterminedError: one is not known.
    """
    labels = dict(pods.labels())
    if pods.group:
        labels["ray.io/node-type"] = "head" if pods.group == "head" else "worker"
        labels["ray.io/group"] = "headgroup" if pods.group == "head" else pods.group
    return labels


def _least(pods: Pods) -> tuple[int, str]:
    """Return the least number of pods, and where it is stated."""
    if pods.group:
        path = (*pods.path[:-1], "minReplicas")
        return int(pods.owner.value(*path, default=0)), "spec.rayClusterConfig.workerGroupSpecs.minReplicas"
    return int(pods.owner.value("spec", "replicas", default=1)), "spec.replicas"


def _allows(budget: Resource, pods: int) -> bool:
    most, least = budget.value("spec", "maxUnavailable"), budget.value("spec", "minAvailable")
    if most is not None:
        return _share(most, pods) >= 1
    return least is not None and pods - _share(least, pods) >= 1


def _share(stated: Any, pods: int) -> int:
    """Return a number of pods, or a percentage of them rounded up, as the disruption controller rounds."""
    text = str(stated)
    return math.ceil(int(text[:-1]) * pods / 100) if text.endswith("%") else int(text)


def _spread(pods: Pods) -> Iterator[Any]:
    """Yield the label selectors of what spreads pods over zones."""
    zone = "topology.kubernetes.io/zone"
    for one in pods.value("topologySpreadConstraints", default=()):
        if one.get("topologyKey") == zone:
            yield one.get("labelSelector")
    avoid = ("affinity", "podAntiAffinity")
    for one in pods.value(*avoid, "requiredDuringSchedulingIgnoredDuringExecution", default=()):
        if one.get("topologyKey") == zone:
            yield one.get("labelSelector")
    for one in pods.value(*avoid, "preferredDuringSchedulingIgnoredDuringExecution", default=()):
        term = one.get("podAffinityTerm") or {}
        if term.get("topologyKey") == zone:
            yield term.get("labelSelector")


def _budgets(plan: Plan) -> Mapping[str, Sequence[Resource]]:
    def make() -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for one in plan.of(BUDGET):
            name = one.peek("metadata", "namespace")
            if not isinstance(name, Unknown):
                found.setdefault(str(name or "default"), []).append(one)
        return found

    return plan.once("disruption budgets", make)
