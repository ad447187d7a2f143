"""Local inference: groups, the configuration of controller and replicas, releases."""

import json
from typing import Any

import pytest

from components.inference import groups
from components.models import Model, Replicas
from components.testing import Recording

PROCESS, RELEASE = "blueprint:index:Process", "blueprint:index:ModelRelease"


def config(recording: Recording, process: str, file: str) -> Any:
    return json.loads(recording.of_type(PROCESS)[process].inputs["files"][file])


def test_a_stack_without_models_still_serves_health_and_listing() -> None:
    assert [group.document() for group in groups([], Replicas(max=3))] == [
        {
            "name": "shared",
            "route": "/v2",
            "replicas": {
                "min": 1,
                "max": 3,
                "targetOngoing": 32,
                "upscaleDelaySeconds": 10,
                "downscaleDelaySeconds": 300,
            },
        }
    ]


def test_only_models_with_a_group_of_their_own_get_a_route(models: list[Model]) -> None:
    assert [(group.name, group.route) for group in groups(models, Replicas())] == [
        ("shared", "/v2"),
        ("loan", "/v2/models/loan"),
    ]


def test_groups_do_not_depend_on_the_order_of_models() -> None:
    models = [Model(name=name, folder=name, own_group=True) for name in ("b", "a")]

    assert groups(models, Replicas()) == groups(models[::-1], Replicas())


def test_controller_and_replicas_share_snapshot_key_and_token(platform: Recording) -> None:
    control, serving = config(platform, "control", "control.json"), config(platform, "inference", "serving.json")

    assert control["snapshot"] == serving["snapshot"]
    assert control["snapshotKey"] == serving["snapshotKey"] == "TOKEN-inference-snapshot"
    assert control["replicaToken"] == serving["control"]["token"] == "TOKEN-inference-replica"


def test_replicas_never_get_the_admin_token(platform: Recording) -> None:
    assert config(platform, "control", "control.json")["adminToken"] == "TOKEN-inference-admin"
    assert "TOKEN-inference-admin" not in platform.of_type(PROCESS)["inference"].inputs["files"]["serving.json"]


def test_configuration_files_are_secret(platform: Recording) -> None:
    for process, file in (("control", "control.json"), ("inference", "serving.json")):
        secrets = platform.of_type(PROCESS)[process].secrets
        assert f"files.{file}" in secrets


def test_replicas_reach_registry_and_feature_store_with_their_tokens(platform: Recording) -> None:
    serving = config(platform, "inference", "serving.json")

    assert serving["registry"] == {
        "url": "http://127.0.0.1:5000",
        "username": "mlops",
        "password": "TOKEN-registry-password",
    }
    assert serving["features"] == {
        "url": "http://127.0.0.1:6566",
        "token": "TOKEN-feature-store-token",
        "deadlineMs": 100,
    }


def test_serving_configuration_has_the_keys_that_replicas_read(platform: Recording) -> None:
    serving = config(platform, "inference", "serving.json")

    assert set(serving) == {
        "ray",
        "http",
        "control",
        "registry",
        "trust",
        "inferenceToken",
        "snapshot",
        "snapshotKey",
        "modelCache",
        "groups",
        "features",
        "capture",
        "limits",
        "batching",
    }
    assert serving["capture"]["directory"].endswith("/data/captures")


@pytest.mark.parametrize(("model", "group"), [("flight", "shared"), ("loan", "loan")])
def test_release_names_group_controller_and_candidate(platform: Recording, model: str, group: str) -> None:
    release = platform.of_type(RELEASE)[model]

    assert release.inputs["group"] == group
    assert release.inputs["version"] == "latest"
    assert release.inputs["controller"] == {"url": "http://127.0.0.1:8090", "token": "TOKEN-inference-admin"}
    assert "controller.token" in release.secrets
    assert release.inputs["candidate"]["name"] == f"train-{model}"
