"""Backups of databases and tables, and what is kept of earlier artifacts and images."""

import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.rollback.backups import artifact_retained, database_backed_up, image_kept, table_restorable
from policies.testing import admit, deny, made_from, resource, skip, undetermined, unknown

GOOD = {
    "backupRetentionPeriod": 35, "skipFinalSnapshot": False, "finalSnapshotIdentifier": "last",
    "deleteAutomatedBackups": False,
}  # fmt: skip


def database(**changes: Any) -> Resource:
    return resource("aws:rds/instance:Instance", "database", {**GOOD, **changes})


def test_database_with_backups_and_a_last_one_is_admitted() -> None:
    admit(database_backed_up, database())
    admit(database_backed_up, database(backupRetentionPeriod=7, skipFinalSnapshot=True), environment="staging")
    admit(database_backed_up, database(backupRetentionPeriod=7, skipFinalSnapshot=True), environment="dev")


@pytest.mark.parametrize(
    ("changes", "environment", "path"),
    [
        ({"backupRetentionPeriod": 34}, "prod", "backupRetentionPeriod"),
        ({"backupRetentionPeriod": 6}, "staging", "backupRetentionPeriod"),
        ({"backupRetentionPeriod": 6}, "dev", "backupRetentionPeriod"),
        ({"backupRetentionPeriod": None}, "dev", "backupRetentionPeriod"),
        ({"skipFinalSnapshot": True}, "prod", "skipFinalSnapshot"),
        ({"finalSnapshotIdentifier": ""}, "prod", "finalSnapshotIdentifier"),
        ({"deleteAutomatedBackups": True}, "prod", "deleteAutomatedBackups"),
        ({"deleteAutomatedBackups": None}, "prod", "deleteAutomatedBackups"),
    ],
)
def test_database_without_its_backups_is_denied(changes: Any, environment: str, path: str) -> None:
    deny(database_backed_up, database(**changes), path=path, environment=environment)


def test_database_whose_retention_is_not_known_leaves_it_open() -> None:
    undetermined(database_backed_up, database(backupRetentionPeriod=unknown()), path="backupRetentionPeriod")


def table(recovery: Any) -> Resource:
    return resource("aws:dynamodb/table:Table", "features", pointInTimeRecovery=recovery)


def test_table_is_restorable_or_not() -> None:
    admit(table_restorable, table({"enabled": True}))
    deny(table_restorable, table({"enabled": False}), path="pointInTimeRecovery.enabled")
    deny(table_restorable, table(None))
    undetermined(table_restorable, table(unknown()))


MODELS = resource("aws:s3/bucket:Bucket", "models", bucket="acme-models")


def registry(address: Any = "s3://acme-models/artifacts") -> Resource:
    variables = [{"name": "HOME", "value": "/tmp"}, {"name": "MLOPS_REGISTRY_ARTIFACTS", "value": address}]
    containers = [{"name": "registry", "env": variables}]
    return resource(
        "kubernetes:apps/v1:Deployment", "registry", spec={"template": {"spec": {"containers": containers}}}
    )


def versioning(status: Any = "Enabled", bucket: Any = MODELS) -> Resource:
    kind = "aws:s3/bucketVersioning:BucketVersioning"
    return resource(kind, "models", bucket=bucket, versioningConfiguration={"status": status})


def lifecycle(**rule: Any) -> Resource:
    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    return resource(kind, "models", bucket=MODELS, rules=[{"status": "Enabled", **rule}])


def expiry(days: int) -> Any:
    return {"noncurrentVersionExpiration": {"noncurrentDays": days}}


def test_artifacts_in_a_versioned_bucket_are_admitted() -> None:
    admit(artifact_retained, registry(), MODELS, versioning(), lifecycle(**expiry(30)))
    by_name = versioning(bucket=made_from(MODELS, value="acme-models"))
    admit(artifact_retained, registry(), MODELS, by_name)
    admit(artifact_retained, registry(), MODELS, versioning(bucket="acme-models"))


@pytest.mark.parametrize(
    ("things", "says"),
    [
        ([MODELS], "versioning is not enabled"),
        ([MODELS, versioning("Suspended")], "versioning is not enabled"),
        ([MODELS, versioning(), lifecycle(**expiry(29))], "after 29 days, at least 30"),
        ([MODELS, versioning(), lifecycle(expiration={"days": 400})], "deleted by their age"),
        ([], "acme-models of the registry's artifacts is not in this stack"),
    ],
)
def test_artifacts_that_may_vanish_are_denied(things: list[Resource], says: str) -> None:
    deny(artifact_retained, registry(), *things, says=says)


def test_artifacts_outside_of_a_bucket_are_denied() -> None:
    deny(artifact_retained, registry("/var/artifacts"), MODELS, versioning(), says="names no bucket")


def test_rule_of_a_bucket_that_is_turned_off_does_nothing() -> None:
    admit(artifact_retained, registry(), MODELS, versioning(), lifecycle(**expiry(1), status="Disabled"))


def test_artifacts_whose_bucket_or_versioning_is_not_known_leave_it_open() -> None:
    undetermined(artifact_retained, registry(unknown()), MODELS, versioning())
    undetermined(artifact_retained, registry(), MODELS, versioning(unknown()))


def test_stack_without_servers_is_not_asked() -> None:
    skip(artifact_retained, MODELS)


def images(count: int, kind: str = "imageCountMoreThan", status: str = "any") -> Resource:
    rule = {"selection": {"tagStatus": status, "countType": kind, "countNumber": count}}
    return resource("aws:ecr/lifecyclePolicy:LifecyclePolicy", "serving", policy=json.dumps({"rules": [rule]}))


def test_images_of_earlier_versions_stay() -> None:
    admit(image_kept, images(10), images(7, "sinceImagePushed", "untagged"))


def test_images_that_expire_are_denied() -> None:
    deny(image_kept, images(9), says="only 9 images", setting="aws.registry.imagesKept")
    deny(image_kept, images(90, "sinceImagePushed"), says="by their age (90 days)")


def test_images_that_are_kept_for_an_unknown_while_leave_it_open() -> None:
    undetermined(image_kept, resource("aws:ecr/lifecyclePolicy:LifecyclePolicy", "serving", policy=unknown()))


def test_database_of_any_environment_keeps_a_week_and_its_last_snapshot_unless_told() -> None:
    admit(database_backed_up, database(backupRetentionPeriod=7), environment="local")
    deny(database_backed_up, database(backupRetentionPeriod=6), environment="local")
    admit(database_backed_up, database(skipFinalSnapshot=None))


def test_every_server_container_and_bucket_is_looked_at() -> None:
    other = resource("kubernetes:apps/v1:Deployment", "other", spec=registry("s3://elsewhere/a").inputs["spec"])
    deny(artifact_retained, registry(), other, MODELS, versioning(), says="elsewhere")
    bare = resource("kubernetes:apps/v1:Deployment", "bare", spec={"template": {"spec": {"containers": []}}})
    deny(artifact_retained, bare, registry("/var"), MODELS, versioning(), says="names no bucket")
    two = registry("/one").inputs["spec"]["template"]["spec"]["containers"][0]
    sidecar = {"name": "first", "env": []}
    spec = {"template": {"spec": {"containers": [sidecar, two]}}}
    deny(artifact_retained, resource("kubernetes:apps/v1:Deployment", "two", spec=spec), says="names no bucket")


def test_each_bucket_of_the_name_and_each_rule_is_looked_at() -> None:
    twin = resource("aws:s3/bucket:Bucket", "twin", bucket="acme-models")
    on_twin = versioning("Suspended", bucket=twin)
    deny(artifact_retained, registry(), MODELS, versioning(), twin, on_twin, path="versioningConfiguration.status")
    kind = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    rules = [{"status": "Disabled"}, {"status": "Enabled", **expiry(30)}, {"status": "Enabled", **expiry(29)}]
    several = resource(kind, "models", bucket=MODELS, rules=rules)
    path = "rules[2].noncurrentVersionExpiration.noncurrentDays"
    deny(artifact_retained, registry(), MODELS, versioning(), several, path=path)
    deny(artifact_retained, registry(), MODELS, versioning(), lifecycle(), several, path=path)


def test_bucket_without_versioning_is_the_place() -> None:
    deny(artifact_retained, registry(), MODELS, at=MODELS, path="")


def test_address_that_names_no_bucket_does_not_hide_the_next() -> None:
    other = resource("kubernetes:apps/v1:Deployment", "other", spec=registry("/var").inputs["spec"])
    deny(artifact_retained, registry("/tmp/x"), other, says="names no bucket", times=2)


def test_each_rule_of_a_repository_is_looked_at() -> None:
    stated = [
        {"selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countNumber": 1}},
        {"selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}},
    ]
    policy = json.dumps({"rules": stated})
    deny(
        image_kept, resource("aws:ecr/lifecyclePolicy:LifecyclePolicy", "serving", policy=policy), says="only 3 images"
    )


def test_last_snapshot_is_made_unless_it_is_skipped() -> None:
    admit(database_backed_up, database(skipFinalSnapshot=None))


def test_versioning_that_is_off_is_named_where_it_stands() -> None:
    off = versioning("Suspended")
    deny(artifact_retained, registry(), MODELS, off, at=off, path="versioningConfiguration.status")
    deny(artifact_retained, registry(), MODELS, at=MODELS, path="")


def test_each_rule_that_counts_images_is_looked_at() -> None:
    rules = [
        {"selection": {"tagStatus": "tagged", "countType": "imageCountMoreThan", "countNumber": count}}
        for count in (10, 3)
    ]
    policy = json.dumps({"rules": rules})
    kept = resource("aws:ecr/lifecyclePolicy:LifecyclePolicy", "serving", policy=policy)
    deny(image_kept, kept, says="only 3 images")
