"""From the settings of a stack to the arguments of its platform on AWS; its imports are those of that target only."""

from __future__ import annotations

from pathlib import Path

from components.aws import AwsTarget, ClusterSection, NetworkSection
from components.cluster.aws import SystemNodesArgs
from components.data_aws import DataSection
from components.governance.aws import AwsRecordsArgs
from components.registry.aws import RegistrySection
from components.registry.database import DatabaseSection
from infra.cloud import cloud_of
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
    require_made(settings, aws, stack)
    require_schedulable(aws, stack)
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
    )


def require_made(settings: Settings, aws: Aws, stack: str) -> None:
    """Refuse what a stack may say but nothing makes on AWS yet, rather than leave it out unseen.

    Raises:
        SettingsError: naming each.
    """
    file = f"stacks/Pulumi.{stack}.yaml"
    problems = []
    if "foundation" not in settings.layers:
        reason = "a stack of releases only is not made on AWS yet; name foundation"
        problems.append(Problem("layers", reason, file))
    if aws.pipelines.runner == "sagemaker":
        reason = "SageMaker pipelines are not composed yet: their jobs cannot reach the registry; state ray"
        problems.append(Problem("aws.pipelines.runner", reason, file, "sagemaker"))
    if problems:
        raise SettingsError(problems)


def cluster_section(aws: Aws) -> ClusterSection:
    """The Kubernetes cluster as the settings state it."""
    stated = aws.kubernetes
    return ClusterSection(
        version=stated.version,
        public_cidrs=stated.public_cidrs,
        admin_roles=stated.admin_roles,
        log_days=stated.log_days,
        system=SystemNodesArgs(**stated.system.model_dump()),
        pools=node_pools(aws),
        quotas=namespace_quotas(aws),
        runner=stated.runner,
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
