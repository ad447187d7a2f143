"""Capture in staging and production: on, into a bucket, long enough."""

import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.governance.capture import capture_on
from policies.testing import admit, deny, resource, undetermined, unknown

GOOD = {"enabled": True, "store": "s3://acme-captures/captures", "retentionDays": 183}


def service(capture: Any = None, *, document: Any = None) -> Resource:
    text = json.dumps({"capture": GOOD if capture is None else capture}) if document is None else document
    workers = {"metadata": {"annotations": {"mlops/serving.json": text}}}
    head: dict[str, Any] = {"metadata": {"annotations": {}}}
    config = {
        "headGroupSpec": {"template": head},
        "workerGroupSpecs": [{"groupName": "general", "template": workers}],
    }
    return resource("kubernetes:ray.io/v1:RayService", "inference", spec={"rayClusterConfig": config})


def test_capture_that_is_kept_is_admitted() -> None:
    admit(capture_on, service())
    admit(capture_on, service(GOOD | {"retentionDays": 30}), environment="staging")


@pytest.mark.parametrize(
    ("capture", "says"),
    [
        (GOOD | {"enabled": False}, "capture.enabled is false"),
        ({}, "capture.enabled is none"),
        (GOOD | {"store": None}, "end with the pod"),
        (GOOD | {"store": "file:///tmp"}, "end with the pod"),
        (GOOD | {"retentionDays": 182}, "retentionDays is 182, it must be at least 183"),
        (GOOD | {"retentionDays": None}, "retentionDays is 0"),
    ],
)
def test_capture_that_is_off_or_lost_is_denied(capture: Any, says: str) -> None:
    deny(capture_on, service(capture), says=says)


def test_replicas_without_a_configuration_of_capture_are_denied() -> None:
    deny(capture_on, service(document="{}"), says="no configuration of capture")
    deny(capture_on, service(document=""), says="no configuration of capture")


def test_capture_that_is_not_known_leaves_it_open() -> None:
    undetermined(capture_on, service(document=unknown()))


def test_every_group_of_workers_is_looked_at() -> None:
    def groups(*captures: Any) -> Resource:
        specifications = [
            {
                "groupName": f"g{index}",
                "template": {"metadata": {"annotations": {"mlops/serving.json": json.dumps(capture)}}},
            }
            for index, capture in enumerate(captures)
        ]
        spec = {"rayClusterConfig": {"workerGroupSpecs": specifications}}
        return resource("kubernetes:ray.io/v1:RayService", "inference", spec=spec)

    bad = {"capture": GOOD | {"enabled": False}}
    deny(capture_on, groups({"capture": GOOD}, bad), says="g1")
    deny(capture_on, groups(bad, bad), times=2)
    deny(capture_on, groups({}, bad), times=2)
