"""Faults of moto that are mended: a right program must leave nothing behind."""

from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.rehearsal.aws.gaps.mended import mend, mend_notifications


@pytest.mark.slow
def test_a_database_that_is_changed_keeps_its_one_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        mend()
        rds, secrets = (boto3.client(service, region_name="eu-central-1") for service in ("rds", "secretsmanager"))
        rds.create_db_instance(
            DBInstanceIdentifier="one",
            DBInstanceClass="db.t4g.medium",
            Engine="postgres",
            MasterUsername="mlops",
            AllocatedStorage=20,
            ManageMasterUserPassword=True,
        )
        (before,) = secrets.list_secrets()["SecretList"]

        rds.modify_db_instance(DBInstanceIdentifier="one", ManageMasterUserPassword=True, BackupRetentionPeriod=3)

        assert [secret["ARN"] for secret in secrets.list_secrets()["SecretList"]] == [before["ARN"]]
        rds.delete_db_instance(DBInstanceIdentifier="one", SkipFinalSnapshot=True)
        assert secrets.list_secrets()["SecretList"] == []


@pytest.mark.parametrize("beside", [True, False])
def test_a_bucket_tells_whether_it_tells_eventbridge(monkeypatch: pytest.MonkeyPatch, beside: bool) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    topic = {"TopicArn": "arn:aws:sns:us-east-1:123456789012:one", "Events": ["s3:ObjectRemoved:*"]}
    others: dict[str, Any] = {"TopicConfigurations": [topic]} if beside else {}
    with mock_aws():
        mend_notifications()
        boto3.client("sns", region_name="us-east-1").create_topic(Name="one")
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="bucket-one")

        found = []
        for stated in ({"EventBridgeConfiguration": {}, **others}, others):
            s3.put_bucket_notification_configuration(Bucket="bucket-one", NotificationConfiguration=stated)
            found.append(s3.get_bucket_notification_configuration(Bucket="bucket-one"))

    assert ["EventBridgeConfiguration" in one for one in found] == [True, False]
    assert [len(one.get("TopicConfigurations", [])) for one in found] == [len(others)] * 2
