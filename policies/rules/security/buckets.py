"""Buckets: closed to the public, whatever their policies or access lists say."""

from __future__ import annotations

from collections.abc import Iterator

from policies.documents import statements
from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
BLOCKS = ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",)
POLICIES = ("aws:s3/bucketPolicy:BucketPolicy",)
_LISTS = ("aws:s3/bucketAcl:BucketAcl", "aws:s3/bucketAclV2:BucketAclV2")
_PUBLIC_LISTS = ("public-read", "public-read-write", "authenticated-read")
_EVERYONE = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
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
    blocks = world.plan.used_by(bucket, "bucket", *BLOCKS)
    if not blocks:
        yield Problem("it has no block of public access")
    for block in blocks:
        for switch in _SWITCHES:
            if block.value(switch, default=False) is not True:
                yield Problem(f"{switch} is off", urn=block.urn, path=switch)


@resource_rule(
    id="security.bucket-policy-not-public",
    title="No policy of a bucket lets everybody in",
    severity="critical",
    why="A block of public access can be lifted by one edit; the policy must not wait for that.",
    fix="name the principals, or narrow the statement by account, organisation or network",
    references=("AWS FSBP S3.2", "AWS FSBP S3.3"),
    types=POLICIES,
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def bucket_policy_not_public(policy: Resource, world: World) -> Iterator[Answer]:
    """Look for a statement that allows everybody."""
    for one in statements(policy.value("policy", default='{"Statement": []}')):
        if one.allows and one.everyone and not one.narrowed:
            yield Problem(f"{one.sid} allows {', '.join(one.actions)} to everybody", path="policy")


@resource_rule(
    id="security.bucket-list-not-public",
    title="No access list of a bucket lets everybody in",
    severity="critical",
    why="Access lists are the oldest way in and are looked at last.",
    fix="remove the access list and let the bucket's owner own every object (BucketOwnershipControls)",
    references=("AWS FSBP S3.12",),
    types=(*BUCKETS, *_LISTS),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def bucket_list_not_public(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the canned list, and at grants to groups of everybody."""
    if (canned := resource.value("acl", default="private")) in _PUBLIC_LISTS:
        yield Problem(f"its access list is {canned}; allowed: private", path="acl")
    for path in (("grants",), ("accessControlPolicy", "grants")):
        for grant in resource.value(*path, default=[]):
            if (uri := grant.get("uri") or grant.get("grantee", {}).get("uri")) in _EVERYONE:
                yield Problem(f"it grants {grant.get('permission', 'rights')} to {uri}", path=".".join(path))
