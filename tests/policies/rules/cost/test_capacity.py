"""Capacity: which instances run, how many GPUs there are, and that everything that scales has an end."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.cost.capacity import (
    autoscaling_has_a_maximum,
    gpu_count,
    instance_family_allowed,
    pool_has_limits,
    spare_outside_production,
)
from policies.testing import admit, deny, resource, skip, undetermined, unknown

SETTINGS = {
    "aws.governance.instanceFamilies": ["m7i", "g6", "t3"], "aws.governance.gpus": 4,
    "aws.governance.maxReplicas": 10, "aws.pipelines.pool": "training",
}  # fmt: skip
LIMITS = {"cpu": "32", "memory": "128Gi"}
GPU_LIMITS = {**LIMITS, "nvidia.com/gpu": "4"}


def pool(
    name: str = "serving", types: Any = ("m7i.xlarge",), limits: Any = LIMITS, capacity: Any = ("on-demand",),
    after: Any = "120s",
) -> Resource:  # fmt: skip
    requirements = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": types},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": capacity},
    ]
    spec = {
        "limits": limits, "disruption": {"consolidateAfter": after},
        "template": {"spec": {"requirements": requirements}},
    }  # fmt: skip
    return resource("kubernetes:karpenter.sh/v1:NodePool", f"pool-{name}", metadata={"name": name}, spec=spec)


def group(**more: Any) -> Resource:
    stated = {"instanceTypes": ["m7i.large"], "scalingConfig": {"minSize": 2, "maxSize": 4, "desiredSize": 2}, **more}
    return resource("aws:eks/nodeGroup:NodeGroup", "system", stated)


def database(kind: Any) -> Resource:
    return resource("aws:rds/instance:Instance", "database", instanceClass=kind)


@pytest.mark.parametrize("thing", [pool(), group(), database("db.t3.medium"), pool(types=["g6.xlarge", "m7i.large"])])
def test_instances_of_allowed_families_are_admitted(thing: Resource) -> None:
    admit(instance_family_allowed, thing, settings=SETTINGS)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (pool(types=["m7i.xlarge", "p5.48xlarge"]), "p5.48xlarge is of family p5; allowed: m7i, g6, t3"),
        (group(instanceTypes=["x2idn.large"]), "family x2idn"),
        (database("db.r7g.large"), "db.r7g.large is of family r7g"),
        (resource("aws:ec2/instance:Instance", "x", instanceType="p4d.24xlarge"), "family p4d"),
        (resource("aws:ec2/instance:Instance", "x"), "does not say which instance types"),
        (group(instanceTypes=[]), "does not say"),
        (resource("kubernetes:karpenter.sh/v1:NodePool", "x", spec={}), "does not say"),
    ],
)
def test_instances_of_other_families_are_denied(thing: Resource, says: str) -> None:
    deny(instance_family_allowed, thing, settings=SETTINGS, says=says, at=thing)


@pytest.mark.parametrize(
    "thing", [pool(types=unknown()), group(instanceTypes=unknown()), database(unknown())], ids=lambda one: one.name
)
def test_instances_that_are_not_known_cannot_be_told(thing: Resource) -> None:
    undetermined(instance_family_allowed, thing, settings=SETTINGS)


@pytest.mark.parametrize("thing", [pool(), pool(types=["g6.xlarge"], limits=GPU_LIMITS)])
def test_pool_with_limits_is_admitted(thing: Resource) -> None:
    admit(pool_has_limits, thing)


@pytest.mark.parametrize(
    ("thing", "limit", "setting"),
    [
        (pool(limits={"cpu": "32"}), "memory", "memoryGib"),
        (pool(limits={"memory": "1Gi"}), "cpu", "cpus"),
        (pool(types=["g6.xlarge"]), "nvidia.com/gpu", "gpus"),
    ],
)
def test_pool_without_a_limit_is_denied(thing: Resource, limit: str, setting: str) -> None:
    deny(
        pool_has_limits, thing, says=f"no limit of {limit}", path=f"spec.limits.{limit}",
        setting=f"aws.kubernetes.pools.serving.{setting}",
    )  # fmt: skip


def test_pool_without_any_limits_says_each() -> None:
    deny(pool_has_limits, pool(limits=None), times=2)


def test_pool_whose_limits_are_not_known_cannot_be_told() -> None:
    undetermined(pool_has_limits, pool(limits=unknown()))


def gpus(count: Any, name: str = "gpu") -> Resource:
    return pool(name, types=["g6.xlarge"], limits={**LIMITS, "nvidia.com/gpu": count})


def test_gpus_up_to_what_is_allowed_are_admitted() -> None:
    admit(gpu_count, gpus("2"), gpus("2", "more"), pool(), settings=SETTINGS)


def test_more_gpus_over_all_pools_are_denied() -> None:
    says = "the pools may have 5 GPUs (pool-gpu 2, pool-more 3), allowed: 4"
    deny(gpu_count, gpus("2"), gpus("3", "more"), settings=SETTINGS, says=says, setting="aws.governance.gpus")


def test_gpus_are_denied_where_nothing_is_stated() -> None:
    deny(gpu_count, gpus("1"), settings={}, says="allowed: 0")


def test_gpus_that_are_not_known_cannot_be_told() -> None:
    undetermined(gpu_count, gpus(unknown()), settings=SETTINGS)


def ray(most: Any) -> Resource:
    workers = [{"groupName": "general", "minReplicas": 1, "maxReplicas": most, "template": {"spec": {}}}]
    cluster = {"headGroupSpec": {"template": {"spec": {}}}, "workerGroupSpecs": workers}
    return resource("kubernetes:ray.io/v1:RayService", "inference", spec={"rayClusterConfig": cluster})


def hpa(most: Any) -> Resource:
    return resource("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "hpa", spec={"maxReplicas": most})


def target(most: Any) -> Resource:
    return resource("aws:appautoscaling/target:Target", "target", maxCapacity=most)


def scaled(most: Any) -> Resource:
    return group(scalingConfig={"minSize": 1, "desiredSize": 1, "maxSize": most})


@pytest.mark.parametrize("make", [ray, hpa, target, scaled])
def test_maximum_up_to_what_is_allowed_is_admitted(make: Any) -> None:
    admit(autoscaling_has_a_maximum, make(10), settings=SETTINGS)


@pytest.mark.parametrize("make", [ray, hpa, target, scaled])
def test_maximum_above_or_missing_is_denied(make: Any) -> None:
    setting = "aws.governance.maxReplicas"
    deny(autoscaling_has_a_maximum, make(11), settings=SETTINGS, says="may scale to 11, allowed: 10", setting=setting)
    deny(autoscaling_has_a_maximum, make(None), settings=SETTINGS, says="without a maximum", setting=setting)


@pytest.mark.parametrize("make", [ray, hpa, target, scaled])
def test_maximum_that_is_not_known_cannot_be_told(make: Any) -> None:
    undetermined(autoscaling_has_a_maximum, make(unknown()), settings=SETTINGS)


@pytest.mark.parametrize(
    "thing",
    [
        pool("training", capacity=["spot"], after="Never"),
        pool("training", after="3600s"),
        pool("training", after="60m"),
        pool("training", after="1h"),
        pool("other", after="Never"),
        pool("gpu", types=["g6.xlarge"], after="300s"),
        group(),
        group(instanceTypes=["g6.xlarge"], capacityType="SPOT"),
        group(instanceTypes=["g6.xlarge"], scalingConfig={"minSize": 0}),
    ],
)
def test_spot_or_empty_at_rest_is_admitted(thing: Resource) -> None:
    admit(spare_outside_production, thing, settings=SETTINGS, environment="dev")


@pytest.mark.parametrize(
    "thing",
    [
        pool("training", after="Never"),
        pool("training", after="3601s"),
        pool("training", after="2h"),
        pool("training", after=None),
        pool("training", capacity=["spot", "on-demand"], after="Never"),
        pool("gpu", types=["g6.xlarge"], after="Never"),
        group(instanceTypes=["g6.xlarge"]),
        group(instanceTypes=["m7i.large", "g6.xlarge"], scalingConfig={"minSize": 1}),
    ],
)
def test_pool_that_costs_at_rest_is_denied(thing: Resource) -> None:
    deny(spare_outside_production, thing, settings=SETTINGS, environment="dev", at=thing)


@pytest.mark.parametrize(
    "thing",
    [pool("training", after=unknown()), pool("training", capacity=unknown()), group(instanceTypes=unknown())],
)
def test_pool_that_is_not_known_cannot_be_told(thing: Resource) -> None:
    undetermined(spare_outside_production, thing, settings=SETTINGS, environment="dev")


def test_production_may_keep_nodes() -> None:
    assert spare_outside_production.level("prod") == "off"
    assert spare_outside_production.level("staging") == "mandatory"


def test_plan_without_pools_is_none_of_their_business() -> None:
    key = resource("aws:kms/key:Key", "data")
    for rule in (instance_family_allowed, pool_has_limits, gpu_count, autoscaling_has_a_maximum):
        skip(rule, key)


def test_each_group_of_workers_has_a_maximum() -> None:
    one = ray(10)
    groups = one.inputs["spec"]["rayClusterConfig"]
    first, second = dict(groups["workerGroupSpecs"][0]), {**groups["workerGroupSpecs"][0], "maxReplicas": 11}
    cluster = {**groups, "workerGroupSpecs": [first, second]}
    both = resource(one.type, "inference", spec={"rayClusterConfig": cluster})
    deny(
        autoscaling_has_a_maximum, both, settings=SETTINGS, path="spec.rayClusterConfig.workerGroupSpecs.1.maxReplicas"
    )


def test_an_hour_is_sixty_minutes() -> None:
    deny(spare_outside_production, pool("training", after="61m"), settings=SETTINGS, environment="dev")
