"""Bad changes after which there is no way back."""

from tests.policies.bad_changes.draft import Bad

DATABASE = "rds/instance:Instance"

CHANGES = [
    Bad("database unprotected", "took the protection of the database off", "rollback.state-protected",
        lambda d: d.protect(DATABASE, "database", protect=False)),
    Bad("database deletable", "turned deletion protection off", "rollback.state-protected",
        lambda d: d.set(DATABASE, "database", "deletionProtection", False)),
    Bad("no backups", "kept no backups of the database", "rollback.database-backed-up",
        lambda d: d.set(DATABASE, "database", "backupRetentionPeriod", 0)),
    Bad("no final snapshot", "skipped the last snapshot", "rollback.database-backed-up",
        lambda d: d.set(DATABASE, "database", "skipFinalSnapshot", True)),
    Bad("replaced database", "renamed the database, which makes a new one", "rollback.state-kept",
        lambda d: d.step("replace", DATABASE, "database", "identifier", old={"identifier": "acme-prod-old"})),
    Bad("deleted bucket", "removed the bucket of captures", "rollback.state-kept",
        lambda d: d.step("delete", "s3/bucket:Bucket", "features")),
    Bad("replaced key", "made a key of many regions, which is another key", "rollback.state-kept",
        lambda d: d.step("replace", "kms/key:Key", "data", "multiRegion", old={"multiRegion": True})),
    Bad("table without restore", "turned the continuous backup of a table off", "rollback.table-restorable",
        lambda d: d.set("dynamodb/table:Table", "features", "pointInTimeRecovery.enabled", False)),
    Bad("artifacts overwritten", "suspended the versions of the models' bucket", "rollback.artifact-retained",
        lambda d: d.set("bucketVersioning:BucketVersioning", "models", "versioningConfiguration.status", "Suspended")),
    Bad("images deleted early", "kept the last image only", "rollback.image-kept",
        lambda d: d.set("ecr/lifecyclePolicy:LifecyclePolicy", "serving", "policy",
                        '{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType":'
                        ' "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}')),
    Bad("protection lifted by a step", "lowered the days of backups of the running database",
        "rollback.protection-kept",
        lambda d: d.step("update", DATABASE, "database", "deletionProtection", "backupRetentionPeriod",
                         old={"backupRetentionPeriod": 36})),
]  # fmt: skip
