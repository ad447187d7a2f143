"""From the settings of a stack to the arguments of its platform on AWS; its imports are those of that target only."""

from __future__ import annotations

from pathlib import Path

from components.aws import AwsTarget, ClusterSection, NetworkSection
from components.cluster.aws import SystemNodesArgs
from components.cluster.kubernetes import STORAGE_CLASS
from components.data_aws import DataSection
from components.governance.aws import AwsRecordsArgs
from components.inference import Batching, Capture, Limits, groups
from components.inference.gateway import Callers
from components.inference.kubernetes import ServingSection
from components.inference.ray_service import WorkerGroup
from components.models import Model, Replicas
from components.monitoring.aws import MonitoringSection
from components.registry.aws import RegistrySection
from components.registry.database import DatabaseSection
from components.serving_aws import InferenceSection
from components.training_aws import PipelinesSection
from components.workload import Resources
from infra.cloud import cloud_of
from infra.releases_target import read_signers
from infra.schedulability import namespace_quotas, node_pools, require_schedulable
from infra.settings import Settings
from infra.settings.aws import Aws
from infra.settings.problems import Problem, SettingsError


def aws_target(settings: Settings, aws: Aws, *, project: Path, stack: str) -> AwsTarget:
    """Arguments of the platform of one stack on AWS.

    Args:
        settings: the stack's settings.
        aws: their section of this target.
        project: folder of the project.
        stack: name of the stack.

    Raises:
        SettingsError: a workload fits on none of the pools, or the settings ask for what is not made on AWS yet.
    """
    require_made(settings, stack)
    require_schedulable(aws, stack, len(settings.models))
    governance = aws.governance
    cloud = cloud_of(settings, aws, project=project, stack=stack)
    return AwsTarget(
        cloud=cloud,
        records=AwsRecordsArgs(
            cloud=cloud,
            audit_days=governance.audit_days,
            audit_mode=governance.audit_mode,
            budget_usd=governance.budget_usd,
            budget_mails=governance.budget_mails,
            budget_stops=governance.budget_stops,
            alarm_mails=aws.monitoring.alarm_mails,
        ),
        network=NetworkSection(**aws.network.model_dump()),
        cluster=cluster_section(aws),
        data=data_section(settings, aws),
        inference=inference_section(settings, aws, project),
        monitoring=MonitoringSection(
            retention_days=settings.monitoring.retention_days,
            scrape_seconds=settings.monitoring.scrape_seconds,
            storage_gib=aws.monitoring.storage_gib,
            storage_class=STORAGE_CLASS,
            container_insights=aws.monitoring.container_insights,
            log_days=aws.monitoring.log_days,
        ),
        pipelines=pipelines_section(settings, aws),
    )


def require_made(settings: Settings, stack: str) -> None:
    """Refuse what a stack may say but nothing makes on AWS yet, rather than leave it out unseen.

    Raises:
        SettingsError: naming each.
    """
    file = f"stacks/Pulumi.{stack}.yaml"
    problems = []
    if {"foundation", "releases"} <= set(settings.layers):
        reason = (
            "on AWS a rollout does not hold the lock of the foundation: state `layers: [foundation]`, and make a "
            f"second stack with `foundation: {stack}` and `layers: [releases]`"
        )
        problems.append(Problem("layers", reason, file))
    for name, model in sorted(settings.models.items()):
        if model.version != "latest":
            reason = f"which version is served is stated by the stack of releases, the one with `foundation: {stack}`"
            problems.append(Problem(f"models.{name}.version", reason, file, model.version))
        if model.shadows:
            reason = f"shadows are stated by the stack of releases, the one with `foundation: {stack}`"
            problems.append(Problem(f"models.{name}.shadows", reason, file))
    if problems:
        raise SettingsError(problems)


def cluster_section(aws: Aws) -> ClusterSection:
    """The Kubernetes cluster as the settings state it."""
    stated = aws.kubernetes
    return ClusterSection(
        version=stated.version,
        public_cidrs=stated.public_cidrs,
        admin_roles=stated.admin_roles,
        release_roles=stated.release_roles,
        log_days=stated.log_days,
        system=SystemNodesArgs(**stated.system.model_dump()),
        pools=node_pools(aws),
        quotas=namespace_quotas(aws),
        runner=stated.runner,
        runner_digest=aws.images.runner if aws.workloads and aws.images else None,
    )


def data_section(settings: Settings, aws: Aws) -> DataSection:
    """Registry and feature store as the settings state them."""
    registry = aws.registry
    return DataSection(
        training_digest=aws.images.training if aws.workloads and aws.images else None,
        registry_username=settings.registry.username,
        registry=RegistrySection(
            replicas=registry.replicas,
            database=DatabaseSection(**registry.database.model_dump()),
            old_artifact_days=registry.old_artifact_days,
        ),
        images_kept=registry.images_kept,
        feature_kind=aws.feature_store.kind,
        feature_replicas=aws.feature_store.replicas,
        log_days=aws.monitoring.log_days,
    )


def models(settings: Settings) -> list[Model]:
    """The models as a foundation sees them, in order of their names; versions are stated by the stack of releases."""
    return [
        Model(
            name=name,
            folder=model.folder,
            seed=model.seed,
            own_group=model.group == "own",
            replicas=Replicas(**model.replicas.model_dump()),
            schedule=model.schedule,
            params=model.params,
        )
        for name, model in sorted(settings.models.items())
    ]


def pipelines_section(settings: Settings, aws: Aws) -> PipelinesSection:
    """Training as the settings state it."""
    stated, images = aws.pipelines, aws.images if aws.workloads else None
    pools = {pool.name: pool for pool in node_pools(aws)}
    return PipelinesSection(
        environment=settings.environment,
        trust_root=aws.inference.trust_root or settings.environment,
        runner=stated.runner,
        digest=None if images is None else images.sagemaker if stated.runner == "sagemaker" else images.training,
        models=models(settings),
        username=settings.registry.username,
        feature_kind=aws.feature_store.kind,
        size=Resources(**stated.size.model_dump()),
        pool=pools[stated.pool] if stated.pool is not None else None,
        instance_type=stated.instance_type,
        max_hours=stated.max_hours,
    )


def inference_section(settings: Settings, aws: Aws, project: Path) -> InferenceSection:
    """Serving as the settings state it.

    Raises:
        SettingsError: the file of allowed signers is not there.
    """
    stated, common = aws.inference, settings.inference
    pools = {pool.name: pool for pool in node_pools(aws)}
    served = models(settings)
    return InferenceSection(
        environment=settings.environment,
        digest=aws.images.serving if aws.workloads and aws.images else None,
        serving=ServingSection(
            host=stated.host,
            certificate_secret=stated.certificate_secret,
            callers=Callers(**stated.jwt.model_dump()),
            models=[model.name for model in served],
            requests_per_second=stated.requests_per_second,
            internet=stated.internet,
            head=Resources(**stated.head.model_dump()),
            workers=[
                WorkerGroup(
                    name=name,
                    size=Resources(cpus=workers.cpus, memory_gib=workers.memory_gib, gpus=workers.gpus),
                    pool=pools[workers.pool],
                    min=workers.min,
                    max=workers.max,
                )
                for name, workers in sorted(stated.workers.items())
            ],
            control=Resources(**stated.control.model_dump()),
            upgrade_step=stated.upgrade_step,
            upgrade_seconds=stated.upgrade_seconds,
            trust_root=stated.trust_root or settings.environment,
            approval=stated.approval,
            signers=read_signers(stated.allowed_signers, project),
        ),
        groups=groups(served, Replicas(**common.replicas.model_dump())),
        limits=Limits(
            max_body_bytes=common.max_body_bytes, max_rows=common.max_rows, request_seconds=common.request_seconds
        ),
        capture=Capture(**common.capture.model_dump()),
        batching=Batching(**common.batching.model_dump()),
        rollout_timeout_seconds=common.rollout.timeout_seconds,
        feature_deadline_ms=settings.feature_store.deadline_ms,
    )
