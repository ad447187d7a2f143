"""The feature store on AWS: one contract over two kinds of online store, both encrypted and recoverable."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from components.cloud import Cloud
from components.feature_store.aws import AwsFeatureStore, AwsFeatureStoreArgs
from components.testing import Recording

Run = Callable[[Callable[[], Any]], Recording]
TABLE, GROUP = "aws:dynamodb/table:Table", "aws:sagemaker/featureGroup:FeatureGroup"


@pytest.fixture
def store(cloud: Cloud, run: Run) -> Callable[..., Recording]:
    def make(**changes: Any) -> Recording:
        stated: dict[str, Any] = {
            "cloud": cloud,
            "kind": "feast",
            "replicas": 2,
            "image": "IMAGE",
            "data_key": "DATA",
            "secrets_key": "SECRETS",
            "group_role": "ROLE",
            "clients": ["serving"],
        }
        return run(lambda: AwsFeatureStore("feature-store", AwsFeatureStoreArgs(**(stated | changes))))

    return make


def test_the_table_is_encrypted_recoverable_and_protected(store: Callable[..., Recording]) -> None:
    table = store().only(TABLE).inputs

    assert table["serverSideEncryption"] == {"enabled": True, "kmsKeyArn": "DATA"}
    assert table["pointInTimeRecovery"] == {"enabled": True}
    assert table["deletionProtectionEnabled"] is True


def test_an_environment_without_protection_can_be_destroyed(cloud: Cloud, store: Callable[..., Recording]) -> None:
    assert store(cloud=replace(cloud, protected=False)).only(TABLE).inputs["deletionProtectionEnabled"] is False


def test_the_group_keeps_online_and_offline_encrypted(store: Callable[..., Recording]) -> None:
    made = store(kind="sagemaker")

    group = made.only(GROUP).inputs
    assert not made.of_type(TABLE)
    assert group["onlineStoreConfig"] == {"enableOnlineStore": True, "securityConfig": {"kmsKeyId": "DATA"}}
    offline = group["offlineStoreConfig"]["s3StorageConfig"]
    assert offline == {"s3Uri": "s3://acme-prod-features-333333333333-eu-central-1/groups/", "kmsKeyId": "DATA"}
    names = {one["featureName"] for one in group["featureDefinitions"]}
    assert {group["recordIdentifierFeatureName"], group["eventTimeFeatureName"]} < names


@pytest.mark.parametrize(
    ("kind", "variable"), [("feast", "MLOPS_FEATURES_TABLE"), ("sagemaker", "MLOPS_FEATURES_GROUP")]
)
def test_the_kind_changes_nothing_but_where_the_server_looks(
    store: Callable[..., Recording], kind: str, variable: str
) -> None:
    made = store(kind=kind)

    component = made.only("mlops:feature_store:AwsFeatureStore")
    assert component.outputs is not None
    assert component.outputs["url"] == "http://feature-store.feature-store.svc:6566"
    assert component.outputs_secret == {"token"}
    server = made.only("kubernetes:apps/v1:Deployment")
    (container,) = server.inputs["spec"]["template"]["spec"]["containers"]
    found = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert found[variable] == "acme-prod-features"
    assert found["MLOPS_FEATURES_BUCKET"] == "acme-prod-features-333333333333-eu-central-1"
    assert made.waits_for(
        server, made.of_type("kubernetes:external-secrets.io/v1:ExternalSecret")["features-token-serving"]
    )


def test_without_an_image_there_is_all_but_the_server(store: Callable[..., Recording]) -> None:
    made = store(image=None)

    assert not made.of_type("kubernetes:apps/v1:Deployment")
    assert len(made.of_type(TABLE)) == 1
