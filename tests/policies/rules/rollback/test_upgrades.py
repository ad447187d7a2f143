"""Upgrades of the serving cluster: beside itself, a little traffic at a time."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.rollback.upgrades import ray_operator_can, ray_upgrade_incremental
from policies.testing import admit, deny, resource, skip, undetermined, unknown

OPTIONS = {"gatewayClassName": "inner", "maxSurgePercent": 10, "stepSizePercent": 10, "intervalSeconds": 30}
BELOW = "spec.upgradeStrategy.clusterUpgradeOptions"


def service(kind: Any = "NewClusterWithIncrementalUpgrade", **options: Any) -> Resource:
    strategy = {"type": kind, "clusterUpgradeOptions": OPTIONS | options}
    return resource("kubernetes:ray.io/v1:RayService", "inference", spec={"upgradeStrategy": strategy})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"maxSurgePercent": 1, "stepSizePercent": 1, "intervalSeconds": 10},
        {"maxSurgePercent": 100, "stepSizePercent": 25, "intervalSeconds": 3600},
    ],
)
def test_incremental_upgrade_in_range_is_admitted(options: Any) -> None:
    admit(ray_upgrade_incremental, service(**options))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"maxSurgePercent": 0, "stepSizePercent": None}, "maxSurgePercent"),
        ({"maxSurgePercent": 101}, "maxSurgePercent"),
        ({"stepSizePercent": 0}, "stepSizePercent"),
        ({"stepSizePercent": 26, "maxSurgePercent": 50}, "stepSizePercent"),
        ({"stepSizePercent": 11}, "stepSizePercent"),
        ({"intervalSeconds": 9}, "intervalSeconds"),
        ({"intervalSeconds": 3601}, "intervalSeconds"),
        ({"intervalSeconds": None}, "intervalSeconds"),
        ({"gatewayClassName": ""}, "gatewayClassName"),
    ],
)
def test_upgrade_out_of_range_is_denied(options: Any, name: str) -> None:
    times = 2 if len(options) == 2 and None in options.values() else 1
    deny(ray_upgrade_incremental, service(**options), path=f"{BELOW}.{name}", times=times)


def test_step_above_the_surge_is_denied() -> None:
    deny(ray_upgrade_incremental, service(maxSurgePercent=5, stepSizePercent=6), says="above maxSurgePercent (5)")


@pytest.mark.parametrize("kind", ["NewCluster", "None", None])
def test_other_upgrades_are_denied(kind: Any) -> None:
    deny(ray_upgrade_incremental, service(kind), path="spec.upgradeStrategy.type")


def test_upgrade_that_is_not_known_leaves_it_open() -> None:
    undetermined(ray_upgrade_incremental, service(unknown()), path="spec.upgradeStrategy.type")
    undetermined(ray_upgrade_incremental, service(stepSizePercent=unknown()), path=f"{BELOW}.stepSizePercent")


def operator(*gates: Any) -> Resource:
    kind = "kubernetes:helm.sh/v3:Release"
    return resource(kind, "kuberay-operator", chart="kuberay-operator", values={"featureGates": list(gates)})


GATE = {"name": "RayServiceIncrementalUpgrade", "enabled": True}


def test_operator_with_the_feature_gate_is_admitted() -> None:
    admit(ray_operator_can, service(), operator({"name": "Other", "enabled": False}, GATE))


def test_operator_without_the_feature_gate_is_denied() -> None:
    deny(ray_operator_can, service(), operator(GATE | {"enabled": False}), path="values.featureGates")
    deny(ray_operator_can, service(), operator({"name": "Other", "enabled": True}), path="values.featureGates")
    deny(ray_operator_can, service(), says="kuberay-operator is not in this stack")


def test_stack_that_serves_nothing_needs_no_operator() -> None:
    skip(ray_operator_can, operator())


def test_feature_gates_that_are_not_known_leave_it_open() -> None:
    undetermined(ray_operator_can, service(), operator(unknown()))


def test_each_number_names_its_setting() -> None:
    deny(ray_upgrade_incremental, service(intervalSeconds=9), setting="aws.inference.upgradeSeconds")
    deny(ray_upgrade_incremental, service(stepSizePercent=0), setting="aws.inference.upgradeStep")


def test_every_operator_is_looked_at() -> None:
    other = resource("kubernetes:helm.sh/v3:Release", "second", chart="oci://x/kuberay-operator", values={})
    deny(ray_operator_can, service(), operator(GATE), other, at=other)


def test_number_out_of_range_names_its_own_setting() -> None:
    deny(ray_upgrade_incremental, service(intervalSeconds=9), setting="aws.inference.upgradeSeconds")
    deny(ray_upgrade_incremental, service(stepSizePercent=0), setting="aws.inference.upgradeStep")
