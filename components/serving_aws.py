"""What an environment on AWS serves and watches with: inference and monitoring, composed after what they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.cloud import Cloud
from components.cluster.service_access import proxy_path
from components.data_aws import Data
from components.governance.keys import Keys
from components.identity.aws import AwsIdentities
from components.inference import Batching, Capture, Group, Limits
from components.inference.aws import AwsInference, AwsInferenceArgs, feature_access, registry_access
from components.inference.kubernetes import CONTROL, CONTROL_PORT, ServingSection
from components.inference.ray_service import NAMESPACE
from components.monitoring.aws import AwsMonitoring, AwsMonitoringArgs, MonitoringSection
from components.network.plan import divide


@dataclass(frozen=True, kw_only=True)
class InferenceSection:
    """Inference as the settings state it; `digest` is None while nothing that needs an image is made."""

    environment: str
    digest: str | None
    serving: ServingSection
    groups: Sequence[Group]
    limits: Limits
    capture: Capture
    batching: Batching
    rollout_timeout_seconds: int
    feature_deadline_ms: int


@dataclass(frozen=True, kw_only=True)
class ServingArgs:
    """What they are made with: the settings, and the components that stand before them.

    `retrained` says whether something here trains a model anew when its drift is told.
    """

    cloud: Cloud
    inference: InferenceSection
    monitoring: MonitoringSection
    database_storage_gib: int
    key: Keys
    identities: AwsIdentities
    data: Data
    cluster_made: pulumi.Input[str]
    api_server: pulumi.Input[str]
    api_authority: pulumi.Input[str]
    network_cidr: str
    zones: int
    alarm_topic: pulumi.Input[str]
    feature_table: bool
    retrained: bool


def compose_serving(args: ServingArgs, on_cluster: pulumi.ResourceOptions) -> Mapping[str, Any]:
    """Compose them; returns where each surface is, and what it asks for.

    Args:
        args: what they are made with.
        on_cluster: options with both providers, for what waits for External Secrets.
    """
    cloud, section, data = args.cloud, args.inference, args.data
    inference = AwsInference(
        "inference",
        AwsInferenceArgs(
            cloud=cloud,
            environment=section.environment,
            section=section.serving,
            digest=section.digest,
            network_cidr=args.network_cidr,
            control_cidrs=[zone.intra for zone in divide(args.network_cidr, args.zones)],
            secrets_key=args.key.arn("secrets"),
            data_key=args.key.arn("data"),
            database_host=data.registry.database_address,
            database_secret=data.registry.database_secret,
            ready=[*args.identities.ready("control"), *args.identities.ready("serving")],
            registry=registry_access(data.registry.url, data.registry.username),
            features=feature_access(data.feature_store.url, section.feature_deadline_ms),
            limits=section.limits,
            capture=section.capture,
            batching=section.batching,
            groups=section.groups,
            rollout_timeout_seconds=section.rollout_timeout_seconds,
            retrained=args.retrained,
        ),
        pulumi.ResourceOptions.merge(on_cluster, pulumi.ResourceOptions(depends_on=[data.stores])),
    )
    monitoring = AwsMonitoring(
        "monitoring",
        AwsMonitoringArgs(
            cloud=cloud,
            section=args.monitoring,
            cluster=cloud.names.of("cluster", "main"),
            cluster_made=args.cluster_made,
            alarm_topic=args.alarm_topic,
            database_storage_gib=args.database_storage_gib,
            tables=[cloud.names.of("table", "features")] if args.feature_table else [],
            secrets_key=args.key.arn("secrets"),
            logs_key=args.key.arn("logs"),
            ready=args.identities.ready("alerts"),
        ),
        pulumi.ResourceOptions.merge(on_cluster, pulumi.ResourceOptions(depends_on=[data.stores])),
    )
    return {
        "control": {
            # Where those reach it who are outside of the cluster.
            "url": pulumi.Output.concat(args.api_server, proxy_path(NAMESPACE, CONTROL, CONTROL_PORT)),
            "token": inference.control_token,
            "cluster": args.cluster_made,
            "region": cloud.region,
            "authority": args.api_authority,
        }
        if section.digest is not None
        else {"url": "", "token": inference.control_token},
        "dashboards": {"url": monitoring.dashboards_url, "username": "admin", "token": monitoring.dashboards_password},
        "inference": {"url": inference.url, "token": inference.token},
        "metrics": {"url": monitoring.url},
    }
