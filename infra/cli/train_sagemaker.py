"""`mlops train` of an environment that SageMaker trains in: starts an execution of a model's pipeline, waits for none.

Who may start one, IAM says, of the credentials that boto3 finds. While an execution runs it starts none;
the first step of another would end with an error (`training.pipelines.sole_run`), but only when its machine is up.
"""

from __future__ import annotations

import uuid
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.cli.output import CommandFailed

_RUNNING = ("Executing", "Stopping")
_LOOKED_AT = 20
_LOGIN = "log in to the environment's account, or name a profile by AWS_PROFILE"


def start(stack: str, model: str, pipeline: str) -> dict[str, Any]:
    """Start an execution.

    Args:
        stack: the stack.
        model: name of the model.
        pipeline: ARN of its pipeline, as the stack's outputs say it.

    Returns:
        `stack`, `model`, `execution` (its ARN), and `follow`: commands that show how it goes.

    Raises:
        CommandFailed: the credentials are of another account, an execution runs already, or AWS refuses.
    """
    _, _, _, region, account, name = pipeline.split(":", 5)
    name = name.removeprefix("pipeline/")
    try:
        session = boto3.Session(region_name=region)
        found = session.client("sts").get_caller_identity()["Account"]
        if found != account:
            raise CommandFailed(f"stack {stack} is in account {account}; the credentials are of {found}", hint=_LOGIN)
        sagemaker = session.client("sagemaker")
        listed = sagemaker.list_pipeline_executions(
            PipelineName=name, SortBy="CreationTime", SortOrder="Descending", MaxResults=_LOOKED_AT
        )["PipelineExecutionSummaries"]
        running = [one["PipelineExecutionArn"] for one in listed if one["PipelineExecutionStatus"] in _RUNNING]
        if running:
            raise CommandFailed(
                f"{model} is being trained already in stack {stack}; nothing was started",
                hint=f"see it: {_steps(running[0], region)}\n  end it: aws sagemaker stop-pipeline-execution "
                f"--pipeline-execution-arn {running[0]} --region {region}",
            )
        answer = sagemaker.start_pipeline_execution(PipelineName=name, ClientRequestToken=uuid.uuid4().hex)
    except (BotoCoreError, ClientError) as error:
        raise CommandFailed(f"pipeline {name} of stack {stack} cannot be started: {error}", hint=_LOGIN) from None
    execution = str(answer["PipelineExecutionArn"])
    return {
        "stack": stack,
        "model": model,
        "execution": execution,
        "follow": [
            _steps(execution, region),
            f"aws logs tail /aws/sagemaker/ProcessingJobs --follow --region {region}",
        ],
    }


def _steps(execution: str, region: str) -> str:
    return f"aws sagemaker list-pipeline-execution-steps --pipeline-execution-arn {execution} --region {region}"
