"""Inference on AWS: what is there before images are, and in which form secrets reach their readers."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components.cloud import Cloud
from components.identity import matrix
from components.inference import Batching, Capture, Limits, groups
from components.inference.aws import WHAT, AwsInference, AwsInferenceArgs, feature_access, registry_access
from components.models import Model, Replicas
from components.pipelines import drift
from components.testing import Recording, record
from serving.control.drift import object_name
from tests.components.aws.conftest import answer
from tests.components.aws.test_inference import of_kind, section


def answered(token: str, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    if token == "blueprint:index:Token":
        return {"value": f"TOKEN-{name}"}
    return answer(token, name, inputs)


@pytest.fixture
def inference(cloud: Cloud) -> Callable[..., Recording]:
    def make(digest: str | None, *, retrained: bool = False, **capture: Any) -> Recording:
        stated = {"enabled": False, "rotate_seconds": 60, "rotate_rows": 1, "retention_days": 1, "queue_rows": 1}
        args = AwsInferenceArgs(
            cloud=cloud,
            environment="prod",
            section=section(),
            digest=digest,
            network_cidr="10.22.0.0/16",
            control_cidrs=["10.22.216.0/21"],
            data_key="arn:aws:kms:eu-central-1:333333333333:key/d",
            secrets_key="KEY",
            database_host="db.example",
            database_secret="SECRET",
            registry=registry_access("http://registry", "mlops"),
            features=feature_access("http://features", 100),
            limits=Limits(max_body_bytes=2000, max_rows=10, request_seconds=10),
            capture=Capture(**(stated | capture)),
            batching=Batching(max_rows=64, wait_ms=0),
            groups=groups([], Replicas()),
            rollout_timeout_seconds=600,
            retrained=retrained,
        )
        return record(lambda: AwsInference("inference", args), answered)

    return make


def test_without_an_image_there_are_secrets_and_no_servers(inference: Callable[[str | None], Recording]) -> None:
    made = inference(None)

    assert not of_kind(made, "RayService")
    assert not made.of_type("kubernetes:apps/v1:Deployment")
    assert set(made.of_type("aws:secretsmanager/secret:Secret")) == set(WHAT)


def test_servers_run_the_environments_own_image_and_wait_for_secrets(
    inference: Callable[[str | None], Recording],
) -> None:
    made = inference("sha256:1")

    service = of_kind(made, "RayService")["inference"]
    container = service.inputs["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/prod/serving@sha256:1"
    for secret in of_kind(made, "ExternalSecret").values():
        assert made.waits_for(service, secret)


def test_secrets_have_the_keys_that_their_readers_look_for(inference: Callable[[str | None], Recording]) -> None:
    found = of_kind(inference(None), "ExternalSecret")

    keys = {name: set(one.inputs["spec"]["target"].get("template", {}).get("data", {})) for name, one in found.items()}
    assert keys["ray-auth"] == {"auth_token"}
    assert keys["predict-credential"] == {"credential"}
    assert keys["predict-tls"] == {"tls.crt", "tls.key"}
    address = found["database-url"].inputs["spec"]["target"]["template"]["data"]["value"]
    assert address.endswith("@db.example:5432/mlops?sslmode=require")


def test_captures_go_to_a_bucket_that_forgets_them_in_time(cloud: Cloud, inference: Callable[..., Recording]) -> None:
    made = inference("sha256:1", enabled=True, retention_days=365)

    bucket = made.of_type("aws:s3/bucket:Bucket")["captures"]
    rules = made.of_type("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")["captures"].inputs["rules"]
    assert {"prefix": "captures/"} in [rule["filter"] for rule in rules if rule.get("expiration") == {"days": 365}]
    config = of_kind(made, "RayService")["inference"].inputs["spec"]["rayClusterConfig"]
    for group in (config["headGroupSpec"], *config["workerGroupSpecs"]):
        document = json.loads(group["template"]["metadata"]["annotations"]["mlops/serving.json"])
        assert document["capture"]["enabled"] is True
        assert (
            document["capture"]["store"]
            == f"s3://{bucket.inputs['bucket']}/captures?region={cloud.region}&allow_delayed_open=true"
        )
    # The controller joins labels with what lies there.
    control = json.loads(of_kind(made, "ConfigMap")["control"].inputs["data"]["etc.mlops.control.json"])
    assert control["captures"] == {"store": document["capture"]["store"], "retentionDays": 365}
    # Under Object Lock, which its own disk does not have.
    audit = cloud.names.bucket("audit")
    assert control["ledger"]["store"] == f"s3://{audit}/ledger?region={cloud.region}&allow_delayed_open=true"


def test_without_captures_there_is_no_bucket(inference: Callable[..., Recording]) -> None:
    assert not inference("sha256:1").of_type("aws:s3/bucket:Bucket")


@pytest.mark.parametrize("retrained", [True, False])
def test_drift_is_put_where_rules_listen_if_something_trains(
    cloud: Cloud, inference: Callable[..., Recording], retrained: bool
) -> None:
    made = inference("sha256:1", retrained=retrained)

    control = json.loads(of_kind(made, "ConfigMap")["control"].inputs["data"]["etc.mlops.control.json"])
    place = f"{cloud.names.bucket(drift.BUCKET)}/{drift.PREFIX}"
    wanted = f"s3://{place}?region={cloud.region}&allow_delayed_open=true"
    assert control["driftStore"] == (wanted if retrained else None)
    # The rules see what lies below this, and the controller may put just there.
    [pattern] = drift.pattern(cloud, Model(name="loan", folder="models/loan"))["detail"]["object"]["key"]
    assert pattern == {"prefix": f"{drift.PREFIX}/{object_name('loan', 'a').partition('/')[0]}/"}
    resources = [one["Resource"] for one in matrix.statements(matrix.identity("control"), cloud)]
    assert f"arn:aws:s3:::{place}/*" in resources
