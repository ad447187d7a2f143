"""Renders the definition of a SageMaker pipeline with the SageMaker SDK: JSON comes in, JSON goes out.

    python components/pipelines/render.py < DESCRIPTION

A program of its own, since the SDK's import takes seconds and hundreds of megabytes that a Pulumi program shall not
have; `components.pipelines.definitions` runs it once per content. It calls nothing of AWS.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

EXECUTION = "execution:arn"
"""Stands in the environment of a step for the ARN of the execution, see `components.pipelines.definitions`."""
WORK = "/opt/ml/processing"
"""Below this SageMaker lays the inputs of a processing job and takes its outputs (SageMaker developer guide)."""


def main() -> None:
    """Read, render, write."""
    description = json.load(sys.stdin)
    os.environ.update(
        AWS_DEFAULT_REGION=description["region"],
        SAGEMAKER_VALIDATE_ROLE="false",
        AWS_ACCESS_KEY_ID="none",
        AWS_SECRET_ACCESS_KEY="none",  # noqa: S106 - nothing is called
    )
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the SDK prints is no part of the answer
    answer.write(rendered(description))
    answer.flush()


def rendered(description: dict[str, Any]) -> str:
    """Return the definition of a pipeline."""
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.mlops.workflow.pipeline import Pipeline

    session = PipelineSession(default_bucket=description["bucket"])
    size = ParameterString("InstanceType", default_value=description["instanceType"])
    seed = ParameterString("Seed", default_value=str(description["seed"]))
    # Each execution has a folder of its own, so that two at once do not mix their data.
    root = [f"s3://{description['bucket']}/pipelines", description["name"], ExecutionVariables.PIPELINE_EXECUTION_ID]

    def at(*path: str) -> Any:
        return Join(on="/", values=[*root, *path])

    steps: list[Any] = []
    for step in description["steps"]:
        arguments = ["--seed", seed] if step["seeded"] else None
        steps.append(processing_step(description, step, session, size, arguments, at, steps))
    pipeline = Pipeline(
        name=description["name"],
        parameters=[size, seed],
        pipeline_experiment_config=None,
        steps=steps,
        sagemaker_session=session,
    )
    return json.dumps(json.loads(pipeline.definition()), sort_keys=True)


def processing_step(description: Any, step: Any, session: Any, size: Any, arguments: Any, at: Any, before: Any) -> Any:
    """A step that runs a program of the training image on files."""
    from sagemaker.core.network import NetworkConfig
    from sagemaker.core.processing import Processor
    from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.mlops.workflow.steps import ProcessingStep

    environment = {
        name: ExecutionVariables.PIPELINE_EXECUTION_ARN if value == EXECUTION else value
        for name, value in step["environment"].items()
    }
    processor = Processor(
        role=description["role"],
        image_uri=description["image"],
        instance_count=1,
        instance_type=size,
        entrypoint=step["command"],
        volume_size_in_gb=description["volumeGib"],
        volume_kms_key=description["key"],
        output_kms_key=description["key"],
        max_runtime_in_seconds=description["maxSeconds"],
        sagemaker_session=session,
        env=environment,
        network_config=NetworkConfig(
            subnets=description["subnets"],
            security_group_ids=description["securityGroups"],
            encrypt_inter_container_traffic=True,
        ),
    )
    request = processor.run(
        arguments=arguments,
        inputs=[
            ProcessingInput(
                input_name=name,
                s3_input=ProcessingS3Input(
                    s3_uri=at(place),
                    local_path=f"{WORK}/{path}",
                    s3_data_type="S3Prefix",
                    s3_input_mode="File",
                ),
            )
            for name, place, path in step["inputs"]
        ],
        outputs=[
            ProcessingOutput(
                output_name=name,
                s3_output=ProcessingS3Output(s3_uri=at(place), local_path=f"{WORK}/{path}", s3_upload_mode="EndOfJob"),
            )
            for name, place, path in step["outputs"]
        ],
    )
    return ProcessingStep(name=step["name"], step_args=request, depends_on=before[-1:])


if __name__ == "__main__":
    main()
