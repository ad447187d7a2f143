"""Buckets: closed to the public."""

import json

import pytest

from policies.plan import Resource
from policies.rules.security.buckets import bucket_list_not_public, bucket_not_public, bucket_policy_not_public
from policies.testing import admit, deny, made_from, resource, skip, undetermined, unknown

SWITCHES = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
ON = dict.fromkeys(SWITCHES, True)


def bucket(name: str = "data", kind: str = "aws:s3/bucket:Bucket") -> Resource:
    return resource(kind, name, bucket=f"acme-{name}")


def block(of: Resource, **switches: object) -> Resource:
    given = {**ON, **switches}
    return resource("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", of.name, given, bucket=of)


@pytest.mark.parametrize("kind", ["aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"])
def test_bucket_with_all_four_switches_is_admitted(kind: str) -> None:
    data = bucket(kind=kind)
    admit(bucket_not_public, data, block(data))


def test_block_of_a_bucket_that_is_there_already_counts() -> None:
    data = bucket()
    there = resource(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "data", ON, bucket=made_from(data, value="acme-data")
    )
    admit(bucket_not_public, data, there)


def test_bucket_without_a_block_or_with_that_of_another_is_denied() -> None:
    data, other = bucket(), bucket("other")
    deny(bucket_not_public, data, at=data, says="no block of public access")
    deny(bucket_not_public, data, other, block(other), at=data, says="no block of public access")


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("value", [False, "true", None])
def test_each_switch_must_be_on(switch: str, value: object) -> None:
    data = bucket()
    of = block(data, **{switch: value})
    deny(bucket_not_public, data, of, says=f"{switch} is off", at=of, path=switch)


@pytest.mark.parametrize("switch", SWITCHES)
def test_switch_that_is_not_known_is_undetermined(switch: str) -> None:
    data = bucket()
    undetermined(bucket_not_public, data, block(data, **{switch: unknown()}), path=switch)


def test_plan_without_buckets_is_none_of_its_business() -> None:
    skip(bucket_not_public, resource("aws:kms/key:Key", "data"))


def policy(principal: object, **more: object) -> Resource:
    statement = {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Principal": principal, **more}
    return resource("aws:s3/bucketPolicy:BucketPolicy", "data", policy=json.dumps({"Statement": [statement]}))


def test_a_policy_that_names_who_may_come_in_is_admitted() -> None:
    admit(bucket_policy_not_public, policy({"AWS": "arn:aws:iam::333333333333:role/reader"}))
    admit(bucket_policy_not_public, policy("*", Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}}))
    admit(bucket_policy_not_public, policy("*", Effect="Deny"))


def test_a_policy_that_lets_everybody_in_is_denied() -> None:
    for principal in ("*", {"AWS": "*"}):
        deny(bucket_policy_not_public, policy(principal), says="Read allows s3:GetObject to everybody", path="policy")
    condition = {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}
    deny(bucket_policy_not_public, policy("*", Condition=condition), path="policy")


def test_a_policy_that_is_not_known_is_undetermined() -> None:
    undetermined(bucket_policy_not_public, resource("aws:s3/bucketPolicy:BucketPolicy", "data", policy=unknown()))


def test_no_access_list_lets_everybody_in() -> None:
    everyone = "http://acs.amazonaws.com/groups/global/AllUsers"
    kind = "aws:s3/bucketAcl:BucketAcl"
    for acl in (None, "private", "log-delivery-write"):
        admit(bucket_list_not_public, resource(kind, "data", acl=acl))
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        deny(bucket_list_not_public, resource(kind, "data", acl=acl), says=acl, path="acl")
    granted = [{"grantee": {"uri": everyone}, "permission": "READ"}, {"grantee": {"id": "1"}, "permission": "READ"}]
    path = "accessControlPolicy.grants"
    deny(
        bucket_list_not_public, resource(kind, "data", accessControlPolicy={"grants": granted}), says="READ", path=path
    )
    deny(bucket_list_not_public, resource("aws:s3/bucket:Bucket", "data", grants=[{"uri": everyone}]), path="grants")
    undetermined(bucket_list_not_public, resource(kind, "data", acl=unknown()), path="acl")


def test_each_block_statement_and_grant_is_looked_at() -> None:
    data = bucket()
    second = resource(
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "second",
        {**ON, "blockPublicAcls": False},
        bucket=data,
    )
    deny(bucket_not_public, data, block(data), second, at=second, path="blockPublicAcls")
    root = {"Effect": "Allow", "Action": "s3:*", "Principal": {"AWS": "arn:aws:iam::333333333333:root"}}
    both = json.dumps({"Statement": [root, {"Effect": "Allow", "Action": "s3:Get*", "Principal": "*"}]})
    deny(bucket_policy_not_public, resource("aws:s3/bucketPolicy:BucketPolicy", "data", policy=both), says="s3:Get*")
    everyone = "http://acs.amazonaws.com/groups/global/AllUsers"
    granted = [{"grantee": {"id": "1"}, "permission": "READ"}, {"grantee": {"uri": everyone}, "permission": "WRITE"}]
    listed = resource("aws:s3/bucketAcl:BucketAcl", "data", accessControlPolicy={"grants": granted})
    deny(bucket_list_not_public, listed, says="WRITE")
