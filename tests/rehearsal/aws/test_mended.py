"""Faults of moto that are mended: a right program must leave nothing behind."""

import boto3
import pytest
from moto import mock_aws

from infra.rehearsal.aws.gaps.mended import mend


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
