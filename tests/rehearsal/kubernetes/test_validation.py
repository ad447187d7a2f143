"""What neither a schema nor the API server notices about Ray on Kubernetes."""

from typing import Any

import pytest

from infra.provider.codec import UNKNOWN
from infra.rehearsal.kubernetes import validation

APPLICATIONS = """\
applications:
  - name: models
    route_prefix: /v2
    import_path: serving.application:build
    deployments:
      - name: Ingress
        autoscaling_config: {min_replicas: 1, max_replicas: 4}
"""


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "models"}, "spec": spec}


def problems(inputs: dict[str, Any], kind: str = "RayService") -> list[str]:
    return validation.problems("ray.io/v1", kind, inputs)


def workers(**group: Any) -> dict[str, Any]:
    return service(rayClusterConfig={"workerGroupSpecs": [{"groupName": "cpu", **group}]})


@pytest.mark.parametrize(
    "inputs",
    [
        service(),
        service(upgradeStrategy={"type": "None"}),
        service(upgradeStrategy={"type": UNKNOWN}),
        workers(minReplicas=0, replicas=1, maxReplicas=2),
        workers(minReplicas=UNKNOWN, maxReplicas=1),
        service(rayClusterConfig=UNKNOWN, serveConfigV2=UNKNOWN),
    ],
)
def test_good_service_passes(inputs: dict[str, Any]) -> None:
    assert problems(inputs) == []


def test_other_kinds_are_not_judged() -> None:
    assert validation.problems("apps/v1", "Deployment", workers(minReplicas=3, maxReplicas=1)) == []


def test_upgrade_strategy_of_another_name_is_refused() -> None:
    assert problems(service(upgradeStrategy={"type": "Rolling"})) == [
        "spec.upgradeStrategy.type: Rolling is none of NewCluster, NewClusterWithIncrementalUpgrade, None"
    ]


def test_incremental_upgrade_names_all_it_lacks() -> None:
    found = problems(service(upgradeStrategy={"type": "NewClusterWithIncrementalUpgrade"}))
    assert [line.partition(":")[0] for line in found] == [
        "spec.rayClusterConfig.enableInTreeAutoscaling",
        "spec.upgradeStrategy.clusterUpgradeOptions",
    ]


def test_incremental_upgrade_has_limits() -> None:
    options = {"maxSurgePercent": 101, "stepSizePercent": 10, "intervalSeconds": 0}
    strategy = {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": options}
    found = problems(service(rayClusterConfig={"enableInTreeAutoscaling": True}, upgradeStrategy=strategy))
    assert [line.rpartition("Options.")[2] for line in found] == [
        "maxSurgePercent: 101 is not between 0 and 100",
        "intervalSeconds: 0 is not more than 0",
        "gatewayClassName: an incremental upgrade needs it",
    ]


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ({"minReplicas": 3, "maxReplicas": 2}, "minReplicas 3 is more than maxReplicas 2"),
        (
            {"minReplicas": 1, "replicas": 5, "maxReplicas": 2},
            "replicas 5 is not between minReplicas 1 and maxReplicas 2",
        ),
    ],
)
def test_replicas_are_in_order(group: dict[str, Any], reason: str) -> None:
    assert problems(workers(**group)) == [f"spec.rayClusterConfig.workerGroupSpecs[0]: {reason}"]


def test_group_names_differ() -> None:
    groups = [{"groupName": "cpu"}, {"groupName": "cpu"}]
    found = problems({"metadata": {"name": "c"}, "spec": {"workerGroupSpecs": groups}}, "RayCluster")
    assert found == ["spec.workerGroupSpecs[1].groupName: cpu is the name of another group, too"]


@pytest.mark.parametrize(("name", "word"), [("m" * 48, "47"), ("1models", "begin with a letter")])
def test_name_fits_what_the_operator_makes_of_it(name: str, word: str) -> None:
    found = problems({"metadata": {"name": name}, "spec": {}})
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.slow
def test_serve_configuration_is_judged_by_ray_s_own_schema() -> None:
    assert problems(service(serveConfigV2=APPLICATIONS)) == []
    bad = APPLICATIONS.replace("import_path: serving.application:build", "import_path: serving")
    found = problems(service(serveConfigV2=bad))
    assert len(found) == 1
    assert found[0].startswith("spec.serveConfigV2: applications.0.import_path: ")
