"""What holds state: protected, never replaced, deleted or unprotected unseen."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.rollback.state import protection_kept, state_kept, state_protected
from policies.stateful import STATEFUL
from policies.testing import admit, deny, reads_nothing_unknown, resource, skip, step, undetermined, unknown

BUCKET, TABLE, DATABASE = "aws:s3/bucket:Bucket", "aws:dynamodb/table:Table", "aws:rds/instance:Instance"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
SAFE = {one.type: {one.switch: one.safe} if one.switch else {} for one in STATEFUL.values()}


def held(kind: str, inputs: Any = None, *, protect: bool = True) -> Resource:
    return resource(kind, "held", SAFE.get(kind, {}) if inputs is None else inputs, protect=protect)


@pytest.mark.parametrize("kind", [one.type for one in STATEFUL.values() if one.guarded])
def test_protected_state_is_admitted_and_unprotected_state_denied(kind: str) -> None:
    admit(state_protected, held(kind))
    deny(state_protected, held(kind, protect=False), says="without `protect`", setting="aws.protected")


def test_only_what_the_cluster_holds_goes_without_protection_by_the_engine() -> None:
    unguarded = {"kubernetes:core/v1:PersistentVolumeClaim", "kubernetes:core/v1:Namespace"}
    for kind in STATEFUL:
        if kind in unguarded:
            skip(state_protected, held(kind, protect=False))
        else:
            deny(state_protected, held(kind, protect=False), says="without `protect`")


@pytest.mark.parametrize("kind", [one.type for one in STATEFUL.values() if one.switch])
def test_switch_of_the_service_is_asked_for(kind: str) -> None:
    switch, safe = STATEFUL[kind].switch, STATEFUL[kind].safe
    deny(state_protected, held(kind, {switch: not safe}), path=switch, says=f"must be {str(safe).lower()}")
    undetermined(state_protected, held(kind, {switch: unknown()}), path=switch)


def test_switch_that_is_not_stated_is_as_the_service_takes_it() -> None:
    admit(state_protected, held(BUCKET, {}))
    deny(state_protected, held(TABLE, {}), path="deletionProtectionEnabled", says="is false")


@pytest.mark.parametrize("kind", sorted(STATEFUL))
def test_step_that_deletes_or_replaces_state_is_denied(kind: str) -> None:
    old, new = held(kind), held(kind)
    admit(state_kept, step("update", old, new, changed=["tags"]))
    admit(state_kept, step("create", None, new))
    deny(state_kept, step("delete", old), says=f"deletes it, and {STATEFUL[kind].holds}", at=old)
    deny(state_kept, step("replace", old, new, replaces=["bucket"]), says="replaces it (bucket)", path="bucket")
    deny(state_kept, step("replace", old, new), says="a change of its inputs")


def test_what_a_step_does_is_always_known() -> None:
    reads_nothing_unknown(
        state_kept, step("replace", held(BUCKET), held(BUCKET)), why="it reads the operation, which the engine states"
    )


def change(kind: str, before: Any, after: Any) -> Any:
    return step("update", held(kind, before), held(kind, after))


def retention(mode: str = "COMPLIANCE", **days: int) -> Any:
    return {"rule": {"defaultRetention": {"mode": mode, **days}}}


WEAKER = [
    (DATABASE, {"deletionProtection": True}, {"deletionProtection": False}, "deletionProtection"),
    (DATABASE, {"deletionProtection": True}, {}, "deletionProtection"),
    (DATABASE, {"skipFinalSnapshot": False}, {"skipFinalSnapshot": True}, "skipFinalSnapshot"),
    (DATABASE, {"deleteAutomatedBackups": False}, {}, "deleteAutomatedBackups"),
    (DATABASE, {"backupRetentionPeriod": 35}, {"backupRetentionPeriod": 34}, "backupRetentionPeriod"),
    (TABLE, {"deletionProtectionEnabled": True}, {"deletionProtectionEnabled": False}, "deletionProtectionEnabled"),
    (TABLE, {"pointInTimeRecovery": {"enabled": True}}, {}, "pointInTimeRecovery.enabled"),
    (BUCKET, {"forceDestroy": False}, {"forceDestroy": True}, "forceDestroy"),
    ("aws:ecr/repository:Repository", {}, {"forceDelete": True}, "forceDelete"),
    ("aws:kms/key:Key", {"deletionWindowInDays": 30}, {"deletionWindowInDays": 7}, "deletionWindowInDays"),
    (
        VERSIONING,
        {"versioningConfiguration": {"status": "Enabled"}},
        {"versioningConfiguration": {"status": "Suspended"}},
        "versioningConfiguration.status",
    ),
    (LOCK, retention(days=2557), retention(days=90), "rule.defaultRetention.days"),
    (LOCK, retention(years=7), retention(years=1), "rule.defaultRetention.years"),
    (LOCK, retention(days=90), retention("GOVERNANCE", days=90), "rule.defaultRetention.mode"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "after", "path"), WEAKER)
def test_step_that_takes_protection_off_is_denied_and_its_reverse_admitted(
    kind: str, before: Any, after: Any, path: str
) -> None:
    deny(protection_kept, change(kind, before, after), path=path, says="it guards less than before")
    admit(protection_kept, change(kind, after, before))
    admit(protection_kept, change(kind, before, before))


def test_step_that_lifts_the_engines_protection_is_denied() -> None:
    deny(protection_kept, step("same", held(BUCKET), held(BUCKET, protect=False)), says="takes `protect` off")
    admit(protection_kept, step("same", held(BUCKET, protect=False), held(BUCKET)))


def test_step_that_takes_versioning_away_is_denied() -> None:
    deny(protection_kept, step("delete", held(VERSIONING, {})), says="old versions")
    admit(protection_kept, step("delete", held(BUCKET)))
    admit(protection_kept, step("create", None, held(VERSIONING, {})))


def test_protection_that_is_not_known_leaves_it_open() -> None:
    undetermined(
        protection_kept, change(TABLE, {}, {"deletionProtectionEnabled": unknown()}), path="deletionProtectionEnabled"
    )


@pytest.mark.parametrize(
    ("kind", "guard", "value"),
    [
        (DATABASE, "deletionProtection", False),
        (DATABASE, "deleteAutomatedBackups", True),
        (DATABASE, "backupRetentionPeriod", 0),
        (TABLE, "deletionProtectionEnabled", False),
        (BUCKET, "forceDestroy", False),
        ("aws:kms/key:Key", "deletionWindowInDays", 30),
    ],
)
def test_what_is_not_stated_is_what_the_service_takes(kind: str, guard: str, value: Any) -> None:
    admit(protection_kept, change(kind, {}, {guard: value}))
    admit(protection_kept, change(kind, {guard: value}, {}))


def test_term_that_is_not_stated_is_none() -> None:
    bare = {"rule": {"defaultRetention": {"mode": "COMPLIANCE"}}}
    for term in ("days", "years"):
        zero = {"rule": {"defaultRetention": {"mode": "COMPLIANCE", term: 0}}}
        admit(protection_kept, change(LOCK, bare, zero))
        admit(protection_kept, change(LOCK, zero, bare))


def test_final_snapshot_is_made_unless_it_is_skipped() -> None:
    deny(protection_kept, change(DATABASE, {}, {"skipFinalSnapshot": True}), says="from false to true")
    admit(protection_kept, change(DATABASE, {"skipFinalSnapshot": True}, {}))


def test_value_that_is_gone_is_called_nothing() -> None:
    enabled = {"pointInTimeRecovery": {"enabled": True}}
    deny(protection_kept, change(TABLE, enabled, {}), says="goes from true to nothing")


def test_first_of_several_causes_is_the_place() -> None:
    old, new = held(BUCKET), held(BUCKET)
    found = deny(state_kept, step("replace", old, new, replaces=["bucket", "region"]), path="bucket")
    assert "bucket, region" in found[0].text
