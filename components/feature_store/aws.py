"""The feature store on AWS: rows in a bucket, the newest of each entity in DynamoDB or in a SageMaker feature group.

Feast and our server are the same in both cases; only the online store behind them is another, and models see nothing
of it. A feature group holds one record for each view and entity, with the values in one field, so that models come and
go without changing infrastructure; what people query in Athena are the rows in the bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_aws import dynamodb, sagemaker

from components.buckets import Bucket, BucketArgs
from components.cloud import Cloud
from components.component import Component
from components.feature_store import FeatureStore, FeatureStoreArgs
from components.feature_store.kubernetes import (
    NAMESPACE,
    PORT,
    SERVER,
    TOKEN,
    FeatureServer,
    FeatureServerArgs,
)
from components.secrets import Secret, SecretArgs

Kind = Literal["feast", "sagemaker"]
OLD_ROWS_DAYS = 90
"""Overwritten or deleted rows can be brought back this long, days."""
RECORD = {"record": "String", "event_time": "String", "content": "String"}
"""Features of the group: `view/entity`, time of the row (ISO 8601), and its values."""


@dataclass(frozen=True, kw_only=True)
class AwsFeatureStoreArgs(FeatureStoreArgs):
    """What the feature store on AWS needs besides.

    Attributes:
        cloud: the environment.
        kind: what keeps the online features.
        replicas: online servers.
        image: training image by digest; None makes everything but the server.
        data_key: ARN of the key that encrypts features.
        secrets_key: ARN of the key that encrypts the token.
        group_role: ARN of the role by which SageMaker copies records into the bucket.
        clients: namespaces whose pods may look features up, and get the token.
        identity: what gives the server its role.
    """

    cloud: Cloud
    kind: Kind
    replicas: int
    image: pulumi.Input[str] | None
    data_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    group_role: pulumi.Input[str]
    clients: Sequence[str]
    identity: Sequence[pulumi.Resource] = ()


class AwsFeatureStore(FeatureStore):
    """Feast over S3, and DynamoDB or SageMaker."""

    def __init__(self, name: str, args: AwsFeatureStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:feature_store:AwsFeatureStore", name, opts)
        cloud = args.cloud
        bucket = Bucket(
            "features",
            BucketArgs(cloud=cloud, purpose="features", key=args.data_key, old_versions_days=OLD_ROWS_DAYS),
            self.child(),
        )
        online = self._table(args) if args.kind == "feast" else self._group(args, bucket)
        token = Secret(
            TOKEN,
            SecretArgs(
                cloud=cloud,
                purpose=TOKEN,
                what="Token of the feature server",
                key=args.secrets_key,
                namespaces=sorted({NAMESPACE, *args.clients}),
            ),
            self.child(),
        )
        if args.image is not None:
            FeatureServer(
                SERVER,
                FeatureServerArgs(
                    image=args.image,
                    replicas=args.replicas,
                    environment=store_environment(cloud, args.kind),
                    clients=args.clients,
                ),
                self.child(depends_on=[online, bucket, *token.ready, *args.identity]),
            )
        host = f"{SERVER}.{NAMESPACE}.svc:{PORT}"
        self.register(url=f"http://{host}", token=token.value, metrics_targets=[host] if args.image is not None else [])

    def _keeps(self, cloud: Cloud, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        protection = pulumi.ResourceOptions(protect=cloud.protected)
        return pulumi.ResourceOptions.merge(self.child(depends_on=after), protection)

    def _table(self, args: AwsFeatureStoreArgs) -> pulumi.Resource:
        table: pulumi.Resource = dynamodb.Table(
            "features",
            name=args.cloud.names.of("table", "features"),
            billing_mode="PAY_PER_REQUEST",
            hash_key="entity",
            attributes=[{"name": "entity", "type": "S"}],
            server_side_encryption={"enabled": True, "kms_key_arn": args.data_key},
            point_in_time_recovery={"enabled": True},
            deletion_protection_enabled=args.cloud.protected,
            opts=self._keeps(args.cloud),
        )
        return table

    def _group(self, args: AwsFeatureStoreArgs, bucket: Component) -> pulumi.Resource:
        cloud = args.cloud
        group: pulumi.Resource = sagemaker.FeatureGroup(
            "features",
            feature_group_name=cloud.names.of("sagemaker", "features"),
            description="Online features of all models: one record for each view and entity",
            record_identifier_feature_name="record",
            event_time_feature_name="event_time",
            feature_definitions=[{"feature_name": feature, "feature_type": kind} for feature, kind in RECORD.items()],
            role_arn=args.group_role,
            online_store_config={
                "enable_online_store": True,
                "security_config": {"kms_key_id": args.data_key},
            },
            offline_store_config={
                "s3_storage_config": {
                    "s3_uri": f"s3://{cloud.names.bucket('features')}/groups/",
                    "kms_key_id": args.data_key,
                },
                "table_format": "Glue",
            },
            opts=self._keeps(cloud, bucket),
        )
        return group


def store_environment(cloud: Cloud, kind: Kind) -> dict[str, str]:
    """Variables by which `training.features` finds the store, in the server and in jobs of training."""
    where = (
        {"MLOPS_FEATURES_TABLE": cloud.names.of("table", "features")}
        if kind == "feast"
        else {"MLOPS_FEATURES_GROUP": cloud.names.of("sagemaker", "features")}
    )
    return {"AWS_REGION": cloud.region, "MLOPS_FEATURES_BUCKET": cloud.names.bucket("features"), **where}
