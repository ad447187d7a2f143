"""What is kept: logs, captures and old versions of objects, none of them for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

MOST_DAYS: Final = 731
"""Two years: logs and captures that are older are not looked at, and records that must be kept longer are no logs."""
_SERVES = ("kubernetes:ray.io/v1:RayService",)
_BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
_LIFECYCLES = (
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
)
_ANNOTATION = "mlops/serving.json"


@resource_rule(
    id="cost.log-retention-bounded",
    title="Every log group forgets after a time that is stated",
    severity="medium",
    why="Logs that are kept for ever cost more each month, and hold personal data longer than anybody needs it.",
    fix=f"state a retention of 1 to {MOST_DAYS} days",
    types=("aws:cloudwatch/logGroup:LogGroup",),
    levels=EVERYWHERE_ON_AWS,
)
def log_retention_bounded(group: Resource, world: World) -> Iterator[Answer]:
    """Look at its retention."""
    days = group.value("retentionInDays", default=0)
    if not 1 <= days <= MOST_DAYS:
        kept = f"for {days} days" if days else "for ever"
        yield Problem(f"it keeps logs {kept}; allowed: 1 to {MOST_DAYS} days", path="retentionInDays")


@resource_rule(
    id="cost.capture-retention-bounded",
    title="Captured predictions are kept for a time that is stated",
    severity="medium",
    why="Captures grow with every prediction; kept for ever they outgrow the models that made them.",
    fix=f"state a retention of 1 to {MOST_DAYS} days",
    types=_SERVES,
    levels=EVERYWHERE_ON_AWS,
)
def capture_retention_bounded(service: Resource, world: World) -> Iterator[Answer]:
    """Read how serving is told to capture."""
    path = ("spec", "rayClusterConfig", "headGroupSpec", "template", "metadata", "annotations", _ANNOTATION)
    text = service.value(*path)
    if text is None:
        yield Problem(f"it has no annotation {_ANNOTATION}, so that nobody can say how long captures are kept")
        return
    capture = json.loads(text).get("capture", {})
    days = capture.get("retentionDays", 0)
    if capture.get("enabled", True) and not 1 <= days <= MOST_DAYS:
        kept = f"for {days} days" if days else "for ever"
        yield Problem(
            f"captures are kept {kept}; allowed: 1 to {MOST_DAYS} days", path=".".join(path),
            setting="inference.capture.retentionDays",
        )  # fmt: skip


@resource_rule(
    id="cost.old-versions-expire",
    title="Old versions of objects expire in every bucket",
    severity="low",
    why="A versioned bucket that forgets nothing grows with every overwrite, and nobody sees it.",
    fix="give the bucket a lifecycle rule over the whole bucket that expires noncurrent versions",
    types=_BUCKETS,
    levels=EVERYWHERE_ON_AWS,
)
def old_versions_expire(bucket: Resource, world: World) -> Iterator[Answer]:
    """Look for a rule of the bucket's lifecycle that expires them."""
    cycles = world.plan.used_by(bucket, "bucket", *_LIFECYCLES)
    rules = [rule for one in cycles for rule in one.value("rules", default=[])]
    expire = [one for one in rules if one.get("status") == "Enabled" and _days(one) > 0 and _everything(one)]
    if not expire:
        yield Problem("no rule of its lifecycle expires old versions of all its objects")


def _days(rule: dict[str, dict[str, int]]) -> int:
    return (rule.get("noncurrentVersionExpiration") or {}).get("noncurrentDays", 0)


def _everything(rule: dict[str, dict[str, str]]) -> bool:
    filtered = {name: value for name, value in (rule.get("filter") or {}).items() if value}
    return not filtered
