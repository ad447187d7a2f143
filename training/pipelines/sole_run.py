"""Run a command unless an earlier execution of the same SageMaker pipeline still runs.

    python -m training.pipelines.sole_run -- COMMAND…
        environment: MLOPS_EXECUTION (ARN of this execution), AWS_REGION, credentials of AWS

The clock, an event and a person may start a pipeline within the same minute, and SageMaker runs as many executions as
are started: it knows no limit to set. So the first step asks, and the later execution ends here, before it costs more
than this step.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.errors import TrainingError
from training.workspace import run

_EXECUTION = re.compile(r"arn:[^:]+:sagemaker:[^:]+:[^:]+:pipeline/(?P<pipeline>[^/]+)/execution/[^/]+")
_RUNNING = ("Executing", "Stopping")
_LOOKED_AT = 100
"""How many of the newest executions are looked at: whoever runs longer than so many others is not waited for."""


def earlier(execution: str, found: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the execution that runs and was started before this one, None where this is the first.

    Args:
        execution: ARN of this execution.
        found: summaries of executions (`PipelineExecutionArn`, `PipelineExecutionStatus`, `StartTime`).

    Raises:
        TrainingError: this execution is not among them.
    """
    running = {
        one["PipelineExecutionArn"]: one["StartTime"]
        for one in found
        if one["PipelineExecutionStatus"] in _RUNNING or one["PipelineExecutionArn"] == execution
    }
    if execution not in running:
        raise TrainingError(f"{execution}: SageMaker does not know this execution, so that nobody can say who is first")
    # Of two within the same moment the lesser ARN is first, for both.
    first = min(running, key=lambda arn: (running[arn], arn))
    return first if first != execution else None


def executions(execution: str) -> Sequence[Mapping[str, Any]]:
    """Ask SageMaker for the newest executions of the pipeline that an execution is of.

    Raises:
        TrainingError: it is no execution, or SageMaker refuses.
    """
    stated = _EXECUTION.fullmatch(execution)
    if stated is None:
        raise TrainingError(f"MLOPS_EXECUTION: {execution!r} is not the ARN of a pipeline's execution")
    import boto3  # only where jobs run on AWS
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = boto3.client("sagemaker").list_pipeline_executions(
            PipelineName=stated["pipeline"], SortBy="CreationTime", SortOrder="Descending", MaxResults=_LOOKED_AT
        )
    except (BotoCoreError, ClientError) as error:
        raise TrainingError(f"pipeline {stated['pipeline']}: its executions cannot be listed: {error}") from None
    found: Sequence[Mapping[str, Any]] = answer["PipelineExecutionSummaries"]
    return found


def main() -> None:
    """Become the command, or end."""
    command = sys.argv[2:]
    if sys.argv[1:2] != ["--"] or not command:
        raise TrainingError("usage: python -m training.pipelines.sole_run -- COMMAND…")
    execution = os.environ.get("MLOPS_EXECUTION", "")
    first = earlier(execution, executions(execution))
    if first is not None:
        raise TrainingError(f"{first} still runs: this execution ends, and trains nothing. Start it again after that")
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - that is its purpose


if __name__ == "__main__":
    run(main)
