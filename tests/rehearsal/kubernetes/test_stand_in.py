"""The stand-in under the real engine: whole lives of objects, what is refused, faults and recovery."""

import time
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource

from infra.rehearsal import faults
from infra.rehearsal.kubernetes import charts
from infra.rehearsal.kubernetes.client import Kind
from tests.rehearsal.kubernetes import every_kind
from tests.rehearsal.kubernetes.conftest import Rehearsed

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", True, frozenset())
SECRET = Kind("v1", "Secret", "secrets", True, frozenset())
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", True, frozenset())


def test_every_kind_lives_and_ends(stack: Rehearsed) -> None:
    client = stack.server.client
    stack.program = lambda: every_kind.program(stack.kubeconfig)

    first = stack.run("preview")
    assert not first.failed, first.text
    assert first.changes["create"] >= 37

    began = time.monotonic()
    made = stack.run("up")
    assert not made.failed, made.text
    assert made.changes == first.changes
    print(f"up: {time.monotonic() - began:.1f} s")
    assert "chart karpenter 1.15.1: recorded, not rendered" in made.text
    assert [chart.version for chart in charts.not_rendered(client)] == ["1.15.1"]
    assert "hush-hush" not in stack.state_text()
    assert "aHVzaC1odXNo" not in stack.state_text()

    again = stack.run("preview")
    assert set(again.changes) == {"same"}, again.text

    stack.program = lambda: every_kind.program(stack.kubeconfig, replicas=3)
    changed = stack.run("up")
    assert changed.changes == {**again.changes, "same": again.changes["same"] - 1, "update": 1}, changed.text
    gateway = client.get(DEPLOYMENT, "models", "gateway")
    assert gateway
    assert gateway["spec"]["replicas"] == 3

    unmoved = stack.run("refresh")
    assert set(unmoved.changes) == {"same"}, unmoved.text

    gateway["spec"]["replicas"] = 7
    client.request("PUT", "/apis/apps/v1/namespaces/models/deployments/gateway", body=gateway)
    found = stack.run("refresh")
    assert found.changes["update"] == 1, found.text
    preview = stack.run("preview")
    assert preview.failed
    assert "patchForce" in preview.text

    ended = stack.run("destroy")
    assert not ended.failed, ended.text
    assert stack.server.leftovers() == []


def declare(stack: Rehearsed, resource: Any, **arguments: Any) -> None:
    def program() -> None:
        resource("it", opts=ResourceOptions(provider=every_kind.provider(stack.kubeconfig)), **arguments)

    stack.program = program


def custom(stack: Rehearsed, api_version: str, kind: str, spec: dict[str, Any]) -> None:
    declare(stack, CustomResource, api_version=api_version, kind=kind, metadata={"name": "it"}, spec=spec)


DEPLOYMENT_SPEC: dict[str, Any] = {
    "selector": {"matchLabels": every_kind.LABELS},
    "template": {"metadata": {"labels": every_kind.LABELS}, "spec": {"containers": [{"name": "a", "image": "b"}]}},
}


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "reason"),
    [
        ("apps/v1", "Deployment", {**DEPLOYMENT_SPEC, "replica": 1}, "spec.replica: unknown field"),
        ("apps/v1", "Deployment", {**DEPLOYMENT_SPEC, "replicas": "two"}, "spec.replicas"),
        ("apps/v1", "Deployment", {"template": DEPLOYMENT_SPEC["template"]}, "spec.selector: "),
        ("ray.io/v1", "RayService", {"rayClusterConfg": {}}, "spec.rayClusterConfg: unknown field"),
        ("ray.io/v1", "RayService", {"upgradeStrategy": {"type": "Rolling"}}, "spec.upgradeStrategy.type: Rolling"),
        ("karpenter.sh/v1", "NodePool", {"limits": {"cpu": "1"}}, "spec.template: Required"),
        ("monitoring.coreos.com/v1", "ServiceMonitor", {"endpoints": "all"}, "spec.endpoints"),
        ("ray.io/v9", "RayService", {}, "the API server has no RayService in ray.io/v9; it has it in ray.io/v1"),
        ("example.com/v1", "Thing", {}, "no definition that is installed has it"),
        ("v1", "ConfigMapList", {}, "has no List resources"),
    ],
)
def test_what_the_server_would_not_take_is_named_in_the_preview(
    stack: Rehearsed, api_version: str, kind: str, spec: dict[str, Any], reason: str
) -> None:
    custom(stack, api_version, kind, spec)
    outcome = stack.run("preview")
    assert outcome.failed
    assert reason in outcome.text


def test_serve_configuration_is_judged_in_the_preview(stack: Rehearsed) -> None:
    serve = every_kind.SERVE.replace("/v2", "v2")
    custom(stack, "ray.io/v1", "RayService", {"serveConfigV2": serve, "rayClusterConfig": every_kind.RAY_CLUSTER})
    outcome = stack.run("preview")
    assert outcome.failed
    assert "spec.serveConfigV2: applications.0.route_prefix: v2 must begin with /" in outcome.text


def test_pods_that_their_namespace_would_refuse_are_an_error_before_the_workload_is_there(stack: Rehearsed) -> None:
    def program() -> None:
        provider = every_kind.provider(stack.kubeconfig)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = k8s.core.v1.Namespace(
            "n", metadata={"name": "strict", "labels": labels}, opts=ResourceOptions(provider=provider)
        )
        k8s.apps.v1.Deployment(
            "it",
            metadata={"name": "it", "namespace": namespace.metadata.name},
            spec=DEPLOYMENT_SPEC,
            opts=ResourceOptions(provider=provider),
        )

    stack.program = program
    outcome = stack.run("up")
    assert outcome.failed
    assert "its pods would be refused" in outcome.text
    assert 'violates PodSecurity "restricted:latest"' in outcome.text
    assert stack.server.client.get(DEPLOYMENT, "strict", "it") is None


def test_secret_values_are_in_no_message(stack: Rehearsed) -> None:
    def program() -> None:
        k8s.core.v1.Secret(
            "it",
            metadata={"name": "it"},
            type="kubernetes.io/dockerconfigjson",
            string_data={".dockerconfigjson": pulumi.Output.secret("hush-hush-no-json")},
            opts=ResourceOptions(provider=every_kind.provider(stack.kubeconfig)),
        )

    stack.program = program
    outcome = stack.run("up")
    assert outcome.failed
    assert "data[.dockerconfigjson]" in outcome.text
    assert "hush-hush" not in outcome.text


def config_maps(stack: Rehearsed, count: int, value: str = "1") -> None:
    def program() -> None:
        provider = every_kind.provider(stack.kubeconfig)
        last = None
        for number in range(count):
            options = ResourceOptions(provider=provider, depends_on=[last] if last else [])
            last = k8s.core.v1.ConfigMap(
                f"map-{number}", metadata={"name": f"map-{number}"}, data={"a": value}, opts=options
            )

    stack.program = program


def test_changed_data_takes_a_new_object(stack: Rehearsed) -> None:
    config_maps(stack, 1)
    stack.run("up")
    config_maps(stack, 1, "2")
    outcome = stack.run("up")
    assert outcome.changes["replace"] == 1, outcome.text
    stored = stack.server.client.get(CONFIG_MAP, "default", "map-0")
    assert stored
    assert stored["data"] == {"a": "2"}


def test_object_of_somebody_else_is_not_taken_over(stack: Rehearsed) -> None:
    client = stack.server.client
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map-0"}}
    client.request("POST", "/api/v1/namespaces/default/configmaps", params={"fieldManager": "helm"}, body=body)
    config_maps(stack, 1)
    outcome = stack.run("up")
    assert outcome.failed
    assert "exists already and is not this program's" in outcome.text
    client.delete(CONFIG_MAP, "default", "map-0")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_plugin_that_crashes_half_way_is_mended_by_the_next_up(stack: Rehearsed, moment: str) -> None:
    config_maps(stack, 3)
    faults.inject(stack.faults, "create", "kubernetes:core/v1:ConfigMap", moment=moment, effect="crash")
    broken = stack.run("up")
    assert broken.failed
    mended = stack.run("up")
    assert not mended.failed, mended.text
    assert set(stack.run("preview").changes) == {"same"}
    assert stack.server.counts()["ConfigMap"] == 3
    stack.run("destroy")
    assert stack.server.leftovers() == []


def test_refused_call_is_told_and_the_next_up_goes_on(stack: Rehearsed) -> None:
    config_maps(stack, 2)
    faults.inject(stack.faults, "create", "kubernetes:core/v1:ConfigMap")
    broken = stack.run("up")
    assert broken.failed
    assert "was refused: this is a fault that the rehearsal injected" in broken.text
    assert not stack.run("up").failed


def test_api_server_that_goes_away_half_way_is_told_and_the_next_up_goes_on(stack: Rehearsed) -> None:
    gone: list[str] = []

    def goes_away(made: str) -> dict[str, str]:
        if not gone:
            stack.server.stop()
        gone.append(made)
        return {"a": "1"}

    def program() -> None:
        opts = ResourceOptions(provider=every_kind.provider(stack.kubeconfig))
        first = k8s.core.v1.ConfigMap("map-0", metadata={"name": "map-0"}, data={"a": "1"}, opts=opts)
        k8s.core.v1.ConfigMap("map-1", metadata={"name": "map-1"}, data=first.id.apply(goes_away), opts=opts)

    stack.program = program
    try:
        broken = stack.run("up")
    finally:
        stack.server.start()
    assert broken.failed
    assert gone == ["default/map-0"], "it went once the first object was made"
    assert f"the Kubernetes API server at {stack.server.url} does not answer" in broken.text
    after = stack.run("up")
    assert not after.failed, after.text
    assert after.changes.get("create") == 1, "what was made before stays"


def test_what_was_deleted_by_hand_comes_back_after_a_refresh(stack: Rehearsed) -> None:
    config_maps(stack, 2)
    stack.run("up")
    stack.server.client.delete(CONFIG_MAP, "default", "map-1")
    assert stack.run("refresh").changes.get("delete") == 1
    assert stack.run("up").changes["create"] == 1


def test_namespace_takes_what_others_put_into_it_along(stack: Rehearsed) -> None:
    declare(stack, k8s.core.v1.Namespace, metadata={"name": "team"})
    stack.run("up")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "by-hand"}}
    stack.server.client.create(CONFIG_MAP, "team", body)
    outcome = stack.run("destroy")
    assert "1 objects went with namespace team: ConfigMap by-hand" in outcome.text
    assert stack.server.leftovers() == []


def test_cluster_elsewhere_is_refused_before_anything_is_touched(stack: Rehearsed) -> None:
    kubeconfig = stack.kubeconfig
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://10.0.0.1:443"

    def program() -> None:
        k8s.core.v1.ConfigMap("it", data={}, opts=ResourceOptions(provider=every_kind.provider(kubeconfig)))

    stack.program = program
    outcome = stack.run("up")
    assert outcome.failed
    assert "never talks to a cluster" in outcome.text
