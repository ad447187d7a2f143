"""Records of who did what cannot be changed or deleted, by anybody, for as long as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from policies.facts import EnvironmentKind
from policies.plan import Plan, Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

LEAST_DAYS: Final[Mapping[EnvironmentKind, int]] = {"prod": 183, "staging": 30}
"""Days of retention, at least: in production six months, EU AI Act Art. 19. Elsewhere some."""
_TRAIL: Final = "aws:cloudtrail/trail:Trail"
_BUCKET: Final = "aws:s3/bucket:Bucket"
_LOCK: Final = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
_DAYS_OF_A_YEAR: Final = 365


@resource_rule(
    id="governance.audit-trail-on",
    title="Calls of AWS are recorded, in every region, with digests that show a change",
    severity="high",
    why="Whoever takes over an account first turns its records off, or edits them.",
    fix="leave logging, all regions, global services and the validation of log files on",
    references=("AWS FSBP CloudTrail.1", "AWS FSBP CloudTrail.4", "EU AI Act Art. 12", "ISO/IEC 42001 A.6.2.8"),
    types=(_TRAIL,),
    levels=EVERYWHERE_ON_AWS,
)
def audit_trail_on(trail: Resource, _: World) -> Iterator[Answer]:
    """Look at the switches of the trail."""
    for name, default in (
        ("enableLogging", True),
        ("isMultiRegionTrail", False),
        ("includeGlobalServiceEvents", True),
        ("enableLogFileValidation", False),
    ):
        if trail.value(name, default=default) is not True:
            yield Problem(f"{name} is not true", path=name)


@resource_rule(
    id="governance.audit-immutable",
    title="The storage of audit records is locked for their retention",
    severity="critical",
    why="A record that an administrator can delete proves nothing about that administrator.",
    fix="state `aws.governance.auditDays`, and in production `auditMode: compliance`",
    references=("EU AI Act Art. 12", "EU AI Act Art. 19", "NIST AI RMF GOVERN 1.4", "ISO/IEC 42001 A.6.2.8"),
    types=(_TRAIL,),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def audit_immutable(trail: Resource, world: World) -> Iterator[Answer]:
    """Find the bucket that the trail writes to, and how it is locked."""
    name, buckets = trail.peek("s3BucketName"), _bucket_of(world.plan, trail)
    if not buckets:
        yield Problem(f"the bucket {name!r} of the trail is not in this stack", path="s3BucketName")
    for bucket in buckets:
        yield from _locked(bucket, world)


def _locked(bucket: Resource, world: World) -> Iterator[Answer]:
    if bucket.value("objectLockEnabled", default=False) is not True:
        yield Problem("objectLockEnabled is not true, and can't be turned on later", bucket.urn, "objectLockEnabled")
    locks = world.plan.used_by(bucket, "bucket", _LOCK) or [
        one for one in world.plan.of(_LOCK) if one.peek("bucket") == bucket.peek("bucket")
    ]
    if not locks:
        yield Problem("no retention is stated: it has no BucketObjectLockConfiguration", bucket.urn)
    environment = world.facts.environment
    least = max(LEAST_DAYS.get(environment, 1), world.facts.setting("aws", "governance", "auditDays", default=0))
    for lock in locks:
        way = ("rule", "defaultRetention")
        mode = lock.value(*way, "mode", default="")
        allowed = ("COMPLIANCE",) if environment == "prod" else ("COMPLIANCE", "GOVERNANCE")
        if mode not in allowed:
            yield Problem(
                f"the mode of its retention is {mode or 'not stated'}, in {environment} it must be "
                f"{' or '.join(allowed)}",
                lock.urn,
                "rule.defaultRetention.mode",
                "aws.governance.auditMode",
            )
        days = lock.value(*way, "days", default=0) + _DAYS_OF_A_YEAR * lock.value(*way, "years", default=0)
        if days < least:
            yield Problem(
                f"records are locked for {days} days, at least {least} are asked for",
                lock.urn,
                "rule.defaultRetention.days",
                "aws.governance.auditDays",
            )


def _bucket_of(plan: Plan, trail: Resource) -> Sequence[Resource]:
    """Return the bucket that a trail writes to: by reference, or by its name."""
    made_from = [one for one in plan.origins(trail, "s3BucketName") if one.type == _BUCKET]
    if made_from:
        return made_from
    name = trail.value("s3BucketName", default="")
    return [one for one in plan.of(_BUCKET) if name and one.peek("bucket") == name]
