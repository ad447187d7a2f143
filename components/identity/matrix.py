"""The identity matrix: which workload may do what with which bucket, table, queue, secret, topic and repository.

This is the one place that says it. `components.identity.aws` makes roles and policies of it, `docs/identity.md` shows
it as a table, and the rehearsal judges calls by it. Nothing here is a wildcard: a right names a thing of the
environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from components.cloud import Cloud, Statement, allow, allow_key

Kind = Literal[
    "bucket", "table", "queue", "secret", "database-secret", "topic", "repository", "feature-group", "pipeline",
    "cluster",
]  # fmt: skip
Access = Literal["read", "write", "send", "receive", "deliver"]
KeyPurpose = Literal["data", "secrets", "audit"]

ACTIONS: Mapping[tuple[Kind, Access], tuple[str, ...]] = {
    ("bucket", "read"): ("s3:GetObject", "s3:GetObjectVersion"),
    ("bucket", "write"): ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
    ("bucket", "send"): ("s3:PutObject",),
    ("bucket", "deliver"): ("s3:PutObject", "s3:PutObjectAcl"),
    ("table", "read"): ("dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:DescribeTable"),
    ("table", "write"): (
        "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:DescribeTable", "dynamodb:PutItem",
        "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
    ),
    ("queue", "receive"): (
        "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    ),
    ("secret", "read"): ("secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"),
    ("database-secret", "read"): ("secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"),
    ("topic", "send"): ("sns:Publish",),
    ("repository", "read"): ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"),
    ("feature-group", "read"): ("sagemaker:GetRecord", "sagemaker:BatchGetRecord"),
    ("feature-group", "write"): ("sagemaker:PutRecord", "sagemaker:GetRecord", "sagemaker:DescribeFeatureGroup"),
    ("pipeline", "read"): ("sagemaker:ListPipelineExecutions",),
    ("cluster", "read"): ("eks:DescribeCluster",),
    ("pipeline", "send"): ("sagemaker:StartPipelineExecution", "sagemaker:DescribePipeline"),
}  # fmt: skip
"""Actions of each kind of access; `send` to a bucket puts objects and can neither read nor delete any, and `deliver` is
what AWS services ask for that put theirs."""
LISTS: Mapping[Access, tuple[str, ...]] = {"read": ("s3:ListBucket",), "write": ("s3:ListBucket",)}
"""Actions on a bucket as a whole that go with reading or writing what is in it; below a prefix, of that prefix only."""
LOOKS: Mapping[Access, tuple[str, ...]] = {
    "read": ("s3:GetBucketLocation",),
    "write": ("s3:GetBucketLocation",),
    "deliver": ("s3:GetBucketAcl", "s3:GetBucketLocation"),
}
"""Further actions on a bucket as a whole, which know of no prefix."""
KEYS: Mapping[Kind, KeyPurpose] = {
    "bucket": "data",
    "table": "data",
    "queue": "data",
    "topic": "data",
    "feature-group": "data",
    "secret": "secrets",
    "database-secret": "secrets",
}
"""The key that each kind is encrypted with."""
SERVICES: Mapping[Kind, str] = {
    "bucket": "s3",
    "table": "dynamodb",
    "queue": "sqs",
    "topic": "sns",
    "feature-group": "sagemaker",
    "secret": "secretsmanager",
    "database-secret": "secretsmanager",
}
"""The service by way of which the key of each kind is used."""
_DECRYPTS = ("kms:Decrypt",)
_ENCRYPTS = ("kms:Decrypt", "kms:GenerateDataKey")


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One right of a workload.

    Attributes:
        kind: what kind of thing it is.
        name: its purpose, as its name is made of.
        access: what may be done with it.
        prefix: in a bucket only objects below this; empty for all.
        key: the key that it is encrypted with, where it is not the usual one of its kind.
    """

    kind: Kind
    name: str
    access: Access
    prefix: str = ""
    key: KeyPurpose | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One workload.

    Attributes:
        name: its name, and that of its role.
        namespace: Kubernetes namespace; None for a role that an AWS service takes.
        service_account: its service account in that namespace.
        service: AWS service that takes the role, such as `sagemaker`.
        grants: its rights.
        why: what it is, for the docs.
    """

    name: str
    namespace: str | None = None
    service_account: str | None = None
    service: str | None = None
    grants: tuple[Grant, ...]
    why: str


def _read(kind: Kind, *names: str) -> tuple[Grant, ...]:
    return tuple(Grant(kind=kind, name=name, access="read") for name in names)


MATRIX: tuple[Identity, ...] = (
    Identity(
        name="registry",
        namespace="registry",
        service_account="registry",
        why="MLflow: keeps artifacts, and hands them out to clients that have no right of their own",
        grants=(Grant(kind="bucket", name="models", access="write"),),
    ),
    Identity(
        name="features",
        namespace="feature-store",
        service_account="feature-store",
        why="Feature server: answers with online features",
        grants=(
            *_read("table", "features"),
            *_read("feature-group", "features"),
            Grant(kind="bucket", name="features", access="read", prefix="registry/"),
        ),
    ),
    Identity(
        name="control",
        namespace="serving",
        service_account="control",
        why="Rollout controller: state and ledger; puts signed checkpoints where it can change none again",
        grants=(
            # Puts and reads, and neither deletes nor changes how long they are kept.
            Grant(kind="bucket", name="audit", access="send", prefix="ledger/", key="audit"),
            Grant(kind="bucket", name="audit", access="read", prefix="ledger/", key="audit"),
            Grant(kind="bucket", name="captures", access="read"),
            # Its objects start a model's pipeline.
            Grant(kind="bucket", name="data", access="send", prefix="drift/"),
        ),
    ),
    Identity(
        name="alerts",
        namespace="monitoring",
        service_account="alertmanager",
        why="Alertmanager: tells the topic of alarms",
        grants=(Grant(kind="topic", name="alarms", access="send"),),
    ),
    Identity(
        name="serving",
        namespace="serving",
        service_account="inference",
        why="Ray head and replicas: answer predictions; put captures and read none",
        grants=(Grant(kind="bucket", name="captures", access="send"),),
    ),
    Identity(
        name="jobs",
        namespace="training",
        service_account="training",
        why="Training as Ray jobs",
        grants=(
            Grant(kind="bucket", name="data", access="write"),
            Grant(kind="bucket", name="features", access="write"),
            Grant(kind="table", name="features", access="write"),
            Grant(kind="feature-group", name="features", access="write"),
            Grant(kind="bucket", name="captures", access="read"),
            *_read("secret", "signing-key"),
        ),
    ),
    Identity(
        name="training",
        service="sagemaker",
        why="Steps of a SageMaker pipeline",
        grants=(
            Grant(kind="bucket", name="data", access="write"),
            Grant(kind="bucket", name="features", access="write"),
            Grant(kind="table", name="features", access="write"),
            Grant(kind="feature-group", name="features", access="write"),
            *_read("repository", "training"),
            *_read("secret", "registry-password", "signing-key"),
            *_read("pipeline", "training"),
            *_read("cluster", "main"),
        ),
    ),
    Identity(
        name="feature-groups",
        service="sagemaker",
        why="SageMaker Feature Store: copies online records into the bucket",
        grants=(Grant(kind="bucket", name="features", access="deliver", prefix="groups/"),),
    ),
    Identity(
        name="schedule",
        service="scheduler",
        why="Starts the training pipelines by the clock",
        grants=(Grant(kind="pipeline", name="training", access="send"),),
    ),
    Identity(
        name="drift",
        service="events",
        why="Starts the training pipeline of a model whose drift is told",
        grants=(Grant(kind="pipeline", name="training", access="send"),),
    ),
    Identity(
        name="secrets",
        namespace="platform",
        service_account="external-secrets",
        why="External Secrets: copies the environment's secrets into its namespaces",
        grants=(
            *_read(
                "secret",
                "control-admin",
                "control-replica",
                "features-token",
                "grafana-admin",
                "inference-token",
                "ledger-key",
                "predict-tls",
                "ray-token",
                "registry-password",
                "runner-token",
                "snapshot-key",
            ),
            Grant(kind="database-secret", name="main", access="read"),
        ),
    ),
)


def identity(name: str) -> Identity:
    """The workload of a name.

    Raises:
        KeyError: there is none.
    """
    for one in MATRIX:
        if one.name == name:
            return one
    raise KeyError(name)


def arn(cloud: Cloud, kind: Kind, name: str) -> str:
    """ARN of a thing of the environment."""
    names = cloud.names
    if kind == "bucket":
        return f"arn:{cloud.partition}:s3:::{names.bucket(name)}"
    if kind == "table":
        return cloud.arn("dynamodb", f"table/{names.of('table', name)}")
    if kind == "queue":
        return cloud.arn("sqs", names.of("queue", name))
    if kind == "topic":
        return cloud.arn("sns", names.of("topic", name))
    if kind == "secret":
        # Secrets Manager puts six characters of its own behind the name.
        return cloud.arn("secretsmanager", f"secret:{names.path('secret', name)}-??????")
    if kind == "database-secret":
        # RDS makes it, under an id that is not known before; `_of_grant` asks for the tag that says whose it is.
        return cloud.arn("secretsmanager", "secret:rds!db-*")
    if kind == "repository":
        return cloud.arn("ecr", f"repository/{names.path('repository', name)}")
    if kind == "feature-group":
        return cloud.arn("sagemaker", f"feature-group/{names.of('sagemaker', name)}")
    if kind == "cluster":
        return cloud.arn("eks", f"cluster/{names.of('cluster', name)}")
    # One a model, see `components.pipelines.definitions.pipeline_name`; those names are never cut.
    return cloud.arn("sagemaker", f"pipeline/{names.prefix}-{name}-*")


def statements(identity: Identity, cloud: Cloud) -> list[Statement]:
    """Policy statements of a workload.

    Args:
        identity: the workload.
        cloud: the environment.
    """
    found = [statement for grant in identity.grants for statement in _of_grant(grant, cloud)]
    if any(grant.kind == "repository" for grant in identity.grants):
        # Asks for a token of the whole registry; the images stay guarded by their repositories. No narrower resource
        # exists for it (Service Authorization Reference, ecr:GetAuthorizationToken).
        found.append(allow(["ecr:GetAuthorizationToken"], "*", Sid="RegistryToken"))
    found += _of_keys(identity, cloud)
    return found


def _of_grant(grant: Grant, cloud: Cloud) -> Iterator[Statement]:
    thing = arn(cloud, grant.kind, grant.name)
    resource = f"{thing}/{grant.prefix}*" if grant.kind == "bucket" else thing
    yield allow(ACTIONS[grant.kind, grant.access], resource, **_condition(conditions(grant, cloud)))
    if grant.kind == "bucket" and grant.access in LISTS:
        below = {"StringLike": {"s3:prefix": f"{grant.prefix}*"}} if grant.prefix else {}
        yield allow(LISTS[grant.access], thing, **_condition(below))
    if grant.kind == "bucket" and grant.access in LOOKS:
        yield allow(LOOKS[grant.access], thing)


def conditions(grant: Grant, cloud: Cloud) -> dict[str, dict[str, str]]:
    """Conditions of a grant: operator → key → value; empty where the name of the thing says it all."""
    if grant.kind != "database-secret":
        return {}
    owner = cloud.arn("rds", f"db:{cloud.names.of('database', grant.name)}")
    return {"StringEquals": {"aws:ResourceTag/aws:rds:primaryDBInstanceArn": owner}}


def _condition(found: dict[str, dict[str, str]]) -> dict[str, dict[str, dict[str, str]]]:
    return {"Condition": found} if found else {}


def _of_keys(identity: Identity, cloud: Cloud) -> Iterator[Statement]:
    """Rights over keys: each only by way of the service whose things it encrypts."""
    needed: dict[tuple[KeyPurpose, bool], set[str]] = {}
    for grant in identity.grants:
        if grant.kind in KEYS:
            purpose = grant.key or KEYS[grant.kind]
            needed.setdefault((purpose, grant.access in ("write", "send", "deliver")), set()).add(SERVICES[grant.kind])
    for (purpose, encrypts), services in sorted(needed.items()):
        via = [f"{service}.{cloud.region}.amazonaws.com" for service in sorted(services)]
        condition = {"StringEquals": {"kms:ViaService": via}}
        yield allow_key(cloud, purpose, _ENCRYPTS if encrypts else _DECRYPTS, condition=condition)


def table() -> str:
    """The matrix as a table in Markdown."""
    lines = ["| Workload | Runs as | May | Why |", "|---|---|---|---|"]
    for one in MATRIX:
        runs = f"`{one.namespace}/{one.service_account}`" if one.namespace else f"service `{one.service}`"
        rights = "; ".join(_said(grant) for grant in one.grants)
        lines.append(f"| {one.name} | {runs} | {rights} | {one.why} |")
    return "\n".join(lines) + "\n"


def _said(grant: Grant) -> str:
    verb = {
        "read": "read",
        "write": "read and write",
        "send": "send to",
        "receive": "receive from",
        "deliver": "deliver to",
    }[grant.access]
    if grant.kind == "pipeline" and grant.access == "send":
        verb = "start"
    where = f" below `{grant.prefix}`" if grant.prefix else ""
    return f"{verb} {grant.kind.replace('-', ' ')} `{grant.name}`{where}"
