"""The `aws` target: which realisation of each capability makes up an environment in an account, and its settings.

Imported only by programs of that target, since the provider's classes take their time to load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws
from pulumi import Output

from components.cloud import Cloud
from components.cluster.aws import AwsCluster, AwsClusterArgs, SystemNodesArgs
from components.cluster.placement import NodePoolArgs
from components.cluster.quotas import Quota
from components.cluster.runner import Runner, RunnerArgs
from components.cluster.secrets import ExternalSecrets
from components.data_aws import DataArgs, DataSection, compose_data
from components.governance.aws import AwsRecords, AwsRecordsArgs
from components.identity.aws import AwsIdentities, AwsIdentitiesArgs
from components.labels import labelled
from components.monitoring.aws import MonitoringSection
from components.network import Nat
from components.network.aws import AwsNetwork, AwsNetworkArgs
from components.registry.images import reference
from components.serving_aws import InferenceSection, ServingArgs, compose_serving
from components.training_aws import PipelinesSection, TrainingArgs, compose_training
from policies.ownership import labels


@dataclass(frozen=True, kw_only=True)
class AwsTarget:
    """What an environment in an account is made with, one section a component."""

    cloud: Cloud
    records: AwsRecordsArgs
    network: NetworkSection
    cluster: ClusterSection
    data: DataSection
    inference: InferenceSection
    monitoring: MonitoringSection
    pipelines: PipelinesSection


@dataclass(frozen=True, kw_only=True)
class NetworkSection:
    """The network as the settings state it; the rest of its arguments comes from other components."""

    cidr: str
    zones: int
    nat: Nat
    interface_endpoints: bool
    flow_log_days: int


@dataclass(frozen=True, kw_only=True)
class ClusterSection:
    """The Kubernetes cluster as the settings state it.

    `runner` is where a CI runner registers, None without one; `runner_digest` is that of its image, None until it is
    pushed.
    """

    version: str
    public_cidrs: Sequence[str]
    admin_roles: Sequence[str]
    release_roles: Sequence[str]
    log_days: int
    system: SystemNodesArgs
    pools: Sequence[NodePoolArgs]
    quotas: Mapping[str, Quota]
    runner: str | None
    runner_digest: str | None


def compose(target: AwsTarget, parent: pulumi.Resource) -> Mapping[str, Any]:
    """Compose an environment in an account; returns where each surface of it is."""
    cloud = target.cloud
    provider = pulumi_aws.Provider(
        "aws",
        region=cloud.region,
        allowed_account_ids=[cloud.account],
        default_tags={"tags": dict(cloud.tags)},
        opts=pulumi.ResourceOptions(parent=parent),
    )
    within = pulumi.ResourceOptions(
        parent=parent, providers={"aws": provider}, transformations=[labelled(labels(cloud.tags))]
    )
    records = AwsRecords("records", target.records, within)
    network = AwsNetwork(
        "network",
        AwsNetworkArgs(
            cloud=cloud,
            cluster=cloud.names.of("cluster", "main"),
            logs_key=records.key.arn("logs"),
            cidr=target.network.cidr,
            zones=target.network.zones,
            nat=target.network.nat,
            interface_endpoints=target.network.interface_endpoints,
            flow_log_days=target.network.flow_log_days,
        ),
        within,
    )
    cluster = AwsCluster(
        "cluster",
        AwsClusterArgs(
            cloud=cloud,
            name=cloud.names.of("cluster", "main"),
            version=target.cluster.version,
            public_cidrs=target.cluster.public_cidrs,
            admin_roles=target.cluster.admin_roles,
            release_roles=target.cluster.release_roles,
            log_days=target.cluster.log_days,
            system=target.cluster.system,
            pools=target.cluster.pools,
            quotas=target.cluster.quotas,
            network_cidr=target.network.cidr,
            isolated=target.network.nat == "none",
            control_subnet_ids=network.intra_subnet_ids,
            node_subnet_ids=network.private_subnet_ids,
            logs_key=records.key.arn("logs"),
            secrets_key=records.key.arn("secrets"),
            disks_key=records.key.arn("cluster"),
            queue_key=records.key.arn("data"),
        ),
        # Nodes that start without a way out fetch no images and never become ready.
        pulumi.ResourceOptions.merge(within, pulumi.ResourceOptions(depends_on=[network])),
    )
    identities = AwsIdentities(
        "identities",
        AwsIdentitiesArgs(
            cloud=cloud,
            cluster=cloud.names.of("cluster", "main"),
            cluster_made=cluster.cluster_name,
        ),
        within,
    )
    on_cluster = pulumi.ResourceOptions.merge(
        within,
        pulumi.ResourceOptions(providers={"kubernetes": cluster.kubernetes}, depends_on=list(cluster.namespaces)),
    )
    external_secrets = ExternalSecrets(
        "external-secrets",
        pulumi.ResourceOptions.merge(on_cluster, pulumi.ResourceOptions(depends_on=identities.ready("secrets"))),
    )
    with_secrets = pulumi.ResourceOptions.merge(on_cluster, pulumi.ResourceOptions(depends_on=[external_secrets]))
    if target.cluster.runner is not None and target.cluster.runner_digest is not None:
        image = reference(cloud, "runner", target.cluster.runner_digest)
        Runner("runner", RunnerArgs(cloud=cloud, url=target.cluster.runner, image=image), with_secrets)
    data = compose_data(
        DataArgs(
            cloud=cloud,
            section=target.data,
            key=records.key,
            identities=identities,
            network=network,
            network_cidr=target.network.cidr,
            network_zones=target.network.zones,
            node_security_group_id=cluster.node_security_group_id,
            registry_proxied=target.pipelines.runner == "sagemaker",
        ),
        within,
        with_secrets,
    )
    serving = compose_serving(
        ServingArgs(
            cloud=cloud,
            inference=target.inference,
            monitoring=target.monitoring,
            database_storage_gib=target.data.registry.database.storage_gib,
            key=records.key,
            identities=identities,
            data=data,
            cluster_made=cluster.cluster_name,
            api_server=cluster.endpoint,
            api_authority=cluster.authority,
            network_cidr=target.network.cidr,
            zones=target.network.zones,
            alarm_topic=records.alarm_topic,
            feature_table=target.data.feature_kind == "feast",
            retrained=target.pipelines.runner == "sagemaker" and target.pipelines.digest is not None,
        ),
        with_secrets,
    )
    training = compose_training(
        TrainingArgs(
            cloud=cloud,
            section=target.pipelines,
            key=records.key,
            identities=identities,
            network=network,
            zones=target.network.zones,
            cluster=cluster,
            data=data,
        ),
        within,
        with_secrets,
    )
    return {
        "alarms": {"url": records.alarm_topic},
        "audit": {"url": Output.concat("s3://", records.audit_bucket)},
        "cluster": {"url": cluster.endpoint},
        "network": {"url": network.vpc_id},
        **data.endpoints(),
        **serving,
        **training,
    }
