"""What stops an `up` half-way: Ctrl-C, a second `up`, a refused call, credentials that end. The next one goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.errors import StackLockedError
from infra.rehearsal.aws.clients import Aws
from tests.rehearsal.conftest import PROGRAMS, Rehearsed

pytestmark = [pytest.mark.engine, pytest.mark.slow]

UP = """
import sys
from pathlib import Path
from infra.rehearsal.stack import rehearsed_stack

program, folder, port = sys.argv[1:]
rehearsed_stack(Path(program), "test", Path(folder), {"PULUMI_DEBUG_PROVIDERS": f"aws:{port}"}, {}).up()
"""
PATIENCE = 180.0


def in_background(program: Rehearsed) -> "subprocess.Popen[str]":
    """Start `up` as a person would: in a process group of its own, with SIGINT as a terminal leaves it."""
    command = [sys.executable, "-c", UP, str(PROGRAMS / program.program), str(program.folder), str(program.port)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), env=os.environ,
    )  # fmt: skip


def eventually(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def until_it_says(process: "subprocess.Popen[str]", wanted: str) -> str:
    assert process.stdout is not None
    said = ""
    while wanted not in said and (line := process.stdout.readline()):
        said += line
    return said


def buckets(aws: Aws) -> list[str]:
    return [one["Name"] for one in aws.call("s3", "list_buckets", {}).get("Buckets") or []]


def ours(aws: Aws) -> int:
    """Networks of the program that are there."""
    found = aws.call("ec2", "describe_vpcs", {"Filters": [{"Name": "cidr", "Values": ["10.7.0.0/16"]}]})["Vpcs"]
    return len(found)


def holds_back(program: Rehearsed, operation: str) -> None:
    """Let the calls of an operation be throttled until further notice."""
    program.server.ask("faults", [{"operation": operation, "code": "Throttling", "status": 400, "times": -1}])


def test_up_goes_on_where_ctrl_c_stopped_it(rehearsed: Callable[[str], Rehearsed], aws: Aws) -> None:
    slice_ = rehearsed("slice")
    holds_back(slice_, "s3.PutBucketVersioning")
    process = in_background(slice_)
    try:
        eventually(lambda: buckets(aws) and ours(aws))
        process.send_signal(signal.SIGINT)
        heard = until_it_says(process, "^C received")
        slice_.server.ask("faults", [])
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        slice_.server.ask("faults", [])

    assert process.returncode != 0, heard + said
    again = slice_.run("up")
    assert again.ok, again.errors
    assert len(slice_.state()) == 8
    assert (len(buckets(aws)), ours(aws)) == (1, 1), "what was made before is made twice"
    assert slice_.run("preview", "--expect-no-changes").ok
    assert slice_.run("destroy").ok
    assert (buckets(aws), ours(aws)) == ([], 0)


def test_second_up_at_the_same_time_is_refused_and_changes_nothing(
    rehearsed: Callable[[str], Rehearsed], aws: Aws
) -> None:
    slice_ = rehearsed("slice")
    holds_back(slice_, "s3.PutBucketVersioning")
    process = in_background(slice_)
    try:
        eventually(lambda: buckets(aws) and ours(aws))
        with pytest.raises(StackLockedError, match="is at work on it"):
            slice_.run("up")
        slice_.server.ask("faults", [])
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        slice_.server.ask("faults", [])

    assert process.returncode == 0, said
    assert (len(buckets(aws)), ours(aws)) == (1, 1)
    assert slice_.run("destroy").ok


@pytest.mark.parametrize(
    ("code", "skip"), [("AccessDenied", 0), ("ExpiredToken", 1)], ids=["refused call", "credentials end half-way"]
)
def test_up_names_what_was_refused_and_goes_on_afterwards(
    rehearsed: Callable[[str], Rehearsed], aws: Aws, code: str, skip: int
) -> None:
    slice_ = rehearsed("slice")
    fault = {"operation": "iam.*", "code": code, "message": "not for you", "status": 403, "times": -1, "skip": skip}
    slice_.server.ask("faults", [fault])
    try:
        result = slice_.run("up")
    finally:
        slice_.server.ask("faults", [])

    assert not result.ok
    assert code in " ".join(result.errors)
    assert "reader" in " ".join(result.errors)
    assert slice_.run("up").ok
    assert (len(buckets(aws)), ours(aws)) == (1, 1)
    assert slice_.run("destroy").ok
    assert not [one for one in aws.call("iam", "list_roles", {})["Roles"] if one["RoleName"].startswith("reader-")]
