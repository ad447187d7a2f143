"""Buckets: closed to the public, whatever their policies or access lists say."""

from __future__ import annotations

from collections.abc import Iterator

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
BLOCKS = ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",)
_SWITCHES = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


@resource_rule(
    id="security.bucket-not-public",
    title="Every bucket blocks all public access",
    severity="critical",
    why="Training data, models and audit records in a public bucket are lost the moment somebody finds it.",
    fix="give the bucket a BucketPublicAccessBlock with all four switches on",
    references=("CIS AWS Foundations 3.0 2.1.4", "AWS FSBP S3.8"),
    types=BUCKETS,
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def bucket_not_public(bucket: Resource, world: World) -> Iterator[Answer]:
    """Look for the bucket's block, and at its switches."""
    plan = world.plan
    blocks = [one for one in plan.of(*BLOCKS) if bucket in plan.origins(one, "bucket")]
    if not blocks:
        yield Problem("it has no block of public access")
    for block in blocks:
        for switch in _SWITCHES:
            if block.value(switch, default=False) is not True:
                yield Problem(f"{switch} is off", urn=block.urn, path=switch)
