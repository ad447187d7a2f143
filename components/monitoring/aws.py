"""Monitoring on AWS: the stack on the cluster, and CloudWatch for what lies outside of it.

Both tell the same topic. CloudWatch watches what Prometheus cannot ask: database, tables, ways out, and the API server,
whose failures take Prometheus along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input
from pulumi_aws import cloudwatch, eks, iam
from pulumi_kubernetes import apiextensions

from components.cloud import Cloud
from components.cluster.pod_identity import pod_trust
from components.component import Component
from components.monitoring.kubernetes import GRAFANA_SECRET, NAMESPACE, MonitoringStack, StackArgs
from components.secrets import REFRESH, STORE, Secret, SecretArgs

INSIGHTS = "amazon-cloudwatch-observability"
INSIGHTS_ACCOUNT = ("amazon-cloudwatch", "cloudwatch-agent")
INSIGHTS_LOGS = ("application", "dataplane", "host", "performance")
_GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class MonitoringSection:
    """Monitoring as the settings state it.

    Attributes:
        retention_days: metrics are kept this long.
        scrape_seconds: time between two scrapes.
        storage_gib: disk of Prometheus.
        storage_class: class of that disk.
        container_insights: whether CloudWatch Container Insights is on.
        log_days: its logs are kept this long.
    """

    retention_days: int
    scrape_seconds: int
    storage_gib: int
    storage_class: str
    container_insights: bool
    log_days: int


@dataclass(frozen=True, kw_only=True)
class AwsMonitoringArgs:
    """What monitoring on AWS is made with.

    Attributes:
        cloud: the environment.
        section: the settings.
        cluster: name of the cluster.
        cluster_made: the same, known once the cluster is there.
        alarm_topic: ARN of the topic that alarms go to.
        database_storage_gib: storage of the database at first.
        tables: names of DynamoDB tables.
        secrets_key: ARN of the key that encrypts secrets.
        logs_key: ARN of the key that encrypts logs.
        ready: what the stack's pods wait for: their roles.
    """

    cloud: Cloud
    section: MonitoringSection
    cluster: str
    cluster_made: Input[str]
    alarm_topic: Input[str]
    database_storage_gib: int
    tables: Sequence[str]
    secrets_key: Input[str]
    logs_key: Input[str]
    ready: Sequence[pulumi.Resource] = ()


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm: it tells when a statistic is beyond a threshold for `times` periods of `seconds` each.

    `missing` is what no data means: nothing wrong where AWS reports only failures, and trouble where it always reports.
    """

    name: str
    what: str
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    threshold: float
    statistic: str = "Average"
    below: bool = False
    seconds: int = 300
    times: int = 3
    missing: str = "notBreaching"


def alarms(args: AwsMonitoringArgs) -> list[Alarm]:
    """What is watched from outside, with thresholds that leave time to act."""
    database = (("DBInstanceIdentifier", args.cloud.names.of("database", "main")),)
    rds: dict[str, Any] = {"namespace": "AWS/RDS", "dimensions": database, "missing": "breaching"}
    found = [
        Alarm(name="database-cpu", what="CPU above 80 % for 15 minutes", metric="CPUUtilization", threshold=80, **rds),
        Alarm(
            name="database-storage",
            what="less than a tenth of its first storage is free; it grows by itself up to maxStorageGib",
            metric="FreeStorageSpace",
            threshold=args.database_storage_gib * _GIB / 10,
            below=True,
            **rds,
        ),
        Alarm(
            name="database-connections",
            what="more connections than the smallest size allows without trouble (4 GiB: about 400)",
            metric="DatabaseConnections",
            threshold=300,
            **rds,
        ),
        Alarm(
            name="cluster-api-errors",
            what="the API server of the cluster answers with errors of its own",
            namespace="AWS/EKS",
            metric="apiserver_request_total_5XX",
            dimensions=(("ClusterName", args.cluster),),
            statistic="Sum",
            threshold=50,
        ),
    ]
    for table in args.tables:
        found += [
            Alarm(
                name=f"{table}-{kind}-throttled",
                what=f"{kind}s of the table {table} are refused for their number",
                namespace="AWS/DynamoDB",
                metric=f"{kind.title()}ThrottleEvents",
                dimensions=(("TableName", table),),
                statistic="Sum",
                threshold=0,
                times=2,
            )
            for kind in ("read", "write")
        ]
    return found


class AwsMonitoring(Component):
    """The stack on the cluster, alarms of CloudWatch, and Container Insights where asked for."""

    url: pulumi.Output[str]
    """Address of Prometheus inside the cluster."""
    dashboards_url: pulumi.Output[str]
    """Address of Grafana inside the cluster."""
    dashboards_password: pulumi.Output[str]
    """Password of its user `admin`; a secret."""

    def __init__(self, name: str, args: AwsMonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:monitoring:AwsMonitoring", name, opts)
        for alarm in alarms(args):
            self._alarm(args, alarm)
        self._ways_out(args)
        if args.section.container_insights:
            self._insights(args)
        password = Secret(
            GRAFANA_SECRET,
            SecretArgs(
                cloud=args.cloud,
                purpose=GRAFANA_SECRET,
                what="Password of Grafana's administrator",
                key=args.secrets_key,
            ),
            self.child(),
        )
        account = apiextensions.CustomResource(
            GRAFANA_SECRET,
            api_version="external-secrets.io/v1",
            kind="ExternalSecret",
            metadata={"name": GRAFANA_SECRET, "namespace": NAMESPACE},
            spec={
                "refreshInterval": REFRESH,
                "secretStoreRef": {"kind": "SecretStore", "name": STORE},
                "target": {
                    "name": GRAFANA_SECRET,
                    "creationPolicy": "Owner",
                    "deletionPolicy": "Retain",
                    "template": {
                        "engineVersion": "v2",
                        "data": {"user": "admin", "password": "{{ .password }}"},
                    },
                },
                "data": [
                    {
                        "secretKey": "password",
                        "remoteRef": {"key": args.cloud.names.path("secret", GRAFANA_SECRET)},
                    }
                ],
            },
            opts=self.child(depends_on=password.ready),
        )
        section = args.section
        stack = MonitoringStack(
            "stack",
            StackArgs(
                region=args.cloud.region,
                alarm_topic=args.alarm_topic,
                retention_days=section.retention_days,
                scrape_seconds=section.scrape_seconds,
                storage_gib=section.storage_gib,
                storage_class=section.storage_class,
            ),
            self.child(depends_on=[account, *args.ready]),
        )
        self.register(url=stack.url, dashboards_url=stack.dashboards_url, dashboards_password=password.value)

    def _alarm(self, args: AwsMonitoringArgs, alarm: Alarm) -> None:
        cloudwatch.MetricAlarm(
            alarm.name,
            name=args.cloud.names.of("alarm", alarm.name),
            alarm_description=alarm.what,
            namespace=alarm.namespace,
            metric_name=alarm.metric,
            dimensions=dict(alarm.dimensions),
            statistic=alarm.statistic,
            period=alarm.seconds,
            evaluation_periods=alarm.times,
            comparison_operator="LessThanThreshold" if alarm.below else "GreaterThanThreshold",
            threshold=alarm.threshold,
            treat_missing_data=alarm.missing,
            alarm_actions=[args.alarm_topic],
            ok_actions=[args.alarm_topic],
            opts=self.child(),
        )

    def _ways_out(self, args: AwsMonitoringArgs) -> None:
        """NAT gateways that can't open connections; asked over all of the account, since their ids come and go."""
        cloudwatch.MetricAlarm(
            "nat-ports",
            name=args.cloud.names.of("alarm", "nat-ports"),
            alarm_description="A NAT gateway has no port left for new connections",
            metric_queries=[
                {
                    "id": "errors",
                    "expression": 'SELECT SUM(ErrorPortAllocation) FROM SCHEMA("AWS/NATGateway", NatGatewayId)',
                    "period": 300,
                    "return_data": True,
                }
            ],
            evaluation_periods=2,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            treat_missing_data="notBreaching",
            alarm_actions=[args.alarm_topic],
            ok_actions=[args.alarm_topic],
            opts=self.child(),
        )

    def _insights(self, args: AwsMonitoringArgs) -> None:
        cloud = args.cloud
        groups: list[pulumi.Resource] = [
            cloudwatch.LogGroup(
                f"insights-{kind}",
                # The agent writes to these names, and would make them itself: unencrypted and for ever.
                name=f"/aws/containerinsights/{args.cluster}/{kind}",
                retention_in_days=args.section.log_days,
                kms_key_id=args.logs_key,
                opts=self.child(),
            )
            for kind in INSIGHTS_LOGS
        ]
        role = iam.Role(
            "insights",
            name=cloud.names.of("role", "insights"),
            assume_role_policy=pod_trust(cloud, args.cluster, *INSIGHTS_ACCOUNT),
            opts=self.child(),
        )
        rights = iam.RolePolicyAttachment(
            "insights",
            role=role.name,
            policy_arn=f"arn:{cloud.partition}:iam::aws:policy/CloudWatchAgentServerPolicy",
            opts=self.child(),
        )
        # Without a version: that which EKS holds for the right one for the cluster. Nothing depends on it.
        eks.Addon(
            INSIGHTS,
            cluster_name=args.cluster_made,
            addon_name=INSIGHTS,
            pod_identity_associations=[{"role_arn": role.arn, "service_account": INSIGHTS_ACCOUNT[1]}],
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=self.child(depends_on=[rights, *groups]),
        )
