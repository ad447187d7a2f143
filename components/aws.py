"""The `aws` target: which realisation of each capability makes up an environment in an account, and its settings.

Imported only by programs of that target, since the provider's classes take their time to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws
from pulumi import Output

from components.cloud import Cloud
from components.governance.aws import AwsRecords, AwsRecordsArgs
from components.network import Nat
from components.network.aws import AwsNetwork, AwsNetworkArgs


@dataclass(frozen=True, kw_only=True)
class AwsTarget:
    """What an environment in an account is made with, one section a component."""

    cloud: Cloud
    records: AwsRecordsArgs
    network: NetworkSection


@dataclass(frozen=True, kw_only=True)
class NetworkSection:
    """The network as the settings state it; the rest of its arguments comes from other components."""

    cidr: str
    zones: int
    nat: Nat
    interface_endpoints: bool
    flow_log_days: int


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
    within = pulumi.ResourceOptions(parent=parent, providers={"aws": provider})
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
    return {
        "alarms": {"url": records.alarm_topic},
        "audit": {"url": Output.concat("s3://", records.audit_bucket)},
        "network": {"url": network.vpc_id},
    }
