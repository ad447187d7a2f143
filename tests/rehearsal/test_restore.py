"""A database that was lost comes back from its snapshot, and stays when the snapshot is stated no more."""

from collections.abc import Callable

import pytest

from infra.rehearsal.aws.clients import Aws
from tests.rehearsal.conftest import Rehearsed

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_lost_database_is_made_from_its_snapshot(rehearsed: Callable[[str], Rehearsed], aws: Aws) -> None:
    program = rehearsed("database")
    assert program.run("up").ok
    [made] = aws.call("rds", "describe_db_instances", {})["DBInstances"]
    name = {"DBInstanceIdentifier": made["DBInstanceIdentifier"]}

    assert not program.run("preview", restoreFrom="kept").changed, "a database that is there stays as it is"

    aws.call("rds", "create_db_snapshot", {**name, "DBSnapshotIdentifier": "kept"})
    aws.call("rds", "delete_db_instance", {**name, "SkipFinalSnapshot": True})
    assert program.run("refresh").changed
    never_anew = {"operation": "rds.CreateDBInstance", "code": "AccessDenied", "status": 403, "times": -1}
    program.server.ask("faults", [never_anew])
    try:
        restored = program.run("up", restoreFrom="kept")
    finally:
        program.server.ask("faults", [])

    assert restored.ok, restored.errors
    [found] = aws.call("rds", "describe_db_instances", {})["DBInstances"]
    for what in ("DBInstanceIdentifier", "DBName", "MasterUsername", "StorageEncrypted", "BackupRetentionPeriod"):
        assert found[what] == made[what]
    assert program.run("preview", "--expect-no-changes", restoreFrom="kept").ok
    assert program.run("preview", "--expect-no-changes").ok
    assert program.run("destroy").ok
    aws.call("rds", "delete_db_snapshot", {"DBSnapshotIdentifier": "kept"})
