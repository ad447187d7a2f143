"""What was there can be brought back: databases, tables, and the artifacts and images of earlier versions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from policies.facts import EnvironmentKind
from policies.plan import Plan, Resource
from policies.pods import pods_of
from policies.rule import EVERYWHERE_ON_AWS, GATED, Answer, Problem, World, plan_rule, resource_rule

BACKUP_DAYS: Final[Mapping[EnvironmentKind, int]] = {"prod": 35, "staging": 7, "dev": 7, "local": 7}
"""Days within which a database goes back to any second; RDS keeps 35 at most, AWS FSBP RDS.11 asks for 7."""
ARTIFACT_DAYS: Final = 30
"""Days for which an overwritten or deleted artifact stays: longer than a release is watched and argued about."""
IMAGES: Final = 10
"""Images to keep, so that the one before the last still starts."""
_REGISTRY: Final = "kubernetes:apps/v1:Deployment"
_ARTIFACTS: Final = "MLOPS_REGISTRY_ARTIFACTS"


@resource_rule(
    id="rollback.database-backed-up",
    title="Databases keep backups, and a last one when they are deleted",
    severity="high",
    why="Runs, models and the ledger are in the database; a bad migration is undone by going back before it.",
    fix="state `aws.registry.database.backupDays`, and keep the final snapshot and the automated backups",
    references=("AWS FSBP RDS.11",),
    types=("aws:rds/instance:Instance", "aws:rds/cluster:Cluster"),
    levels=EVERYWHERE_ON_AWS,
)
def database_backed_up(database: Resource, world: World) -> Iterator[Answer]:
    """Look at the retention, and at what a deletion leaves."""
    days, wanted = database.value("backupRetentionPeriod", default=0), BACKUP_DAYS[world.facts.environment]
    if days < wanted:
        yield Problem(
            f"backups are kept {days} days, at least {wanted} are asked for in {world.facts.environment}",
            path="backupRetentionPeriod",
            setting="aws.registry.database.backupDays",
        )
    if world.facts.environment != "prod":
        return  # it is made again, and taken down again
    if database.value("skipFinalSnapshot", default=False):
        yield Problem("skipFinalSnapshot is true: deleted, it leaves nothing behind", path="skipFinalSnapshot")
    elif not database.value("finalSnapshotIdentifier", default=""):
        yield Problem(
            "finalSnapshotIdentifier is missing, without which RDS refuses to make the last snapshot",
            path="finalSnapshotIdentifier",
        )
    if database.value("deleteAutomatedBackups", default=True):
        yield Problem("deleteAutomatedBackups is true: its backups go with it", path="deleteAutomatedBackups")


@resource_rule(
    id="rollback.table-restorable",
    title="Tables can be restored to any second of the last days",
    severity="high",
    why="A materialisation that writes wrong features is undone by going back before it.",
    fix="turn `pointInTimeRecovery` on",
    references=("AWS FSBP DynamoDB.2",),
    types=("aws:dynamodb/table:Table",),
    levels=GATED,
)
def table_restorable(table: Resource, _: World) -> Iterator[Answer]:
    """Look at point-in-time recovery."""
    if table.value("pointInTimeRecovery", "enabled", default=False) is not True:
        yield Problem("pointInTimeRecovery.enabled is not true", path="pointInTimeRecovery.enabled")


@plan_rule(
    id="rollback.artifact-retained",
    title="Artifacts of earlier versions stay: their bucket keeps old versions of its objects",
    severity="high",
    why="A rollback to a version whose files were overwritten or deleted is none.",
    fix="turn versioning on for the bucket of the registry, and keep old versions for `aws.registry.oldArtifactDays`",
    references=("EU AI Act Art. 15", "NIST AI RMF MANAGE 2.4"),
    types=(_REGISTRY,),
    levels=EVERYWHERE_ON_AWS,
)
def artifact_retained(world: World) -> Iterator[Answer]:
    """Find the bucket that the registry writes to, and what is said of its objects."""
    for server, address in _registries(world.plan):
        name = re.fullmatch(r"s3://([^/]+)(/.*)?", address)
        if name is None:
            yield Problem(f"{_ARTIFACTS} is {address!r}, which names no bucket", urn=server.urn)
            continue
        buckets = [one for one in world.plan.of("aws:s3/bucket:Bucket") if one.peek("bucket") == name[1]]
        if not buckets:
            yield Problem(f"the bucket {name[1]} of the registry's artifacts is not in this stack", urn=server.urn)
        for bucket in buckets:
            yield from _bucket(world.plan, bucket)


def _bucket(plan: Plan, bucket: Resource) -> Iterator[Answer]:
    versioning = _of(plan, bucket, "aws:s3/bucketVersioning:BucketVersioning")
    if not any(one.value("versioningConfiguration", "status") == "Enabled" for one in versioning):
        switch = next(iter(versioning), bucket)
        path = "" if switch is bucket else "versioningConfiguration.status"
        yield Problem("it keeps no old versions of artifacts: versioning is not enabled", switch.urn, path)
    for one in _of(plan, bucket, "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"):
        for index, rule in enumerate(one.value("rules", default=())):
            if rule.get("status", "Enabled") != "Enabled":
                continue
            days = (rule.get("noncurrentVersionExpiration") or {}).get("noncurrentDays")
            if days is not None and days < ARTIFACT_DAYS:
                yield Problem(
                    f"old versions of artifacts are deleted after {days} days, at least {ARTIFACT_DAYS} are asked for",
                    urn=one.urn,
                    path=f"rules[{index}].noncurrentVersionExpiration.noncurrentDays",
                    setting="aws.registry.oldArtifactDays",
                )
            if rule.get("expiration"):
                yield Problem(
                    "artifacts are deleted by their age, whether a version may still be gone back to or not",
                    urn=one.urn,
                    path=f"rules[{index}].expiration",
                )


def _registries(plan: Plan) -> Iterator[tuple[Resource, str]]:
    """Yield the servers that keep artifacts, and where.

    Raises:
        UndeterminedError: where one keeps them is not known.
    """
    for server in plan.of(_REGISTRY):
        for pods in pods_of(server):
            for container in pods.containers():
                for index, one in enumerate(container.peek("env") or ()):
                    if isinstance(one, Mapping) and one.get("name") == _ARTIFACTS:
                        yield server, str(container.value("env", index, "value", default=""))


def _of(plan: Plan, bucket: Resource, kind: str) -> Sequence[Resource]:
    """Return what is configured of a bucket: by reference, or by its name."""
    return plan.used_by(bucket, "bucket", kind) or [
        one for one in plan.of(kind) if one.peek("bucket") == bucket.peek("bucket")
    ]


@resource_rule(
    id="rollback.image-kept",
    title="Repositories keep the images of earlier versions",
    severity="medium",
    why="Going back needs the image that ran before; an expired one does not start.",
    fix="keep more images (`aws.registry.imagesKept`)",
    types=("aws:ecr/lifecyclePolicy:LifecyclePolicy",),
    levels=EVERYWHERE_ON_AWS,
)
def image_kept(resource: Resource, _: World) -> Iterator[Answer]:
    """Look at what expires."""
    for rule in json.loads(resource.value("policy", default="{}")).get("rules", ()):
        chosen = rule.get("selection", {})
        if chosen.get("tagStatus") == "untagged":
            continue  # what runs was pushed with a tag, and tags are immutable
        number = chosen["countNumber"]
        if chosen.get("countType") != "imageCountMoreThan":
            yield Problem(f"images expire by their age ({number} days), whether they still run or not", path="policy")
        elif number < IMAGES:
            yield Problem(
                f"only {number} images are kept, at least {IMAGES} are asked for",
                path="policy",
                setting="aws.registry.imagesKept",
            )
