"""A stack of releases: what it registers, what it takes from its foundation, and what stays secret."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from components.blueprint import Strategy, Trust
from components.cluster.service_access import RELEASES, ServiceAccess, proxy_path, releasing
from components.gate import GateArgs
from components.models import Model
from components.platform import Platform, PlatformArgs
from components.releases_layer import ReleasesTarget, part_of
from components.testing import Recording, record

ENDPOINTS: dict[str, Any] = {
    "control": {
        "url": "https://eks.example/api/v1/namespaces/serving/services/control:8090/proxy",
        "token": "ADMIN-TOKEN",
        "cluster": "acme-prod-main",
        "region": "eu-central-1",
        "authority": "Q0E=",
    },
    "inference": {"url": "https://predict.acme.example", "token": "INFERENCE-TOKEN"},
}
MANIFEST = {"model": "loan", "version": "2"}


def args(**changes: Any) -> PlatformArgs:
    trust = Trust(environment="prod", approval="signatures", root="prod", signers="ann …")
    stated: dict[str, Any] = {
        "gate": GateArgs(environment="prod", stack="prod-releases", client="acme", target="aws"),
        "target": ReleasesTarget(foundation="prod", trust=trust),
        "releases": True,
        "models": [
            Model(
                name="loan",
                folder="training/loan",
                version="2",
                own_group=True,
                strategy=Strategy(kind="canary"),
                manifest=MANIFEST,
                previous={"model": "loan", "version": "1"},
            )
        ],
        "wait": True,
        "rollout_timeout_seconds": 600,
    }
    return PlatformArgs(**(stated | changes))


def releases() -> Recording:
    def answer(token: str, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if token == "pulumi:pulumi:StackReference":
            return {"outputs": {"endpoints": ENDPOINTS}, "secretOutputNames": ["endpoints"]}
        if token == "blueprint:index:ModelRelease":
            return {"served": {"version": "2", "digest": "sha256:2"}}
        return {}

    return record(lambda: Platform("platform", args()), answer)


def test_only_models_are_released_and_nothing_of_a_platform_is_made() -> None:
    assert {entry.type for entry in releases()} == {
        "mlops:platform:Platform",
        "blueprint:index:Gate",
        "pulumi:pulumi:StackReference",
        "mlops:inference:Releases",
        "blueprint:index:ModelRelease",
    }


def test_the_foundation_is_another_stack_of_the_same_project() -> None:
    reference = releases().only("pulumi:pulumi:StackReference")

    assert reference.inputs["name"].endswith("/prod")
    assert reference.inputs["name"].split("/")[-2] == pulumi.get_project()


def test_the_controller_is_reached_through_the_proxy_of_the_foundations_cluster() -> None:
    release = releases().only("blueprint:index:ModelRelease")

    assert release.inputs["controller"] == {
        "url": ENDPOINTS["control"]["url"],
        "token": "ADMIN-TOKEN",
        "proxy": {"cluster": "acme-prod-main", "region": "eu-central-1", "authority": "Q0E="},
    }


def test_only_the_token_is_a_secret() -> None:
    assert releases().only("blueprint:index:ModelRelease").secrets == {"controller.token"}


def test_a_release_carries_what_the_policies_judge_by() -> None:
    inputs = releases().only("blueprint:index:ModelRelease").inputs

    assert inputs["manifest"] == MANIFEST
    assert inputs["previous"] == {"model": "loan", "version": "1"}
    assert inputs["trust"] == {"environment": "prod", "approval": "signatures", "root": "prod", "signers": "ann …"}
    assert "candidate" not in inputs


def test_a_release_waits_for_the_gate() -> None:
    made = releases()

    assert made.waits_for(made.only("blueprint:index:ModelRelease"), made.only("blueprint:index:Gate"))


def test_the_stack_says_where_the_controller_is_for_the_command_line() -> None:
    platform = releases().only("mlops:platform:Platform")

    assert platform.outputs is not None
    assert platform.outputs["endpoints"] == ENDPOINTS
    assert platform.outputs_secret == {"endpoints.control.token", "endpoints.inference.token"}
    assert platform.outputs["models"]["loan"]["url"] == "https://predict.acme.example/v2/models/loan"


@pytest.mark.parametrize(
    ("endpoints", "missing"),
    [
        (None, "endpoints.control.url"),
        ({**ENDPOINTS, "control": {"url": "", "token": "T"}}, "endpoints.control.url"),
        ({"control": ENDPOINTS["control"]}, "endpoints.inference.url"),
    ],
)
def test_a_foundation_without_a_controller_is_refused(endpoints: Any, missing: str) -> None:
    _, surface, part = missing.split(".")

    with pytest.raises(pulumi.RunError, match=f"the stack prod exports no {missing}.*bring it up first"):
        part_of(endpoints, "prod", surface, part)


def test_releasing_is_the_right_over_one_service_and_nothing_else() -> None:
    made = record(lambda: ServiceAccess("access", releasing("serving", "control", 8090)), lambda *_: {})

    role = made.only("kubernetes:rbac.authorization.k8s.io/v1:Role").inputs
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["services/proxy"],
            "resourceNames": ["control:8090"],
            "verbs": ["get", "create", "update", "delete"],
        }
    ]
    binding = made.only("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding").inputs
    assert [subject["name"] for subject in binding["subjects"]] == [RELEASES]
    assert {entry.inputs["metadata"]["namespace"] for entry in made if "metadata" in entry.inputs} == {"serving"}


def test_the_path_is_that_of_the_api_servers_service_proxy() -> None:
    assert proxy_path("serving", "control", 8090) == "/api/v1/namespaces/serving/services/control:8090/proxy"
