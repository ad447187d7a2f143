"""Bounds of what scales by itself."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.reliability.autoscaling import bounds_consistent
from policies.testing import admit, deny, resource, undetermined, unknown


def nodes(least: Any, wanted: Any, most: Any) -> Resource:
    config = {"minSize": least, "desiredSize": wanted, "maxSize": most}
    return resource("aws:eks/nodeGroup:NodeGroup", "system", scalingConfig=config)


def workers(least: Any, wanted: Any, most: Any) -> Resource:
    group = {"minReplicas": least, "replicas": wanted, "maxReplicas": most}
    return resource("kubernetes:ray.io/v1:RayService", "i", spec={"rayClusterConfig": {"workerGroupSpecs": [group]}})


def cluster(least: Any, wanted: Any, most: Any) -> Resource:
    group = {"minReplicas": least, "replicas": wanted, "maxReplicas": most}
    return resource("kubernetes:ray.io/v1:RayCluster", "i", spec={"workerGroupSpecs": [group]})


def scaler(least: Any, most: Any) -> Resource:
    spec = {"minReplicas": least, "maxReplicas": most}
    return resource("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "web", spec=spec)


def target(least: Any, most: Any) -> Resource:
    return resource("aws:appautoscaling/target:Target", "t", minCapacity=least, maxCapacity=most)


@pytest.mark.parametrize("kind", [nodes, workers, cluster])
def test_least_wanted_and_most_are_in_this_order(kind: Any) -> None:
    for bounds in ((1, 1, 1), (0, 2, 4), (2, 4, 4), (0, None, 4)):
        admit(bounds_consistent, kind(*bounds))
    deny(bounds_consistent, kind(3, 3, 2), says="is 3")
    deny(bounds_consistent, kind(2, 1, 4), says="allowed: 2 to 4")
    deny(bounds_consistent, kind(2, 5, 4), says="is 5")
    deny(bounds_consistent, kind(1, 1, None), says="nothing bounds it")
    for index in range(3):
        hidden: list[Any] = [1, 1, 1]
        hidden[index] = unknown()
        undetermined(bounds_consistent, kind(*hidden))


@pytest.mark.parametrize("kind", [scaler, target])
def test_least_is_no_more_than_most(kind: Any) -> None:
    for bounds in ((1, 1), (2, 10), (None, 1)):
        admit(bounds_consistent, kind(*bounds))
    deny(bounds_consistent, kind(11, 10), says="is 11")
    deny(bounds_consistent, kind(None, 0), says="is 1")
    deny(bounds_consistent, kind(1, None), says="nothing bounds it")
    undetermined(bounds_consistent, kind(1, unknown()))


def test_the_path_names_the_group() -> None:
    deny(bounds_consistent, workers(3, 3, 2), path="spec.rayClusterConfig.workerGroupSpecs[0].minReplicas")
    deny(bounds_consistent, nodes(1, 3, 2), path="scalingConfig.desiredSize")


def test_each_group_of_workers_is_judged() -> None:
    groups = [{"minReplicas": 1, "maxReplicas": 2}, {"minReplicas": 3, "maxReplicas": 2}]
    both = resource("kubernetes:ray.io/v1:RayCluster", "i", spec={"workerGroupSpecs": groups})
    deny(bounds_consistent, both, path="spec.workerGroupSpecs[1].minReplicas")
