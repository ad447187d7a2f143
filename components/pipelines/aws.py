"""Pipelines on AWS as SageMaker pipelines: one per model, a schedule where it has one, and a rule that hears of drift.

The steps are the programs of the local target in the training image. A model is registered with MLflow, as everywhere,
which steps reach through the API server of the cluster (docs/adr/0022); its model package group is there for what
SageMaker's own tools register.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pulumi
from pulumi import Input, Output
from pulumi_aws import cloudwatch, ec2, eks, iam, s3, sagemaker, scheduler, vpc

from components.cloud import Cloud, allow, allow_key, policy
from components.cluster.service_access import TRAINING
from components.models import Model
from components.pipelines import StandingPipelines, cron, drift
from components.pipelines.definitions import (
    KEY,
    SECURITY_GROUP,
    RegistryWay,
    definition,
    description,
    filled,
    pipeline_name,
    subnet,
    training_role,
)

HTTPS = 443


@dataclass(frozen=True, kw_only=True)
class SageMakerPipelinesArgs:
    """What pipelines are made with.

    Attributes:
        cloud: the environment.
        models: the models.
        image: training image by digest, as SageMaker runs it.
        instance_type: size of the machines.
        max_hours: bound of each step.
        key: ARN of the key of data.
        vpc_id: the network.
        subnet_ids: where steps run; as many as `subnets`.
        subnets: how many those are.
        cluster_made: name of the cluster that the registry is in, known once it is there.
        cluster_security_group_id: security group of its API server.
        role: ARN of the role `training`, known once it is there.
        registry: how steps reach the registry.
        environment: variables of all steps, such as those of the feature store; no secrets.
        signing: variables by which a step signs what it trained; no secrets.
    """

    cloud: Cloud
    models: Sequence[Model]
    image: str
    instance_type: str
    max_hours: float
    key: Input[str]
    vpc_id: Input[str]
    subnet_ids: Input[Sequence[str]]
    subnets: int
    cluster_made: Input[str]
    cluster_security_group_id: Input[str]
    role: Input[str]
    registry: RegistryWay
    environment: Mapping[str, str] = field(default_factory=dict)
    signing: Mapping[str, str] = field(default_factory=dict)


class SageMakerPipelines(StandingPipelines):
    """The pipelines of an environment's models. The roles `training`, `schedule` and `drift` must be there before."""

    def __init__(self, name: str, args: SageMakerPipelinesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:pipelines:SageMakerPipelines", name, opts)
        self._args = args
        rights = self._rights()
        self._group = self._machines()
        access = self._access()
        s3.BucketNotification(
            "drift", bucket=args.cloud.names.bucket(drift.BUCKET), eventbridge=True, opts=self.child()
        )
        made = {model.name: self._pipeline(model, [rights, access]) for model in args.models}
        self.register(runs=made)

    def _role(self, name: str) -> str:
        cloud = self._args.cloud
        return cloud.arn("iam", f"role/{cloud.names.of('role', name)}", region=False)

    def _rights(self) -> iam.RolePolicy:
        """What the pipeline itself does as `training`, besides what the matrix grants its steps."""
        cloud = self._args.cloud
        # SageMaker names the jobs of all pipelines so, whatever environment they are of.
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
        return iam.RolePolicy(
            "pipeline",
            name="pipeline",
            role=cloud.names.of("role", "training"),
            policy=policy(
                allow([*work, "sagemaker:AddTags"], jobs, Sid="Jobs"),
                allow(["iam:PassRole"], training_role(cloud), Sid="AsItself", Condition=passed),
                allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], [logs], Sid="Logs"),
                # Network interfaces have no narrower resource before they exist (SageMaker developer guide, VPC jobs).
                allow(interfaces, "*", Sid="Interfaces"),
                allow_key(cloud, "data", ["kms:CreateGrant"], condition=grants) | {"Sid": "Disks"},
            ),
            opts=self.child(),
        )

    def _machines(self) -> ec2.SecurityGroup:
        """What the machines of steps may reach: HTTPS, among it the API server of the cluster. Nobody reaches them."""
        args = self._args
        called = f"{args.cloud.names.prefix}-training"
        group = ec2.SecurityGroup(
            "training",
            vpc_id=args.vpc_id,
            description="Machines of training by SageMaker",
            tags={"Name": called},
            opts=self.child(),
        )
        vpc.SecurityGroupEgressRule(
            "training-https",
            security_group_id=group.id,
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
            description="HTTPS: AWS, the API server of the cluster, sources of data",
            opts=self.child(),
        )
        vpc.SecurityGroupIngressRule(
            "training-registry",
            security_group_id=args.cluster_security_group_id,
            referenced_security_group_id=group.id,
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
            description="API server from machines of training, which reach the registry through it",
            opts=self.child(),
        )
        return group

    def _access(self) -> eks.AccessEntry:
        """Who the machines are to the cluster; what the group may do, its role there says."""
        return eks.AccessEntry(
            "training",
            cluster_name=self._args.cluster_made,
            principal_arn=self._args.role,
            type="STANDARD",
            kubernetes_groups=[TRAINING],
            opts=self.child(),
        )

    def _pipeline(self, model: Model, after: Sequence[pulumi.Resource]) -> Output[str]:
        args, cloud = self._args, self._args.cloud
        described = description(
            cloud,
            model,
            image=args.image,
            instance_type=args.instance_type,
            max_hours=args.max_hours,
            subnets=args.subnets,
            environment=args.environment,
            signing=args.signing,
            registry=args.registry,
        )
        text = definition(Path(cloud.project), described)
        known = Output.all(key=args.key, subnets=args.subnet_ids, group=self._group.id).apply(
            lambda found: filled(
                text,
                {
                    KEY: found["key"],
                    SECURITY_GROUP: found["group"],
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
            # One machine at a time; that one execution runs at a time, its first step sees to.
            parallelism_configuration={"max_parallel_execution_steps": 1},
            tags={"model": model.name},
            opts=self.child(depends_on=after),
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
        """Start the pipeline when the controller has put an alarm of the model's drift."""
        cloud = self._args.cloud
        rule = cloudwatch.EventRule(
            f"drift-{model.name}",
            name=cloud.names.of("rule", f"drift-{model.name}"),
            description=f"Trains {model.name} anew when its data drifted",
            event_pattern=json.dumps(drift.pattern(cloud, model)),
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
