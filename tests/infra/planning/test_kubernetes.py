"""The `kubernetes` provider of a plan: names, replacements and releases without an API server."""

from __future__ import annotations

from typing import Any

import pytest

from infra.provider.codec import UNKNOWN
from tests.infra.planning.conftest import Client

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
RELEASE = "kubernetes:helm.sh/v3:Release"


def _deployment(**metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}}}


def test_an_object_gets_kind_namespace_and_the_same_name_each_time(kubernetes: Client) -> None:
    first, reasons = kubernetes.check(DEPLOYMENT, "registry", _deployment())
    second, _ = kubernetes.check(DEPLOYMENT, "registry", _deployment())
    assert reasons == []
    assert first["kind"] == "Deployment"
    assert first["metadata"]["namespace"] == "default"
    assert first["metadata"]["name"] == second["metadata"]["name"]


def test_a_namespace_of_what_belongs_to_none_is_refused(kubernetes: Client) -> None:
    _, reasons = kubernetes.check(
        "kubernetes:karpenter.sh/v1:NodePool", "gpu", {"metadata": {"name": "gpu", "namespace": "x"}}
    )
    assert any("belongs to no namespace" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"metadata": {"name": "b", "namespace": "x"}}, True),
        ({"metadata": {"name": "a", "namespace": "y"}}, True),
        ({"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "b"}}}}, True),
        ({"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "a"}}}}, False),
    ],
)
def test_what_cannot_change_takes_a_new_object(kubernetes: Client, change: dict[str, Any], replaces: bool) -> None:
    old = _deployment(name="a", namespace="x")
    found = kubernetes.diff(DEPLOYMENT, "registry", old, {**old, **change})
    assert bool(found.replaces) is replaces
    assert found.diffs


def test_an_upgrade_that_kuberay_would_refuse_is_refused(kubernetes: Client) -> None:
    service = {"metadata": {"name": "serve"}, "spec": {"upgradeStrategy": {"type": "Sideways"}, "rayClusterConfig": {}}}
    _, reasons = kubernetes.check("kubernetes:ray.io/v1:RayService", "serve", service)
    assert any("Sideways" in reason for reason in reasons)


def test_a_chart_is_promised_in_a_preview_and_made_up_otherwise(kubernetes: Client) -> None:
    inputs = {"chart": "oci://x/y", "version": "1.0.0", "name": "y", "namespace": "z"}
    _, promised = kubernetes.create(RELEASE, "y", inputs, preview=True)
    identity, made = kubernetes.create(RELEASE, "y", inputs)
    assert promised["status"]["revision"] is UNKNOWN
    assert made["status"]["revision"] == 1
    assert identity == "z/y"
