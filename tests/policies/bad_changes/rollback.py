"""Bad changes after which there is no way back."""

from tests.policies.bad_changes.draft import Bad

DATABASE = "rds/instance:Instance"
OPTIONS = "spec.upgradeStrategy.clusterUpgradeOptions"

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
        lambda d: d.step("update", DATABASE, "database", "backupRetentionPeriod", old={"backupRetentionPeriod": 36})),
    Bad("removed alarm", "removed the alarm of the database", "rollback.database-alarms-exist",
        lambda d: d.drop("metricAlarm:MetricAlarm", "database-storage")),
    Bad("alarm that nobody hears", "took the topic off an alarm", "rollback.alarm-heard",
        lambda d: d.set("metricAlarm:MetricAlarm", "nat-ports", "alarmActions", [])),
    Bad("removed alerts", "removed the alerts of serving", "rollback.alerts-exist",
        lambda d: d.drop("v1:PrometheusRule", "prometheusrule-serving")),
    Bad("incremental upgrade off", "turned the incremental upgrade off", "rollback.ray-upgrade-incremental",
        lambda d: d.set("v1:RayService", "inference", "spec.upgradeStrategy.type", "None")),
    Bad("surge out of range", "let the new cluster grow by nothing", "rollback.ray-upgrade-incremental",
        lambda d: d.set("v1:RayService", "inference", f"{OPTIONS}.maxSurgePercent", 0)),
    Bad("step out of range", "moved the traffic faster than a failure shows", "rollback.ray-upgrade-incremental",
        lambda d: d.set("v1:RayService", "inference", f"{OPTIONS}.intervalSeconds", 1)),
    Bad("operator cannot", "turned the operator's feature gate off", "rollback.ray-operator-can",
        lambda d: d.set("helm.sh/v3:Release", "kuberay-operator", "values.featureGates.1.enabled", False)),
]  # fmt: skip
