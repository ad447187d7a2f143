"""Locks of a file backend: released when the owner is dead, respected when it runs."""

import datetime
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.engine import locks
from infra.engine.errors import StackLockedError

NOW = datetime.datetime.now(tz=datetime.UTC)


def write_lock(backend: Path, *, pid: int, host: str | None = None, taken: datetime.datetime = NOW) -> Path:
    folder = backend / ".pulumi" / "locks" / "organization" / "mlops" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{pid}.json"
    # The engine writes nanoseconds.
    timestamp = taken.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
    content = {"pid": pid, "username": "someone", "hostname": host or socket.gethostname(), "timestamp": timestamp}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_lock_of_a_dead_process_is_released_and_said(tmp_path: Path, dead_pid: int, said: list[str]) -> None:
    path = write_lock(tmp_path, pid=dead_pid)
    assert [lock.pid for lock in locks.release_stale(tmp_path, "mlops", "test", said.append)] == [dead_pid]
    assert not path.exists()
    assert str(dead_pid) in said[0]


def test_lock_of_a_running_process_is_respected_and_names_it(tmp_path: Path, said: list[str]) -> None:
    path = write_lock(tmp_path, pid=os.getpid())
    with pytest.raises(StackLockedError, match=str(os.getpid())):
        locks.release_stale(tmp_path, "mlops", "test", said.append)
    assert path.exists()


def test_lock_is_stale_when_its_process_number_was_given_to_another(tmp_path: Path, said: list[str]) -> None:
    path = write_lock(tmp_path, pid=os.getpid(), taken=NOW - datetime.timedelta(days=1))
    locks.release_stale(tmp_path, "mlops", "test", said.append)
    assert not path.exists()


def test_lock_of_another_machine_is_respected(tmp_path: Path, dead_pid: int, said: list[str]) -> None:
    write_lock(tmp_path, pid=dead_pid, host="another-machine")
    with pytest.raises(StackLockedError, match="pulumi cancel --yes -s test"):
        locks.release_stale(tmp_path, "mlops", "test", said.append)


def test_lock_of_a_zombie_is_stale(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        lock = locks.read(write_lock(tmp_path, pid=process.pid))
        assert lock is not None
        assert lock.holder() == "dead"
    finally:
        process.wait()


def test_only_locks_of_that_stack_count(tmp_path: Path, said: list[str]) -> None:
    write_lock(tmp_path, pid=os.getpid())
    assert locks.release_stale(tmp_path, "mlops", "other", said.append) == []


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"pid": 1}'])
def test_file_that_is_no_lock_is_left_alone(tmp_path: Path, said: list[str], content: str) -> None:
    path = write_lock(tmp_path, pid=1)
    path.write_text(content)
    assert locks.release_stale(tmp_path, "mlops", "test", said.append) == []
    assert path.exists()
