"""Readings of a cluster with running controllers."""

import json
from typing import Any

import pytest

from infra.rehearsal.deep import readings


def deployment(ready: int, *, generation: int = 1, **status: Any) -> dict[str, Any]:
    counts = {"availableReplicas": ready, "updatedReplicas": ready, "replicas": 2, "observedGeneration": 1}
    return {
        "kind": "Deployment",
        "metadata": {"name": "control", "namespace": "serving", "generation": generation},
        "spec": {"replicas": 2},
        "status": {**counts, **status},
    }


def test_deployment_runs_when_all_its_pods_of_the_newest_template_are_available() -> None:
    assert readings.unavailable(deployment(2)) is None
    assert readings.unavailable(deployment(1)) == "Deployment serving/control: 1 of 2 pods are available"
    assert readings.unavailable(deployment(2, generation=2)) is not None
    assert readings.unavailable(deployment(2, replicas=3)) is not None
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert str(readings.unavailable(deployment(0, conditions=[refused]))).endswith(": exceeded quota")


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "one", "namespace": "serving"}, "spec": {"containers": [], **spec}}


def test_pod_without_a_node_is_named_with_the_words_of_the_scheduler() -> None:
    waits = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}
    found = readings.unscheduled([{**pod(), "status": {"conditions": [waits]}}, pod(nodeName="here")])
    assert found == ["Pod serving/one has no node: 0/3 nodes are available: 3 Insufficient cpu."]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"serviceAccountName": "nobody"}, "ServiceAccount nobody is not there"),
        ({"volumes": [{"secret": {"secretName": "absent"}}]}, "Secret absent is not there"),
        ({"volumes": [{"secret": {"secretName": "there", "items": [{"key": "other"}]}}]}, "has no key other"),
        ({"volumes": [{"projected": {"sources": [{"secret": {"name": "absent"}}]}}]}, "Secret absent is not there"),
        ({"volumes": [{"configMap": {"name": "absent"}}]}, "ConfigMap absent is not there"),
        (
            {"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "there", "key": "other"}}}]}]},
            "Secret there has no key other",
        ),
        ({"initContainers": [{"envFrom": [{"configMapRef": {"name": "absent"}}]}]}, "ConfigMap absent is not there"),
    ],
)
def test_what_a_pod_needs_and_nobody_made_is_named(spec: dict[str, Any], text: str) -> None:
    secrets = {("serving", "there"): {"data": {"value": ""}}}
    [found] = readings.lacking([pod(**spec)], secrets, {}, {})
    assert text in found


def test_what_is_optional_or_there_is_not_named() -> None:
    secrets = {("serving", "there"): {"data": {"value": ""}}}
    spec = {
        "volumes": [{"secret": {"secretName": "absent", "optional": True}}, {"secret": {"secretName": "there"}}],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "there", "key": "value"}}}, {"value": "x"}]}],
    }
    assert readings.lacking([pod(**spec)], secrets, {}, {}) == []


def test_warnings_are_counted_and_those_of_other_kinds_left_out() -> None:
    event = {"type": "Warning", "reason": "InvalidRayServiceSpec", "message": "wrong\n thing", "count": 3}
    ours = {**event, "involvedObject": {"kind": "RayService", "namespace": "serving", "name": "inference"}}
    other = {**event, "involvedObject": {"kind": "Pod", "namespace": "serving", "name": "one"}}
    normal = {**ours, "type": "Normal"}
    found = readings.warnings([ours, other, normal], frozenset({"RayService"}))
    assert found == ["InvalidRayServiceSpec (RayService serving/inference): wrong thing (3 times)"]


def test_errors_that_an_operator_only_logs_are_read_once_and_conflicts_left_out() -> None:
    def line(error: str, level: str = "error") -> str:
        about = {"namespace": "serving", "name": "inference"}
        entry = {"level": level, "logger": "controllers.RayService", "msg": "Reconciler error", "RayService": about}
        return json.dumps({**entry, "error": error})

    log = [
        line("no port"),
        line("other"),
        line("no port"),
        line("x", "info"),
        line("the object has been modified"),
        "I",
    ]
    assert readings.errors("\n".join(log)) == [
        "RayService serving/inference: other",
        "RayService serving/inference: no port",
    ]


def ray_service(ready: str = "True", upgrading: str = "False", **status: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": ready, "reason": "R", "message": "m"},
        {"type": "UpgradeInProgress", "status": upgrading},
    ]
    active = {"rayClusterName": "one", "applicationStatuses": {"shared": {"status": "RUNNING"}}}
    return {"status": {"conditions": conditions, "activeServiceStatus": active, **status}}


def test_service_runs_when_one_cluster_serves_and_none_takes_over() -> None:
    found = readings.service(ray_service())
    assert found.running
    assert found.says == ()
    assert not readings.service(ray_service(ready="False")).running
    assert not readings.service(ray_service(pendingServiceStatus={"rayClusterName": "two"})).running
    assert not readings.service({}).running


def test_what_the_operator_says_against_a_service_is_kept() -> None:
    pending = {"rayClusterName": "two", "applicationStatuses": {"own": {"status": "DEPLOY_FAILED", "message": "bad"}}}
    found = readings.service(ray_service(ready="False", pendingServiceStatus=pending))
    assert found.says == ("Ready is False (R): m", "application own of two: DEPLOY_FAILED bad")


def a_route(**shares: int) -> dict[str, Any]:
    return {"spec": {"rules": [{"backendRefs": [{"name": name, "weight": share} for name, share in shares.items()]}]}}


def slices(name: str, *ready: bool) -> list[dict[str, Any]]:
    ends = [{"conditions": {"ready": one}} for one in ready]
    return [{"metadata": {"labels": {"kubernetes.io/service-name": name}}, "endpoints": ends}]


def test_traffic_to_a_service_without_a_ready_pod_is_named() -> None:
    there = slices("old", True) + slices("new", False)
    assert readings.unanswered(a_route(old=100, new=0), there) == []
    assert readings.unanswered(a_route(old=90, new=10), there) == [
        "10 % of the traffic goes to new, which has no ready pod"
    ]
    assert "no traffic anywhere" in readings.unanswered(a_route(old=0, new=0), there)[0]
    assert readings.unanswered(None, there) == []


@pytest.mark.parametrize(
    ("history", "wrong"),
    [
        ([(100, 0), (50, 50), (0, 100)], []),
        ([(100, 0), (0, 100)], ["a step from 100/0 to 0/100, allowed are 50 %"]),
        ([(100, 0), (50, 50)], ["the traffic did not arrive at 0/100: 100/0 → 50/50"]),
        ([(100, 0), (50, 50), (70, 30), (0, 100)], ["a step from 50/50 to 70/30", "a step from 70/30 to 0/100"]),
        ([(100, 0), (60, 50), (0, 100)], ["shares of 60/50 are not the whole"]),
        ([], ["the traffic did not arrive"]),
    ],
)
def test_traffic_moves_forward_in_steps_that_are_allowed(history: list[tuple[int, int]], wrong: list[str]) -> None:
    found = readings.kept(history, 50)
    assert len(found) == len(wrong)
    assert all(text.startswith(start) for text, start in zip(found, wrong, strict=True))
