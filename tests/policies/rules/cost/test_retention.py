"""What is kept: logs, captures and old versions of objects, none of them for ever."""

import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.cost.retention import capture_retention_bounded, log_retention_bounded, old_versions_expire
from policies.testing import admit, deny, resource, skip, undetermined, unknown


def logs(days: Any) -> Resource:
    return resource("aws:cloudwatch/logGroup:LogGroup", "logs", retentionInDays=days)


@pytest.mark.parametrize("days", [1, 30, 731])
def test_logs_of_a_bounded_time_are_admitted(days: int) -> None:
    admit(log_retention_bounded, logs(days))


@pytest.mark.parametrize(("days", "says"), [(None, "for ever"), (0, "for ever"), (732, "for 732 days")])
def test_logs_that_stay_are_denied(days: Any, says: str) -> None:
    deny(log_retention_bounded, logs(days), says=[says, "allowed: 1 to 731 days"], path="retentionInDays")


def test_logs_of_an_unknown_time_cannot_be_told() -> None:
    undetermined(log_retention_bounded, logs(unknown()), path="retentionInDays")


def serving(capture: Any) -> Resource:
    text = capture if not isinstance(capture, dict) else json.dumps({"capture": capture})
    annotations = {} if text is None else {"mlops/serving.json": text}
    head = {"template": {"metadata": {"annotations": annotations}}}
    return resource("kubernetes:ray.io/v1:RayService", "inference", spec={"rayClusterConfig": {"headGroupSpec": head}})


@pytest.mark.parametrize(
    "capture", [{"enabled": True, "retentionDays": 1}, {"enabled": True, "retentionDays": 731}, {"enabled": False}]
)
def test_captures_of_a_bounded_time_are_admitted(capture: dict[str, Any]) -> None:
    admit(capture_retention_bounded, serving(capture))


@pytest.mark.parametrize(
    ("capture", "says"),
    [
        ({"enabled": True}, "for ever"),
        ({"enabled": True, "retentionDays": 0}, "for ever"),
        ({"enabled": True, "retentionDays": 732}, "for 732 days"),
        ({}, "for ever"),
        (None, "no annotation mlops/serving.json"),
    ],
)
def test_captures_that_stay_are_denied(capture: Any, says: str) -> None:
    deny(capture_retention_bounded, serving(capture), says=says)


def test_captures_that_are_not_known_cannot_be_told() -> None:
    undetermined(capture_retention_bounded, serving(unknown()))


def bucket() -> Resource:
    return resource("aws:s3/bucket:Bucket", "data", bucket="acme-data")


def cycle(of: Resource, rules: Any) -> Resource:
    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    return resource(kind, "data", bucket=of, rules=rules)


EXPIRES = {
    "status": "Enabled", "filter": {"prefix": ""}, "noncurrentVersionExpiration": {"noncurrentDays": 90},
}  # fmt: skip


@pytest.mark.parametrize("rule", [EXPIRES, {**EXPIRES, "filter": None}])
def test_bucket_that_forgets_old_versions_is_admitted(rule: dict[str, Any]) -> None:
    data = bucket()
    admit(old_versions_expire, data, cycle(data, [{"status": "Disabled"}, rule]))


@pytest.mark.parametrize(
    "rule",
    [
        {**EXPIRES, "status": "Disabled"},
        {**EXPIRES, "filter": {"prefix": "logs/"}},
        {**EXPIRES, "noncurrentVersionExpiration": None},
        {**EXPIRES, "noncurrentVersionExpiration": {"noncurrentDays": 0}},
    ],
)
def test_bucket_that_keeps_them_is_denied(rule: dict[str, Any]) -> None:
    data = bucket()
    deny(old_versions_expire, data, cycle(data, [rule]), at=data, says="no rule of its lifecycle")


def test_bucket_without_a_lifecycle_or_with_that_of_another_is_denied() -> None:
    data, other = bucket(), resource("aws:s3/bucket:Bucket", "other", bucket="other")
    deny(old_versions_expire, data)
    deny(old_versions_expire, data, other, cycle(other, [EXPIRES]), at=data)


def test_lifecycle_that_is_not_known_cannot_be_told() -> None:
    data = bucket()
    undetermined(old_versions_expire, data, cycle(data, unknown()))


def test_plan_without_them_is_none_of_their_business() -> None:
    key = resource("aws:kms/key:Key", "data")
    for rule in (log_retention_bounded, capture_retention_bounded, old_versions_expire):
        skip(rule, key)


def test_a_day_is_enough_for_old_versions() -> None:
    data = resource("aws:s3/bucket:Bucket", "data")
    rule = {"status": "Enabled", "noncurrentVersionExpiration": {"noncurrentDays": 1}}
    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    admit(old_versions_expire, data, resource(kind, "data", bucket=data, rules=[rule]))
