"""Replicas, disruption budgets and zones."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.reliability.replicas import disruption_budget, replicas, spread_over_zones
from policies.testing import admit, deny, resource, undetermined, unknown

ZONE = "topology.kubernetes.io/zone"
WEB = {"app": "web"}


def deployment(count: Any = 2, kind: str = "Deployment", *, pod: Any = None, **spec: Any) -> Resource:
    template = {"metadata": {"labels": WEB}, "spec": pod or {}}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"replicas": count, "template": template, **spec}}
    return resource(f"kubernetes:apps/v1:{kind}", "web", inputs)


def ray(least: Any = 2, most: Any = 4, pod: Any = None) -> Resource:
    head: dict[str, Any] = {"template": {"spec": {}}}
    template = {"metadata": {"labels": WEB}, "spec": pod or {}}
    group = {"groupName": "general", "minReplicas": least, "maxReplicas": most, "template": template}
    cluster = {"headGroupSpec": head, "workerGroupSpecs": [group]}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"rayClusterConfig": cluster}}
    return resource("kubernetes:ray.io/v1:RayService", "inference", inputs)


def budget(labels: Any = None, namespace: Any = "serving", **spec: Any) -> Resource:
    selector = {"matchLabels": WEB if labels is None else labels}
    inputs = {"metadata": {"namespace": namespace}, "spec": {"selector": selector, **spec}}
    return resource("kubernetes:policy/v1:PodDisruptionBudget", "web", inputs)


def proxy(count: Any) -> Resource:
    spec = {"provider": {"kubernetes": {"envoyDeployment": {"replicas": count}}}}
    return resource("kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy", "proxy", spec=spec)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_what_serves_has_two_replicas(kind: str) -> None:
    admit(replicas, deployment(2, kind))
    for count in (1, 0):
        said = "1 replica;" if count else "0 replicas;"
        deny(replicas, deployment(count, kind), says=said, path="spec.replicas")
    deny(replicas, deployment(None, kind), says="1 replica")
    undetermined(replicas, deployment(unknown(), kind))


def test_what_must_not_run_twice_may_have_one() -> None:
    admit(replicas, deployment(1, strategy={"type": "Recreate"}))
    deny(replicas, deployment(1, strategy={"type": "RollingUpdate"}))
    deny(replicas, deployment(1, "StatefulSet", strategy={"type": "Recreate"}))


def test_workers_and_proxies_have_two_replicas() -> None:
    admit(replicas, ray(2))
    deny(replicas, ray(1), says="inference general: 1", setting="aws.inference.workers.general.min")
    deny(replicas, ray(None), says="general: 0")
    undetermined(replicas, ray(unknown()))
    admit(replicas, proxy(2))
    for count in (1, None):
        deny(replicas, proxy(count), path="spec.provider.kubernetes.envoyDeployment.replicas")


@pytest.mark.parametrize(
    "spec", [{"maxUnavailable": 1}, {"maxUnavailable": "1%"}, {"minAvailable": 1}, {"minAvailable": "50%"}]
)
def test_a_budget_that_allows_a_disruption_is_admitted(spec: dict[str, Any]) -> None:
    admit(disruption_budget, deployment(2), budget(**spec))


@pytest.mark.parametrize(
    "spec", [{"maxUnavailable": 0}, {"maxUnavailable": "0%"}, {"minAvailable": 2}, {"minAvailable": "51%"}, {}]
)
def test_a_budget_that_allows_none_is_denied(spec: dict[str, Any]) -> None:
    none = budget(**spec)
    deny(disruption_budget, deployment(2), none, at=none, says="no disruption of the 2 pods")


def test_a_budget_is_of_the_pods_that_it_picks_in_its_namespace() -> None:
    good = {"maxUnavailable": 1}
    admit(disruption_budget, deployment(2), budget({}, **good))
    admit(disruption_budget, deployment(1))
    for other in (budget({"app": "other"}, **good), budget(namespace="other", **good)):
        deny(disruption_budget, deployment(2), other, says="no PodDisruptionBudget picks", at=deployment())
    undetermined(disruption_budget, deployment(2), budget({"app": unknown()}, **good))
    undetermined(disruption_budget, deployment(unknown()), budget(**good))


def test_kuberay_adds_labels_that_a_budget_may_pick() -> None:
    for labels in ({"ray.io/node-type": "worker"}, {"ray.io/group": "general", **WEB}):
        admit(disruption_budget, ray(2), budget(labels, maxUnavailable=1))
    for labels in ({"ray.io/node-type": "head"}, {"ray.io/group": "headgroup"}):
        deny(disruption_budget, ray(2), budget(labels, maxUnavailable=1), says="inference general")
    admit(disruption_budget, ray(1))


def spread(key: str = ZONE, labels: Any = None) -> dict[str, Any]:
    selector = {"matchLabels": WEB if labels is None else labels}
    return {"topologySpreadConstraints": [{"topologyKey": key, "labelSelector": selector}]}


def test_replicas_are_spread_over_zones() -> None:
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": WEB}}
    required = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    weighed = [{"weight": 1, "podAffinityTerm": term}]
    preferred = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighed}}
    for pod in (spread(), {"affinity": required}, {"affinity": preferred}):
        admit(spread_over_zones, deployment(2, pod=pod))
        admit(spread_over_zones, ray(1, 2, pod=pod))
    admit(spread_over_zones, deployment(1))
    admit(spread_over_zones, ray(1, 1))


def test_replicas_that_nothing_spreads_are_denied() -> None:
    path = "spec.template.spec.topologySpreadConstraints"
    for pod in ({}, spread("kubernetes.io/hostname"), spread(labels={"app": "other"})):
        deny(spread_over_zones, deployment(2, pod=pod), path=path)
    host = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": WEB}}
    for kind, terms in (
        ("requiredDuringSchedulingIgnoredDuringExecution", [host]),
        ("preferredDuringSchedulingIgnoredDuringExecution", [{"podAffinityTerm": host}]),
    ):
        deny(spread_over_zones, deployment(2, pod={"affinity": {"podAntiAffinity": {kind: terms}}}))
    deny(spread_over_zones, ray(1, 2), says="inference general")
    undetermined(spread_over_zones, deployment(2, pod={"topologySpreadConstraints": unknown()}))


def two_groups(first: Any, second: Any, pod: Any = None) -> Resource:
    """Two groups of workers with their least numbers; `pod` is that of the first."""
    one = ray(first, 4, pod)
    cluster = one.inputs["spec"]["rayClusterConfig"]
    template = {"metadata": {"labels": {"app": "other"}}, "spec": {}}
    more = {"groupName": "more", "minReplicas": second, "maxReplicas": 4, "template": template}
    both = {**cluster, "workerGroupSpecs": [cluster["workerGroupSpecs"][0], more]}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"rayClusterConfig": both}}
    return resource("kubernetes:ray.io/v1:RayService", "inference", inputs)


def test_each_group_of_workers_is_judged() -> None:
    deny(replicas, two_groups(2, 1), says="inference more: 1")
    deny(replicas, two_groups(1, 1), times=2)
    covered = budget(maxUnavailable=1)
    deny(disruption_budget, two_groups(2, 2), covered, says="inference more: no PodDisruptionBudget")
    deny(disruption_budget, two_groups(1, 2), covered, says="inference more: no PodDisruptionBudget")
    deny(spread_over_zones, two_groups(2, 2, spread()), says="inference more")
    deny(spread_over_zones, two_groups(2, 2), times=2)


def test_a_group_that_never_has_two_does_not_hide_the_next() -> None:
    one = two_groups(1, 2)
    cluster = one.inputs["spec"]["rayClusterConfig"]
    groups = [{**cluster["workerGroupSpecs"][0], "maxReplicas": 1}, cluster["workerGroupSpecs"][1]]
    spec = {"rayClusterConfig": {**cluster, "workerGroupSpecs": groups}}
    changed = resource(one.type, "inference", {"metadata": {"namespace": "serving"}, "spec": spec})
    deny(spread_over_zones, changed, says="inference more")


def test_each_budget_that_picks_the_pods_is_judged() -> None:
    none = resource("kubernetes:policy/v1:PodDisruptionBudget", "none", budget(maxUnavailable=0).inputs)
    deny(disruption_budget, deployment(2), budget(maxUnavailable=1), none, at=none, says="no disruption")
    other = resource(none.type, "other", budget({"app": "other"}, maxUnavailable=1).inputs)
    admit(disruption_budget, deployment(2), other, budget(maxUnavailable=1))


def test_a_share_of_pods_is_in_hundredths() -> None:
    deny(disruption_budget, deployment(101), budget(minAvailable="100%"), says="no disruption")


def test_each_constraint_is_looked_at() -> None:
    host = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": WEB}}
    zone = {"topologyKey": ZONE, "labelSelector": {"matchLabels": WEB}}
    admit(spread_over_zones, deployment(2, pod={"topologySpreadConstraints": [host, zone]}))
    for kind, terms in (
        ("requiredDuringSchedulingIgnoredDuringExecution", [host, zone]),
        ("preferredDuringSchedulingIgnoredDuringExecution", [{"podAffinityTerm": host}, {"podAffinityTerm": zone}]),
    ):
        admit(spread_over_zones, deployment(2, pod={"affinity": {"podAntiAffinity": {kind: terms}}}))
