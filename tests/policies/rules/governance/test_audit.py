"""Records of who did what: on, everywhere, and locked for their term."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.governance.audit import audit_immutable, audit_trail_on
from policies.testing import admit, deny, made_from, resource, undetermined, unknown

ON = {
    "enableLogging": True,
    "isMultiRegionTrail": True,
    "includeGlobalServiceEvents": True,
    "enableLogFileValidation": True,
}
AUDIT = resource("aws:s3/bucket:Bucket", "audit", bucket="acme-audit", objectLockEnabled=True)


def trail(bucket: Any = "acme-audit", **switches: Any) -> Resource:
    return resource("aws:cloudtrail/trail:Trail", "audit", {**ON, "s3BucketName": bucket, **switches})


def lock(mode: Any = "COMPLIANCE", bucket: Any = AUDIT, **term: Any) -> Resource:
    kind = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
    retention = {"mode": mode, **(term or {"days": 183})}
    return resource(kind, "audit", bucket=bucket, rule={"defaultRetention": retention})


def test_trail_that_records_everything_is_admitted() -> None:
    admit(audit_trail_on, trail())
    admit(audit_trail_on, trail(enableLogging=None, includeGlobalServiceEvents=None))


@pytest.mark.parametrize("switch", sorted(ON))
def test_trail_that_misses_something_is_denied(switch: str) -> None:
    deny(audit_trail_on, trail(**{switch: False}), path=switch)
    undetermined(audit_trail_on, trail(**{switch: unknown()}), path=switch)


@pytest.mark.parametrize("switch", ["isMultiRegionTrail", "enableLogFileValidation"])
def test_switch_that_is_off_unless_stated_is_asked_for(switch: str) -> None:
    deny(audit_trail_on, trail(**{switch: None}), path=switch)


@pytest.mark.parametrize("bucket", ["acme-audit", AUDIT, made_from(AUDIT, value="acme-audit")])
def test_locked_storage_is_admitted_by_name_and_by_reference(bucket: Any) -> None:
    admit(audit_immutable, trail(bucket), AUDIT, lock())
    admit(audit_immutable, trail(bucket), AUDIT, lock(bucket="acme-audit"))


def test_years_count_as_well() -> None:
    admit(audit_immutable, trail(), AUDIT, lock(years=1))


def test_term_is_that_of_the_settings_where_they_ask_for_more() -> None:
    asked = {"aws.governance.auditDays": 2557}
    admit(audit_immutable, trail(), AUDIT, lock(days=2557), settings=asked)
    deny(
        audit_immutable,
        trail(),
        AUDIT,
        lock(days=2556),
        settings=asked,
        says="at least 2557",
        setting="aws.governance.auditDays",
    )


def test_other_environments_may_keep_records_shorter_and_in_governance_mode() -> None:
    admit(audit_immutable, trail(), AUDIT, lock("GOVERNANCE", days=30), environment="staging")
    deny(audit_immutable, trail(), AUDIT, lock("GOVERNANCE", days=29), environment="staging")


@pytest.mark.parametrize(
    ("things", "says"),
    [
        ([], "'acme-audit' of the trail is not in this stack"),
        ([AUDIT], "no retention is stated"),
        ([AUDIT, lock("GOVERNANCE")], "must be COMPLIANCE"),
        ([AUDIT, lock(None)], "is not stated"),
        ([AUDIT, lock(days=182)], "locked for 182 days, at least 183"),
        (
            [resource(AUDIT.type, "audit", bucket="acme-audit"), lock(bucket="acme-audit")],
            "objectLockEnabled is not true",
        ),
    ],
)
def test_storage_that_can_be_changed_is_denied(things: list[Resource], says: str) -> None:
    deny(audit_immutable, trail(), *things, says=says)


def test_storage_that_is_not_known_leaves_it_open() -> None:
    undetermined(audit_immutable, trail(unknown()))
    undetermined(audit_immutable, trail(), AUDIT, lock(days=unknown()))


def test_every_bucket_of_the_name_and_every_lock_is_looked_at() -> None:
    twin = resource(AUDIT.type, "twin", bucket="acme-audit", objectLockEnabled=False)
    on_twin = lock(bucket=twin)
    deny(audit_immutable, trail(), AUDIT, lock(), twin, on_twin, at=twin, path="objectLockEnabled")
    second = resource(lock().type, "second", bucket=AUDIT, rule={"defaultRetention": {"mode": "COMPLIANCE", "days": 1}})
    deny(audit_immutable, trail(), AUDIT, lock(), second, at=second)


def test_bucket_of_another_name_is_no_storage_of_records() -> None:
    admit(audit_immutable, trail(), AUDIT, lock(), resource(AUDIT.type, "other", bucket="acme-other"))


def test_a_year_has_365_days() -> None:
    admit(audit_immutable, trail(), AUDIT, lock(years=1), settings={"aws.governance.auditDays": 365})
    deny(
        audit_immutable, trail(), AUDIT, lock(years=1), settings={"aws.governance.auditDays": 366}, says="for 365 days"
    )


def test_records_of_dev_are_locked_for_a_day() -> None:
    admit(audit_immutable, trail(), AUDIT, lock("GOVERNANCE", days=1), environment="dev")
    deny(audit_immutable, trail(), AUDIT, lock("GOVERNANCE", days=0), environment="dev")


def test_trail_that_names_no_bucket_is_denied_whatever_buckets_there_are() -> None:
    nameless = resource("aws:s3/bucket:Bucket", "nameless", bucket="", objectLockEnabled=True)
    for bucket in (None, ""):
        deny(audit_immutable, trail(bucket), nameless, AUDIT, lock(), says="not in this stack")
