"""The audit bucket and the trail of every call of the account: what nobody can change or take away afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import Output
from pulumi_aws import cloudtrail

from components.buckets import Bucket, BucketArgs
from components.cloud import Cloud, Statement, allow
from components.component import Component


@dataclass(frozen=True, kw_only=True)
class AuditArgs:
    """What the audit records are made with.

    Attributes:
        cloud: the environment.
        key: ARN of the key of audit records.
        days: for how long nothing in the bucket can be changed or deleted.
        mode: whether a named role may override that (`governance`), or nobody (`compliance`).
    """

    cloud: Cloud
    key: pulumi.Input[str]
    days: int
    mode: Literal["governance", "compliance"]


class Audit(Component):
    """Audit bucket under Object Lock, and a CloudTrail with validated log files in it."""

    bucket: Output[str]
    """Name of the bucket: the trail under `AWSLogs/`, checkpoints of the ledger under `ledger/`."""
    trail_arn: Output[str]
    """The trail."""

    def __init__(self, name: str, args: AuditArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:governance:Audit", name, opts)
        cloud = args.cloud
        trail = cloud.names.of("trail", "audit")
        arn = cloud.arn("cloudtrail", f"trail/{trail}")
        bucket = Bucket(
            "audit",
            BucketArgs(
                cloud=cloud,
                purpose="audit",
                key=args.key,
                old_versions_days=args.days,
                object_lock=(args.days, args.mode),
                statements=trail_statements(cloud, arn),
            ),
            self.child(),
        )
        made = cloudtrail.Trail(
            "audit",
            name=trail,
            s3_bucket_name=bucket.name,
            kms_key_id=args.key,
            is_multi_region_trail=True,
            include_global_service_events=True,
            enable_log_file_validation=True,
            enable_logging=True,
            opts=self.child(depends_on=[bucket]),
        )
        self.register(bucket=bucket.name, trail_arn=made.arn)


def trail_statements(cloud: Cloud, trail: str) -> list[Statement]:
    """What lets CloudTrail, and only this trail, write into the bucket."""
    bucket = f"arn:{cloud.partition}:s3:::{cloud.names.bucket('audit')}"
    principal, source = cloud.service("cloudtrail"), {"aws:SourceArn": trail}
    return [
        allow(["s3:GetBucketAcl"], bucket, Sid="TrailLooks", Principal=principal, Condition={"StringEquals": source}),
        allow(
            ["s3:PutObject"],
            f"{bucket}/AWSLogs/{cloud.account}/*",
            Sid="TrailWrites",
            Principal=principal,
            Condition={"StringEquals": source | {"s3:x-amz-acl": "bucket-owner-full-control"}},
        ),
    ]
