"""An alarm of drift that the controller puts becomes an event of the environment's rule, and starts no other model."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlparse

import pytest

from components.cloud import Cloud
from components.models import Model
from components.naming import Names
from components.pipelines import drift
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.moto import MotoServer
from serving.control.drift import DriftStore, object_name
from tests.rehearsal.conftest import ACCOUNT

pytestmark = pytest.mark.slow

REGION = "eu-central-1"
FLIGHT = Model(name="flight", folder="models/flight")


@pytest.fixture
def cloud() -> Cloud:
    names = Names(client="acme", environment="drift", account=ACCOUNT, region=REGION)
    return Cloud(stack="drift", names=names, partition="aws", tags={}, protected=False, project=".")


@pytest.fixture
def store(cloud: Cloud, aws: Aws, aws_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriftStore]:
    """The bucket of data, which tells EventBridge, as the controller reaches it."""
    bucket = cloud.names.bucket(drift.BUCKET)
    aws.call("s3", "create_bucket", {
        "Bucket": bucket, "CreateBucketConfiguration": {"LocationConstraint": REGION},
    })  # fmt: skip
    notified: dict[str, Any] = {"EventBridgeConfiguration": {}}
    aws.call("s3", "put_bucket_notification_configuration", {"Bucket": bucket, "NotificationConfiguration": notified})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    host = urlparse(aws_server.url).netloc
    options = f"region={REGION}&allow_delayed_open=true&scheme=http&endpoint_override={host}"
    yield DriftStore(f"s3://{bucket}/{drift.PREFIX}?{options}")
    for one in aws.call("s3", "list_objects_v2", {"Bucket": bucket}).get("Contents", []):
        aws.call("s3", "delete_object", {"Bucket": bucket, "Key": one["Key"]})
    aws.call("s3", "delete_bucket", {"Bucket": bucket})


def heard(aws: Aws, queue: str) -> list[dict[str, Any]]:
    found = aws.call("sqs", "receive_message", {"QueueUrl": queue, "MaxNumberOfMessages": 10}).get("Messages", [])
    return [json.loads(one["Body"]) for one in found]


def test_an_alarm_that_is_put_starts_its_own_model_only(cloud: Cloud, aws: Aws, store: DriftStore) -> None:
    # moto knows no pipeline as a target of a rule: a queue hears in its place.
    queue = aws.call("sqs", "create_queue", {"QueueName": "drift"})["QueueUrl"]
    aws.call("events", "put_rule", {"Name": "drift", "EventPattern": json.dumps(drift.pattern(cloud, FLIGHT))})
    target = {"Id": "queue", "Arn": cloud.arn("sqs", "drift")}
    aws.call("events", "put_targets", {"Rule": "drift", "Targets": [target]})

    store.put(object_name("flight-delay", "monday"), "{}")
    assert heard(aws, queue) == []
    store.put(object_name("flight", "monday"), "{}")

    [event] = heard(aws, queue)
    assert event["detail"]["object"]["key"] == f"{drift.PREFIX}/{object_name('flight', 'monday')}"
