"""How an environment on AWS trains its models: by the runner that its settings name, composed after what jobs use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi

from components.buckets import Bucket, BucketArgs
from components.cloud import Cloud
from components.cluster.aws import AwsCluster
from components.cluster.placement import NodePoolArgs
from components.cluster.service_access import ServiceAccess, registering
from components.data_aws import Data
from components.feature_store.aws import Kind, store_environment
from components.governance.keys import Keys
from components.identity.aws import AwsIdentities
from components.models import Model
from components.network.aws import AwsNetwork
from components.pipelines import StandingPipelines, drift
from components.pipelines.aws import SageMakerPipelines, SageMakerPipelinesArgs
from components.pipelines.definitions import RegistryWay
from components.pipelines.kubernetes import KubernetesPipelines, KubernetesPipelinesArgs
from components.pipelines.trainer_key import TrainerKey, TrainerKeyArgs, signing_environment
from components.registry import kubernetes as registry
from components.registry.images import reference
from components.workload import Resources

DATA = drift.BUCKET
"""Purpose of the bucket that jobs keep snapshots of data in, and that their model's drift is told in."""
RUNS = "pipelines"
"""Prefix there of what one run made: a folder by pipeline and run."""
RUN_DAYS = 365
"""Data of a run is kept this long, days: whoever asks what a version was trained on asks within its life."""
OLD_DATA_DAYS = 30
"""Overwritten or deleted data can be brought back this long, days."""


@dataclass(frozen=True, kw_only=True)
class PipelinesSection:
    """Training as the settings state it.

    Attributes:
        environment: name of the environment, in which the trainer signs.
        trust_root: trust root that its signatures name.
        runner: what runs the jobs: Ray on the cluster, or SageMaker.
        digest: digest of the training image that the runner starts; None makes nothing that needs it.
        models: the models.
        username: user name that jobs send to the registry.
        feature_kind: what keeps the online features.
        size: what a Ray job may have.
        pool: pool that Ray jobs run in.
        instance_type: size of the machines of SageMaker.
        max_hours: a job is stopped after this long.
    """

    environment: str
    trust_root: str
    runner: Literal["ray", "sagemaker"]
    digest: str | None
    models: Sequence[Model]
    username: str
    feature_kind: Kind
    size: Resources
    pool: NodePoolArgs | None
    instance_type: str
    max_hours: float


@dataclass(frozen=True, kw_only=True)
class TrainingArgs:
    """What training is made with: the settings, and the components that stand before it."""

    cloud: Cloud
    section: PipelinesSection
    key: Keys
    identities: AwsIdentities
    network: AwsNetwork
    zones: int
    cluster: AwsCluster
    data: Data


def compose_training(
    args: TrainingArgs,
    within: pulumi.ResourceOptions,
    on_cluster: pulumi.ResourceOptions,
) -> Mapping[str, Any]:
    """Compose the pipelines by the runner that is stated; returns where their surface is.

    Args:
        args: what they are made with.
        within: options with the parent and the provider of AWS.
        on_cluster: the same with that of Kubernetes, for what waits for External Secrets.
    """
    data = Bucket(
        DATA,
        BucketArgs(
            cloud=args.cloud,
            purpose=DATA,
            key=args.key.arn("data"),
            old_versions_days=OLD_DATA_DAYS,
            expire=[(f"{RUNS}/", RUN_DAYS), (f"{drift.PREFIX}/", RUN_DAYS)],
        ),
        within,
    )
    TrainerKey("signing-key", TrainerKeyArgs(cloud=args.cloud, key=args.key.arn("secrets")), within)
    if args.section.digest is None:
        return {}
    if args.section.runner == "sagemaker":
        made = _sagemaker(args, args.section.digest, data, within, on_cluster)
        return {"pipelines": {"url": "", "runner": args.section.runner, "runs": made.runs}}
    made = _ray(args, args.section.digest, data, on_cluster)
    return {
        "pipelines": {
            "url": args.cluster.endpoint,
            "runner": args.section.runner,
            "runs": made.runs,
            "cluster": args.cluster.cluster_name,
            "region": args.cloud.region,
            "authority": args.cluster.authority,
        }
    }


def _sagemaker(
    args: TrainingArgs,
    digest: str,
    data: Bucket,
    within: pulumi.ResourceOptions,
    on_cluster: pulumi.ResourceOptions,
) -> StandingPipelines:
    """SageMaker pipelines, and their way to the registry."""
    cloud, section = args.cloud, args.section
    access = ServiceAccess("training", registering(registry.NAMESPACE, registry.SERVER, registry.PORT), on_cluster)
    ready = [data, access, *(one for role in ("training", "schedule", "drift") for one in args.identities.ready(role))]
    return SageMakerPipelines(
        "pipelines",
        SageMakerPipelinesArgs(
            cloud=cloud,
            models=section.models,
            image=reference(cloud, "training", digest),
            instance_type=section.instance_type,
            max_hours=section.max_hours,
            key=args.key.arn("data"),
            vpc_id=args.network.vpc_id,
            subnet_ids=args.network.private_subnet_ids,
            subnets=args.zones,
            cluster_made=args.cluster.cluster_name,
            cluster_security_group_id=args.cluster.node_security_group_id,
            role=args.identities.arn("training"),
            registry=RegistryWay(
                cluster=cloud.names.of("cluster", "main"),
                service=f"{registry.NAMESPACE}/{registry.SERVER}:{registry.PORT}",
                username=section.username,
                password_secret=cloud.names.path("secret", registry.PASSWORD),
            ),
            environment=store_environment(cloud, section.feature_kind),
            signing=signing_environment(cloud, section.environment, section.trust_root),
        ),
        pulumi.ResourceOptions.merge(within, pulumi.ResourceOptions(depends_on=ready)),
    )


def _ray(args: TrainingArgs, digest: str, data: Bucket, on_cluster: pulumi.ResourceOptions) -> StandingPipelines:
    """Ray jobs on the cluster."""
    cloud, section = args.cloud, args.section
    assert section.pool is not None  # the settings ask for it with this runner
    # Credentials are given to a pod when it is admitted: not before its service account has its role.
    ready = [data, args.data.stores, *args.identities.ready("jobs")]
    return KubernetesPipelines(
        "pipelines",
        KubernetesPipelinesArgs(
            cloud=cloud,
            models=section.models,
            image=reference(cloud, "training", digest),
            size=section.size,
            pool=section.pool,
            max_hours=section.max_hours,
            store=f"s3://{cloud.names.bucket(DATA)}/{RUNS}",
            tracking=args.data.registry.url,
            username=section.username,
            environment={
                **store_environment(cloud, section.feature_kind),
                **signing_environment(cloud, section.environment, section.trust_root),
            },
        ),
        pulumi.ResourceOptions.merge(on_cluster, pulumi.ResourceOptions(depends_on=ready)),
    )
