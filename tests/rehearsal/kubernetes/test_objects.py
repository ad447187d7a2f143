"""From a resource of the program to an object of the API and back."""

import re
from typing import Any

import pytest

from infra.provider.codec import UNKNOWN, Secret
from infra.rehearsal.kubernetes import objects
from infra.rehearsal.kubernetes.objects import AUTONAMED, Target
from infra.rehearsal.properties import show

DEPLOYMENT = Target("apps/v1", "Deployment")
CONFIG_MAP = Target("v1", "ConfigMap")


@pytest.mark.parametrize(
    ("token", "target"),
    [
        ("kubernetes:core/v1:Namespace", Target("v1", "Namespace")),
        ("kubernetes:apps/v1:Deployment", DEPLOYMENT),
        ("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", Target("rbac.authorization.k8s.io/v1", "ClusterRole")),
        ("kubernetes:ray.io/v1:RayService", Target("ray.io/v1", "RayService")),
    ],
)
def test_token_means_a_kind_of_object(token: str, target: Target) -> None:
    assert Target.of(token) == target


@pytest.mark.parametrize("token", ["aws:ec2:Vpc", "kubernetes:Deployment", "kubernetes"])
def test_other_tokens_are_refused(token: str) -> None:
    with pytest.raises(ValueError, match="is no resource of this provider"):
        Target.of(token)


def identified(inputs: dict[str, Any], old: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    return objects.identified(inputs, old or {}, DEPLOYMENT, "gateway-1a2b3c4d", "default")


def test_object_without_a_name_gets_one_and_keeps_it() -> None:
    first, problems = identified({"spec": {}})
    assert problems == []
    assert first["metadata"] == {
        "name": "gateway-1a2b3c4d",
        "namespace": "default",
        "annotations": {AUTONAMED: "true"},
    }
    later, _ = objects.identified({"spec": {"replicas": 2}}, first, DEPLOYMENT, "gateway-ffffffff", "default")
    assert later["metadata"] == first["metadata"]


def test_name_of_the_program_wins_over_an_earlier_one() -> None:
    old, _ = identified({})
    new, _ = identified({"metadata": {"name": "mine"}}, old)
    assert new["metadata"] == {"name": "mine", "namespace": "default"}


def test_unknown_name_is_left_alone() -> None:
    checked, problems = identified({"metadata": {"name": UNKNOWN, "namespace": UNKNOWN}})
    assert problems == []
    assert checked["metadata"] == {"name": UNKNOWN, "namespace": UNKNOWN}


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"kind": "StatefulSet"}, "kind: StatefulSet is not the Deployment"),
        ({"apiVersion": "apps/v2"}, "apiVersion: apps/v2 is not the apps/v1"),
        (
            {"metadata": {"annotations": {"pulumi.com/patchFroce": "true"}}},
            r"metadata\.annotations\[pulumi\.com/patchF",
        ),
        ({"metadata": {"generateName": "x-"}}, "generateName"),
        ({"metadata": "x"}, "metadata: must be an object"),
    ],
)
def test_wrong_identity_is_named(inputs: dict[str, Any], reason: str) -> None:
    _, problems = identified(inputs)
    assert len(problems) == 1
    assert re.search(reason, problems[0])


def test_kind_without_namespaces_takes_none() -> None:
    inputs = {"metadata": {"name": "x", "namespace": "y"}}
    _, problems = objects.identified(inputs, {}, Target("v1", "Namespace"), "n", None)
    assert problems == ["metadata.namespace: a Namespace belongs to no namespace"]


def fixed(target: Target, old: dict[str, Any], new: dict[str, Any], *, mutable: bool = False) -> list[str]:
    _, paths = objects.replaced(target, old, new, mutable_config_maps=mutable, mutable_secrets=mutable)
    return [show(path) for path in paths]


def test_selector_takes_a_new_object_and_replicas_do_not() -> None:
    old = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}}}
    assert fixed(DEPLOYMENT, old, {"spec": {**old["spec"], "replicas": 2}}) == []
    new = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "b"}}}}
    assert fixed(DEPLOYMENT, old, new) == ["spec.selector.matchLabels.app"]


def test_template_of_a_job_takes_a_new_job() -> None:
    old, new = ({"spec": {"template": {"spec": {"containers": [{"image": image}]}}}} for image in "ab")
    assert fixed(Target("batch/v1", "Job"), old, new) == ["spec.template.spec.containers[0].image"]
    assert fixed(DEPLOYMENT, old, new) == []


def test_data_is_replaced_unless_it_may_change() -> None:
    old, new = {"data": {"a": "1"}}, {"data": {"a": "2"}}
    assert fixed(CONFIG_MAP, old, new) == ["data.a"]
    assert fixed(CONFIG_MAP, old, new, mutable=True) == []
    assert fixed(Target("v1", "Secret"), old, new) == ["data.a"]


def test_another_namespace_takes_a_new_object() -> None:
    old, new = ({"metadata": {"name": "x", "namespace": namespace}} for namespace in "ab")
    assert fixed(DEPLOYMENT, old, new) == ["metadata.namespace"]


def test_state_keeps_secrets_and_drops_what_changes_by_itself() -> None:
    inputs = {"metadata": {"name": "x"}, "stringData": {"a": Secret("hush")}, "spec": {"key": Secret("hush")}}
    found = {
        "kind": "Secret",
        "metadata": {"name": "x", "uid": "1", "resourceVersion": "7", "managedFields": [1], "generation": 2},
        "data": {"a": "aHVzaA=="},
        "spec": {"key": "hush"},
    }
    state = objects.state(inputs, found)
    assert state["metadata"] == {"name": "x", "uid": "1"}
    assert state["data"] == Secret({"a": "aHVzaA=="})
    assert state["spec"] == {"key": Secret("hush")}


def test_text_of_a_secret_that_was_changed_by_hand_is_wanted_again() -> None:
    inputs = {"stringData": {"a": Secret("hush"), "b": Secret("quiet")}}
    looked_up = objects.looked_up(
        inputs, {"data": {"a": "aHVzaA==", "b": "cXVpZXQ="}}, {"data": {"a": "eA==", "b": "cXVpZXQ="}}
    )
    assert looked_up == {"stringData": Secret({"b": "quiet"})}


def test_identity_is_namespace_and_name() -> None:
    assert objects.identity({"metadata": {"name": "x", "namespace": "y"}}) == "y/x"
    assert objects.identity({"metadata": {"name": "x"}}) == "x"
