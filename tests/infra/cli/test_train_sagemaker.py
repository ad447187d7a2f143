"""`mlops train` where SageMaker trains: one execution of the model's pipeline, in the stack's own account."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from infra.cli.output import CommandFailed
from infra.cli.train_sagemaker import start

ACCOUNT, REGION, NAME = "123456789012", "eu-central-1", "acme-staging-training-flight-delay"
ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{NAME}"


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """SageMaker of the account, with the model's pipeline."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("sagemaker", region_name=REGION)
        role = f"arn:aws:iam::{ACCOUNT}:role/acme-staging-training"
        client.create_pipeline(PipelineName=NAME, PipelineDefinition="{}", RoleArn=role, ClientRequestToken="x" * 32)
        yield client


def executions(sagemaker: Any) -> list[str]:
    found = sagemaker.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]
    return [one["PipelineExecutionArn"] for one in found]


def test_an_execution_is_started(sagemaker: Any) -> None:
    started = start("staging", "flight-delay", ARN)

    assert executions(sagemaker) == [started["execution"]]
    assert started["execution"].startswith(f"{ARN}/execution/")
    assert started["execution"] in started["follow"][0]


def test_beside_one_that_runs_none_is_started(sagemaker: Any) -> None:
    first = start("staging", "flight-delay", ARN)
    # In moto an execution ends as it is started.
    pipeline = sagemaker_backends[ACCOUNT][REGION].pipelines[NAME]
    pipeline.pipeline_executions[first["execution"]].pipeline_execution_status = "Executing"

    with pytest.raises(CommandFailed, match="being trained already in stack staging") as refused:
        start("staging", "flight-delay", ARN)

    assert executions(sagemaker) == [first["execution"]]
    assert first["execution"] in refused.value.hint


def test_credentials_of_another_account_start_nothing(sagemaker: Any) -> None:
    with pytest.raises(CommandFailed, match=f"in account 999999999999; the credentials are of {ACCOUNT}"):
        start("staging", "flight-delay", ARN.replace(ACCOUNT, "999999999999"))

    assert executions(sagemaker) == []


def test_what_aws_refuses_is_told(sagemaker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no right"}}, "ListPipelineExecutions")

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", refused)

    with pytest.raises(CommandFailed, match=r"cannot be started: .*AccessDeniedException.*no right"):
        start("staging", "flight-delay", ARN)
