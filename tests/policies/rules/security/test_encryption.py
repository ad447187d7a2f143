"""Encryption at rest: with a key that the same stack makes, judged by where it comes from."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.encryption import (
    bucket_encrypted,
    disks_encrypted,
    encrypted_with_environment_key,
    volumes_encrypted,
)
from policies.testing import admit, deny, made_from, resource, secret, undetermined, unknown

KEY = resource("aws:kms/key:Key", "data")
ARN = "arn:aws:kms:eu-central-1:333333333333:key/1"
KINDS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    # type, what must be on besides, where the key stands
    ("aws:rds/instance:Instance", {"storageEncrypted": True}, ("kmsKeyId",)),
    ("aws:rds/cluster:Cluster", {"storageEncrypted": True}, ("kmsKeyId",)),
    ("aws:dynamodb/table:Table", {"serverSideEncryption": {"enabled": True}}, ("serverSideEncryption", "kmsKeyArn")),
    ("aws:opensearch/domain:Domain", {"encryptAtRest": {"enabled": True}}, ("encryptAtRest", "kmsKeyId")),
    ("aws:efs/fileSystem:FileSystem", {"encrypted": True}, ("kmsKeyId",)),
    ("aws:sns/topic:Topic", {}, ("kmsMasterKeyId",)),
    ("aws:sqs/queue:Queue", {}, ("kmsMasterKeyId",)),
    ("aws:cloudwatch/logGroup:LogGroup", {}, ("kmsKeyId",)),
    ("aws:cloudtrail/trail:Trail", {}, ("kmsKeyId",)),
    ("aws:secretsmanager/secret:Secret", {}, ("kmsKeyId",)),
    ("aws:kinesis/stream:Stream", {"encryptionType": "KMS"}, ("kmsKeyId",)),
    (
        "aws:eks/cluster:Cluster",
        {"encryptionConfig": {"resources": ["secrets"]}},
        ("encryptionConfig", "provider", "keyArn"),
    ),
]


def kept(kind: str, stated: dict[str, Any], path: tuple[str, ...], key: Any) -> Resource:
    inputs: dict[str, Any] = {name: dict(one) if isinstance(one, dict) else one for name, one in stated.items()}
    inner = inputs
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = key
    return resource(kind, "one", inputs)


@pytest.mark.parametrize(("kind", "stated", "path"), KINDS)
def test_a_key_of_the_stack_is_admitted_known_or_not(kind: str, stated: dict[str, Any], path: tuple[str, ...]) -> None:
    for key in (KEY, made_from(KEY, value=ARN), resource("aws:kms/alias:Alias", "data")):
        one = kept(kind, stated, path, key)
        admit(encrypted_with_environment_key, one, *([key] if isinstance(key, Resource) else []), KEY)


@pytest.mark.parametrize(("kind", "stated", "path"), KINDS)
def test_any_other_key_is_denied(kind: str, stated: dict[str, Any], path: tuple[str, ...]) -> None:
    where = ".".join(path)
    deny(encrypted_with_environment_key, kept(kind, stated, path, None), KEY, says="not stated", path=where)
    deny(encrypted_with_environment_key, kept(kind, stated, path, ARN), KEY, says="from elsewhere", path=where)
    for aws_own in ("alias/aws/rds", secret("alias/aws/rds"), made_from(KEY, value="alias/aws/rds")):
        one = kept(kind, stated, path, aws_own)
        deny(encrypted_with_environment_key, one, KEY, says="a key of AWS's own", path=where)


@pytest.mark.parametrize(("kind", "stated", "path"), KINDS)
def test_a_key_that_comes_from_who_knows_where_is_undetermined(
    kind: str, stated: dict[str, Any], path: tuple[str, ...]
) -> None:
    elsewhere = resource("pulumi:pulumi:StackReference", "other")
    undetermined(encrypted_with_environment_key, kept(kind, stated, path, unknown(elsewhere)), elsewhere, KEY)


@pytest.mark.parametrize(("kind", "stated", "path"), [one for one in KINDS if one[1]])
def test_what_is_not_switched_on_is_denied(kind: str, stated: dict[str, Any], path: tuple[str, ...]) -> None:
    deny(encrypted_with_environment_key, kept(kind, {}, path, KEY), KEY, says="it is not encrypted")


def test_images_are_encrypted_by_the_key_of_their_repository() -> None:
    kind = "aws:ecr/repository:Repository"
    good = {"encryptionType": "KMS", "kmsKey": KEY}
    admit(encrypted_with_environment_key, resource(kind, "serving", encryptionConfigurations=[good]), KEY)
    deny(encrypted_with_environment_key, resource(kind, "serving"), KEY, times=2)
    shared = resource(kind, "serving", encryptionConfigurations=[{**good, "encryptionType": "AES256"}])
    path = "encryptionConfigurations[0].encryptionType"
    deny(encrypted_with_environment_key, shared, KEY, says="AES256", path=path)
    undetermined(encrypted_with_environment_key, resource(kind, "serving", encryptionConfigurations=unknown()))


BUCKET = resource("aws:s3/bucket:Bucket", "data")


def encryption(key: Any, algorithm: Any = "aws:kms", **more: Any) -> Resource:
    rule = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": algorithm, "kmsMasterKeyId": key}}
    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    return resource(kind, "data", {"bucket": BUCKET, "rules": [rule], **more})


def test_a_bucket_is_encrypted_with_a_key_of_the_stack() -> None:
    admit(bucket_encrypted, BUCKET, encryption(KEY), KEY)
    admit(bucket_encrypted, BUCKET, encryption(KEY, "aws:kms:dsse"), KEY)
    deny(bucket_encrypted, BUCKET, KEY, at=BUCKET, says="no configuration of encryption")
    nothing: list[Any] = [[], None]
    for rules in nothing:
        none = encryption(KEY, rules=rules)
        deny(bucket_encrypted, BUCKET, none, KEY, at=none, path="rules", says="no rules")
    wrong = encryption(KEY, "AES256")
    where = "rules[0].applyServerSideEncryptionByDefault.sseAlgorithm"
    deny(bucket_encrypted, BUCKET, wrong, KEY, at=wrong, path=where)
    deny(bucket_encrypted, BUCKET, encryption(None), KEY, says="not stated")
    undetermined(bucket_encrypted, BUCKET, encryption(KEY, unknown()), KEY)
    undetermined(bucket_encrypted, BUCKET, encryption(unknown()), KEY)


def test_disks_of_nodes_are_encrypted_with_a_key_of_the_stack() -> None:
    template, nodes = "aws:ec2/launchTemplate:LaunchTemplate", "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"

    def made(kind: str, *disks: Any) -> Resource:
        name = "kmsKeyId" if kind == template else "kmsKeyID"
        stated = [{"ebs": {**disk, name: disk["key"]}} for disk in disks]
        devices = {"blockDeviceMappings": stated}
        return resource(kind, "system", devices if kind == template else {"spec": devices})

    for kind, on in ((template, "true"), (nodes, True)):
        good = {"encrypted": on, "key": KEY}
        admit(disks_encrypted, made(kind, good, good), KEY)
        deny(disks_encrypted, made(kind), KEY, says="states no disks")
        deny(disks_encrypted, made(kind, good, {"encrypted": "false", "key": KEY}), KEY, says="not encrypted")
        deny(disks_encrypted, made(kind, good, {"encrypted": on, "key": "alias/aws/ebs"}), KEY, says="AWS's own")
        undetermined(disks_encrypted, made(kind, {"encrypted": unknown(), "key": KEY}), KEY)


def test_volumes_are_encrypted_with_a_key_of_the_stack() -> None:
    def kind(provisioner: str = "ebs.csi.aws.com", **parameters: Any) -> Resource:
        content = {"provisioner": provisioner, "parameters": parameters}
        return resource("kubernetes:storage.k8s.io/v1:StorageClass", "gp3", content)

    admit(volumes_encrypted, kind(encrypted="true", kmsKeyId=KEY), KEY)
    admit(volumes_encrypted, kind("efs.csi.aws.com"), KEY)
    deny(volumes_encrypted, kind(kmsKeyId=KEY), KEY, path="parameters.encrypted")
    deny(volumes_encrypted, kind(encrypted="true"), KEY, path="parameters.kmsKeyId")
    undetermined(volumes_encrypted, kind(encrypted=unknown(), kmsKeyId=KEY), KEY)


def test_each_configuration_and_rule_of_a_bucket_is_looked_at() -> None:
    good = encryption(KEY)
    wrong = resource(good.type, "second", encryption(KEY, "AES256").inputs, bucket=BUCKET)
    deny(bucket_encrypted, BUCKET, good, wrong, KEY, at=wrong)
    rules = [dict(one.inputs["rules"][0]) for one in (good, encryption(KEY, "AES256"))]
    path = "rules[1].applyServerSideEncryptionByDefault.sseAlgorithm"
    deny(bucket_encrypted, BUCKET, encryption(KEY, rules=rules), KEY, path=path)
