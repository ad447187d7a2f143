"""Encryption at rest, with a key of the environment: judged by which resource the key comes from.

A key that AWS keeps for all accounts has no policy of ours: nobody can be kept from using it, and its loss or use
cannot be told apart. So a key counts only when this stack makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.plan import MISSING, Resource, Secret, UndeterminedError, Unknown
from policies.pods import text_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.rules.security.buckets import BUCKETS

KEYS = ("aws:kms/key:Key", "aws:kms/replicaKey:ReplicaKey", "aws:kms/alias:Alias")
BUCKET_ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _AtRest:
    """Where a type states its key, and what must be switched on besides (path → value)."""

    key: Path
    switch: Path = ()
    on: Any = True


_TYPES: Mapping[str, _AtRest] = {
    "aws:rds/instance:Instance": _AtRest(("kmsKeyId",), ("storageEncrypted",)),
    "aws:rds/cluster:Cluster": _AtRest(("kmsKeyId",), ("storageEncrypted",)),
    "aws:docdb/cluster:Cluster": _AtRest(("kmsKeyId",), ("storageEncrypted",)),
    "aws:neptune/cluster:Cluster": _AtRest(("kmsKeyArn",), ("storageEncrypted",)),
    "aws:redshift/cluster:Cluster": _AtRest(("kmsKeyId",), ("encrypted",)),
    "aws:dynamodb/table:Table": _AtRest(("serverSideEncryption", "kmsKeyArn"), ("serverSideEncryption", "enabled")),
    "aws:elasticache/replicationGroup:ReplicationGroup": _AtRest(("kmsKeyId",), ("atRestEncryptionEnabled",)),
    "aws:opensearch/domain:Domain": _AtRest(("encryptAtRest", "kmsKeyId"), ("encryptAtRest", "enabled")),
    "aws:elasticsearch/domain:Domain": _AtRest(("encryptAtRest", "kmsKeyId"), ("encryptAtRest", "enabled")),
    "aws:efs/fileSystem:FileSystem": _AtRest(("kmsKeyId",), ("encrypted",)),
    "aws:ebs/volume:Volume": _AtRest(("kmsKeyId",), ("encrypted",)),
    "aws:sns/topic:Topic": _AtRest(("kmsMasterKeyId",)),
    "aws:sqs/queue:Queue": _AtRest(("kmsMasterKeyId",)),
    "aws:kinesis/stream:Stream": _AtRest(("kmsKeyId",), ("encryptionType",), "KMS"),
    "aws:msk/cluster:Cluster": _AtRest(("encryptionInfo", "encryptionAtRestKmsKeyArn")),
    "aws:cloudwatch/logGroup:LogGroup": _AtRest(("kmsKeyId",)),
    "aws:cloudtrail/trail:Trail": _AtRest(("kmsKeyId",)),
    "aws:secretsmanager/secret:Secret": _AtRest(("kmsKeyId",)),
    "aws:backup/vault:Vault": _AtRest(("kmsKeyArn",)),
    "aws:ecr/repository:Repository": _AtRest(
        ("encryptionConfigurations", 0, "kmsKey"), ("encryptionConfigurations", 0, "encryptionType"), "KMS"
    ),
    "aws:eks/cluster:Cluster": _AtRest(
        ("encryptionConfig", "provider", "keyArn"), ("encryptionConfig", "resources"), ["secrets"]
    ),
    "aws:sagemaker/notebookInstance:NotebookInstance": _AtRest(("kmsKeyId",)),
    "aws:sagemaker/domain:Domain": _AtRest(("kmsKeyId",)),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": _AtRest(("kmsKeyArn",)),
}  # fmt: skip
_DISKS: Mapping[str, tuple[Path, str]] = {
    # type: where its disks stand, and what their key is called
    "aws:ec2/launchTemplate:LaunchTemplate": (("blockDeviceMappings",), "kmsKeyId"),
    "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass": (("spec", "blockDeviceMappings"), "kmsKeyID"),
}
_REFERENCES = (
    "CIS AWS Foundations 3.0 2.2.1", "CIS AWS Foundations 3.0 2.3.1", "CIS AWS Foundations 3.0 2.4.1",
    "CIS AWS Foundations 3.0 3.5", "AWS FSBP CloudTrail.2", "AWS FSBP EFS.1", "AWS FSBP EKS.3", "AWS FSBP Opensearch.1",
    "AWS FSBP RDS.3", "AWS FSBP RDS.27", "AWS FSBP SQS.1", "AWS FSBP ECR.5",
)  # fmt: skip


@resource_rule(
    id="security.encrypted-with-environment-key",
    title="What keeps data is encrypted with a key of the environment",
    severity="high",
    why="Only a key of our own can be denied, watched and destroyed; AWS's shared keys can't.",
    fix="state the ARN of a key that this stack makes (`Keys.arn`)",
    references=_REFERENCES,
    types=tuple(_TYPES),
    levels=EVERYWHERE_ON_AWS,
)
def encrypted_with_environment_key(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the switch of its type, and at where its key comes from."""
    kind = _TYPES[resource.type]
    if kind.switch and not _is_on(resource.value(*kind.switch), kind.on):
        yield Problem(
            f"it is not encrypted: {text_of(kind.switch)} is {resource.value(*kind.switch)}; allowed: {kind.on}",
            path=text_of(kind.switch),
        )
    yield from _key(resource, world, kind.key)


@resource_rule(
    id="security.bucket-encrypted",
    title="Every bucket is encrypted with a key of the environment",
    severity="high",
    why="Models, features and captures are as confidential as the data that they were made from.",
    fix="give the bucket a BucketServerSideEncryptionConfiguration with `aws:kms` and a key of this stack",
    references=("AWS FSBP S3.17",),
    types=BUCKETS,
    levels=EVERYWHERE_ON_AWS,
)
def bucket_encrypted(bucket: Resource, world: World) -> Iterator[Answer]:
    """Look for the bucket's configuration of encryption, and at its rules."""
    found = world.plan.used_by(bucket, "bucket", *BUCKET_ENCRYPTION)
    if not found:
        yield Problem("it has no configuration of encryption: AWS's shared key encrypts it")
    for one in found:
        rules = one.items("rules")
        if not rules:
            yield Problem("it has no rules", urn=one.urn, path="rules")
        for index in range(len(rules)):
            path: Path = ("rules", index, "applyServerSideEncryptionByDefault")
            algorithm = one.value(*path, "sseAlgorithm")
            if algorithm not in ("aws:kms", "aws:kms:dsse"):
                where = text_of((*path, "sseAlgorithm"))
                yield Problem(f"sseAlgorithm is {algorithm}; allowed: aws:kms", urn=one.urn, path=where)
            yield from _key(one, world, (*path, "kmsMasterKeyId"))


@resource_rule(
    id="security.disks-encrypted",
    title="Disks of nodes are encrypted with a key of the environment",
    severity="high",
    why="A node's disk holds images, models and whatever pods write.",
    fix="state `encrypted` and the key of this stack for each device",
    references=("CIS AWS Foundations 3.0 2.2.1",),
    types=tuple(_DISKS),
    levels=EVERYWHERE_ON_AWS,
)
def disks_encrypted(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at each device."""
    path, name = _DISKS[resource.type]
    devices = resource.items(*path)
    if not devices:
        yield Problem("it states no disks: the image's own are not encrypted with a key of ours", path=text_of(path))
    for index in range(len(devices)):
        disk: Path = (*path, index, "ebs")
        if not _is_on(resource.value(*disk, "encrypted"), True):
            yield Problem("the disk is not encrypted", path=text_of((*disk, "encrypted")))
        yield from _key(resource, world, (*disk, name))


@resource_rule(
    id="security.volumes-encrypted",
    title="Volumes that pods ask for are encrypted with a key of the environment",
    severity="high",
    why="Volumes outlive pods and nodes, and their snapshots can be shared.",
    fix='state `encrypted: "true"` and `kmsKeyId` in the storage class',
    references=("CIS AWS Foundations 3.0 2.2.1",),
    types=("kubernetes:storage.k8s.io/v1:StorageClass",),
    levels=EVERYWHERE_ON_AWS,
)
def volumes_encrypted(kind: Resource, world: World) -> Iterator[Answer]:
    """Look at the classes of EBS."""
    if kind.value("provisioner") not in ("ebs.csi.aws.com", "kubernetes.io/aws-ebs", "ebs.csi.eks.amazonaws.com"):
        return
    if not _is_on(kind.value("parameters", "encrypted"), True):
        yield Problem("its volumes are not encrypted", path="parameters.encrypted")
    yield from _key(kind, world, ("parameters", "kmsKeyId"))


def _is_on(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, Sequence) and set(wanted) <= set(found)
    return found == wanted or (wanted is True and found == "true")


def _key(resource: Resource, world: World, path: Path) -> Iterator[Answer]:
    """Judge a key by where it comes from; what is known and looks like AWS's own is refused wherever it comes from."""
    found = resource.peek(*path)
    found = found.value if isinstance(found, Secret) else found
    where = text_of(path)
    if found is MISSING or found == "":
        yield Problem(f"{where} is not stated: a key of AWS's own would be used", path=where)
        return
    if not isinstance(found, Unknown) and "alias/aws/" in str(found):
        yield Problem(f"{where} is {found}, a key of AWS's own; allowed: a key that this stack makes", path=where)
        return
    origins = world.plan.origins(resource, *path)
    if any(one.type in KEYS for one in origins):
        return
    if isinstance(found, Unknown):
        raise UndeterminedError(where, found.origins)
    yield Problem(f"{where} is {found}, a key from elsewhere; allowed: a key that this stack makes", path=where)
