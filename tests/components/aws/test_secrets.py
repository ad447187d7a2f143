"""Secrets on AWS: never in plain, and copied to those who need them only."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from components.cloud import Cloud
from components.secrets import Secret, SecretArgs, SecretStores, SecretStoresArgs
from components.testing import Recording

Run = Callable[[Callable[[], Any]], Recording]
COPY = "kubernetes:external-secrets.io/v1:ExternalSecret"


def made(cloud: Cloud, run: Run) -> Recording:
    args = SecretArgs(cloud=cloud, purpose="ray-token", what="A token", key="KEY", namespaces=["serving", "training"])
    return run(lambda: Secret("ray-token", args))


def test_the_value_is_a_secret_everywhere(cloud: Cloud, run: Run) -> None:
    found = made(cloud, run)

    version = found.only("aws:secretsmanager/secretVersion:SecretVersion")
    assert version.inputs["secretString"] == "TOKEN-ray-token"
    assert "secretString" in version.secrets
    assert "value" in found.only("blueprint:index:Token").secret_outputs
    component = found.only("mlops:secrets:Secret")
    assert component.outputs_secret == {"value"}
    plain = [entry for entry in found if "TOKEN-ray-token" in str(entry.inputs) and entry is not version]
    assert plain == []


def test_it_is_encrypted_and_can_be_brought_back_where_protected(cloud: Cloud, run: Run) -> None:
    kept = made(cloud, run).only("aws:secretsmanager/secret:Secret").inputs
    assert (kept["name"], kept["kmsKeyId"], kept["recoveryWindowInDays"]) == ("acme/prod/ray-token", "KEY", 30)

    kept = made(replace(cloud, protected=False), run).only("aws:secretsmanager/secret:Secret").inputs
    assert kept["recoveryWindowInDays"] == 0


def test_each_namespace_that_needs_it_gets_a_copy_once_it_is_there(cloud: Cloud, run: Run) -> None:
    found = made(cloud, run)

    copies = found.of_type(COPY)
    assert {entry.inputs["metadata"]["namespace"] for entry in copies.values()} == {"serving", "training"}
    for entry in copies.values():
        assert entry.inputs["spec"]["data"] == [{"secretKey": "value", "remoteRef": {"key": "acme/prod/ray-token"}}]
        assert found.waits_for(entry, found.only("aws:secretsmanager/secretVersion:SecretVersion"))


def test_stores_use_the_role_of_the_operator(cloud: Cloud, run: Run) -> None:
    found = run(lambda: SecretStores("stores", SecretStoresArgs(cloud=cloud, namespaces=["serving"])))

    (store,) = found.of_type("kubernetes:external-secrets.io/v1:SecretStore").values()
    assert store.inputs["spec"]["provider"] == {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}
