"""Buckets of an environment on AWS: private, encrypted with a key of the environment, versioned, reached over TLS only.

Every bucket is made here, so that none can be made without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import Output
from pulumi_aws import s3

from components.cloud import Cloud, Statement, deny, policy
from components.component import Component


@dataclass(frozen=True, kw_only=True)
class BucketArgs:
    """What a bucket is made with.

    Attributes:
        cloud: the environment.
        purpose: what it is for, as part of its name.
        key: ARN of the key that encrypts it.
        old_versions_days: for how long overwritten and deleted objects can be brought back, days.
        expire: days after which objects below a prefix are deleted.
        object_lock: days for which objects can't be changed or deleted, and whether anybody may override it.
        statements: what its policy allows besides, to services that have no role of ours.
    """

    cloud: Cloud
    purpose: str
    key: pulumi.Input[str]
    old_versions_days: int
    expire: Sequence[tuple[str, int]] = ()
    object_lock: tuple[int, Literal["governance", "compliance"]] | None = None
    statements: Sequence[Statement] = ()


class Bucket(Component):
    """One bucket."""

    name: Output[str]
    """Its name."""
    arn: Output[str]
    """Its ARN."""

    def __init__(self, name: str, args: BucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:storage:Bucket", name, opts)
        called = args.cloud.names.bucket(args.purpose)
        keeps = pulumi.ResourceOptions(protect=args.cloud.protected)
        bucket = s3.Bucket(
            name,
            bucket=called,
            object_lock_enabled=args.object_lock is not None,
            force_destroy=not args.cloud.protected and args.object_lock is None,
            tags={"Name": called},
            opts=pulumi.ResourceOptions.merge(self.child(), keeps),
        )
        s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.child(),
        )
        s3.BucketOwnershipControls(
            name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=self.child()
        )
        s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": args.key,
                    },
                    "bucket_key_enabled": True,
                }
            ],
            opts=self.child(),
        )
        versioning = s3.BucketVersioning(
            name, bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=self.child()
        )
        s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.id,
            rules=lifecycle(args),
            opts=self.child(depends_on=[versioning]),
        )
        locked: list[pulumi.Resource] = []
        if args.object_lock is not None:
            days, mode = args.object_lock
            locked.append(
                s3.BucketObjectLockConfiguration(
                    name,
                    bucket=bucket.id,
                    rule={"default_retention": {"mode": mode.upper(), "days": days}},
                    opts=self.child(depends_on=[versioning]),
                )
            )
        # Last: it refuses whatever comes without TLS, and waits for the block of public access to be there.
        s3.BucketPolicy(
            name,
            bucket=bucket.id,
            policy=policy(*args.statements, tls_only(args.cloud, called)),
            opts=self.child(depends_on=[versioning, *locked]),
        )
        self.register(name=bucket.bucket, arn=bucket.arn)


def lifecycle(args: BucketArgs) -> list[s3.BucketLifecycleConfigurationRuleArgsDict]:
    """Rules that delete: old versions, unfinished uploads, and what has a term."""
    rules: list[s3.BucketLifecycleConfigurationRuleArgsDict] = [
        {
            "id": "old-versions",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "noncurrent_version_expiration": {"noncurrent_days": args.old_versions_days},
            "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
        }
    ]
    for prefix, days in args.expire:
        rules.append(
            {
                "id": f"expire-{prefix.strip('/').replace('/', '-')}",
                "status": "Enabled",
                "filter": {"prefix": prefix},
                "expiration": {"days": days},
            }
        )
    return rules


def tls_only(cloud: Cloud, bucket: str) -> Statement:
    """Statement that refuses requests without TLS."""
    arn = f"arn:{cloud.partition}:s3:::{bucket}"
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    return deny(["s3:*"], [arn, f"{arn}/*"], Sid="TlsOnly", Principal="*", Condition=condition)
