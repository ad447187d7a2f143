"""Pipelines on AWS as SageMaker pipelines: one per model, a schedule where it has one, and a rule that hears of drift.

The steps are the programs of the local target in the training image. A model is registered with MLflow, as everywhere;
its model package group is there for what SageMaker's own tools register.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pulumi
from pulumi import Input, Output
from pulumi_aws import cloudwatch, iam, sagemaker, scheduler

from components.cloud import Cloud, allow, policy
from components.component import Component
from components.models import Model
from components.pipelines import cron
from components.pipelines.definitions import (
    KEY,
    SECURITY_GROUP,
    TRACKING,
    definition,
    description,
    filled,
    pipeline_name,
    subnet,
    training_role,
)

DRIFT = "drift found"
"""`detail-type` of the event that starts a model's pipeline; its `detail.model` names the model."""


@dataclass(frozen=True, kw_only=True)
class SageMakerPipelinesArgs:
    """What pipelines are made with.

    Attributes:
        cloud: the environment.
        models: the models.
        image: training image by digest.
        instance_type: size of the machines.
        max_hours: bound of each step.
        key: ARN of the key of data.
        subnet_ids: where steps run; as many as `subnets`.
        subnets: how many those are.
        security_group_id: what their machines may reach.
        tracking: address of MLflow, reachable from those subnets.
        environment: variables of all steps, such as those of the feature store; no secrets.
    """

    cloud: Cloud
    models: Sequence[Model]
    image: str
    instance_type: str
    max_hours: float
    key: Input[str]
    subnet_ids: Input[Sequence[str]]
    subnets: int
    security_group_id: Input[str]
    tracking: Input[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class SageMakerPipelines(Component):
    """The pipelines of an environment's models. The roles `training`, `schedule` and `drift` must be there before."""

    pipelines: Output[dict[str, str]]
    """ARN of the pipeline of each model."""

    def __init__(self, name: str, args: SageMakerPipelinesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:pipelines:SageMakerPipelines", name, opts)
        self._args = args
        rights = self._rights()
        made = {model.name: self._pipeline(model, rights) for model in args.models}
        self.register(pipelines=made)

    def _role(self, name: str) -> str:
        cloud = self._args.cloud
        return cloud.arn("iam", f"role/{cloud.names.of('role', name)}", region=False)

    def _rights(self) -> iam.RolePolicy:
        """What the pipeline itself does as `training`, besides what the matrix grants its steps."""
        cloud, args = self._args.cloud, self._args
        jobs = cloud.arn("sagemaker", "processing-job/pipelines-*")
        logs = cloud.arn("logs", "log-group:/aws/sagemaker/ProcessingJobs*")
        interfaces = [
            "ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface",
            "ec2:DeleteNetworkInterfacePermission", "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
        ]  # fmt: skip
        work = ["sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob"]
        passed = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
        # A disk of a job is encrypted by a grant that its role gives to AWS's own resource.
        grants = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        document = Output.from_input(args.key).apply(
            lambda key: policy(
                allow([*work, "sagemaker:AddTags"], jobs, Sid="Jobs"),
                allow(["iam:PassRole"], training_role(cloud), Sid="AsItself", Condition=passed),
                allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], [logs], Sid="Logs"),
                # Network interfaces have no narrower resource before they exist (SageMaker developer guide, VPC jobs).
                allow(interfaces, "*", Sid="Interfaces"),
                allow(["kms:CreateGrant"], key, Sid="Disks", Condition=grants),
            )
        )
        return iam.RolePolicy(
            "pipeline",
            name="pipeline",
            role=cloud.names.of("role", "training"),
            policy=document,
            opts=self.child(),
        )

    def _pipeline(self, model: Model, rights: iam.RolePolicy) -> Output[str]:
        args, cloud = self._args, self._args.cloud
        described = description(
            cloud,
            model,
            image=args.image,
            instance_type=args.instance_type,
            max_hours=args.max_hours,
            subnets=args.subnets,
            environment=args.environment,
            password_secret=cloud.names.path("secret", "registry-password"),
        )
        text = definition(Path(cloud.project), described)
        known = Output.all(
            key=args.key, subnets=args.subnet_ids, group=args.security_group_id, tracking=args.tracking
        ).apply(
            lambda found: filled(
                text,
                {
                    KEY: found["key"],
                    SECURITY_GROUP: found["group"],
                    TRACKING: found["tracking"],
                    **{subnet(number): one for number, one in enumerate(found["subnets"])},
                },
            )
        )
        called = pipeline_name(cloud, model)
        pipeline = sagemaker.Pipeline(
            model.name,
            pipeline_name=called,
            pipeline_display_name=called,
            pipeline_definition=known,
            role_arn=training_role(cloud),
            tags={"model": model.name},
            opts=self.child(depends_on=[rights]),
        )
        sagemaker.ModelPackageGroup(
            model.name,
            model_package_group_name=cloud.names.of("sagemaker", model.name),
            model_package_group_description=f"Versions of {model.name} that SageMaker's own tools register",
            tags={"model": model.name},
            opts=self.child(),
        )
        if model.schedule is not None:
            self._schedule(model, pipeline)
        self._on_drift(model, pipeline)
        arn: Output[str] = pipeline.arn
        return arn

    def _schedule(self, model: Model, pipeline: sagemaker.Pipeline) -> None:
        assert model.schedule is not None
        try:
            when = cron.expression(model.schedule)
        except ValueError as error:
            raise pulumi.RunError(f"models.{model.name}.schedule: {error}") from None
        scheduler.Schedule(
            model.name,
            name=self._args.cloud.names.of("schedule", f"training-{model.name}"),
            description=f"Trains {model.name} anew",
            schedule_expression=when,
            schedule_expression_timezone="UTC",
            flexible_time_window={"mode": "OFF"},
            target={
                "arn": pipeline.arn,
                "role_arn": self._role("schedule"),
                "retry_policy": {"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 5},
            },
            opts=self.child(),
        )

    def _on_drift(self, model: Model, pipeline: sagemaker.Pipeline) -> None:
        """Start the pipeline when somebody of this account says that the model's data drifted."""
        cloud = self._args.cloud
        pattern = {
            "account": [cloud.account],
            "source": [event_source(cloud)],
            "detail-type": [DRIFT],
            "detail": {"model": [model.name]},
        }
        rule = cloudwatch.EventRule(
            f"drift-{model.name}",
            name=cloud.names.of("rule", f"drift-{model.name}"),
            description=f"Trains {model.name} anew when its data drifted",
            event_pattern=json.dumps(pattern),
            opts=self.child(),
        )
        cloudwatch.EventTarget(
            f"drift-{model.name}",
            rule=rule.name,
            target_id="pipeline",
            arn=pipeline.arn,
            role_arn=self._role("drift"),
            opts=self.child(),
        )


def event_source(cloud: Cloud) -> str:
    """`source` of this environment's events."""
    return f"mlops.{cloud.names.prefix}"
