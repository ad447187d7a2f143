"""Bad changes that somebody would have to pay for."""

from tests.policies.bad_changes.draft import Bad

POOL = "v1:NodePool"

CHANGES = [
    Bad("pool without limit", "took the limit off a pool", "cost.pool-has-limits",
        lambda d: d.set(POOL, "pool-training", "spec.limits", None)),
    Bad("budget removed", "removed the budget", "cost.budget-with-alarms",
        lambda d: d.drop("budgets/budget:Budget", "month")),
    Bad("budget that nobody hears", "took those who are told off the budget", "cost.budget-with-alarms",
        lambda d: d.set("budgets/budget:Budget", "month", "notifications", [])),
    Bad("logs for ever", "kept a log group for ever", "cost.log-retention-bounded",
        lambda d: d.set("logGroup:LogGroup", "flow-logs", "retentionInDays", 0)),
    Bad("old versions for ever", "kept every old version of a bucket", "cost.old-versions-expire",
        lambda d: d.drop("BucketLifecycleConfiguration", "features")),
    Bad("machine of a dear family", "let a pool start machines of a family that is not allowed",
        "cost.instance-family-allowed",
        lambda d: d.set(POOL, "pool-training", "spec.template.spec.requirements.0.values.0", "c5.xlarge")),
    Bad("unpriced machine", "chose a class of database that no price is known of", "cost.everything-priced",
        lambda d: d.set("rds/instance:Instance", "database", "instanceClass", "db.m7g.99xlarge")),
]  # fmt: skip
