"""Marks, launching, rendering and ports, with small real processes."""

import configparser
import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.provider import launch, marks, ports, rendering
from infra.provider.codec import Properties
from infra.provider.environment import scrubbed
from infra.provider.files import require_own, tail, write_private
from infra.provider.resource import ResourceError

Inputs = Callable[..., Properties]
FAMILY = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True, env={})
time.sleep(600)
"""


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A mark of this test's own; its carriers are gone afterwards."""
    value = f"{marks.PROCESS}=test-{os.getpid()}-{tmp_path.name}/web"
    yield value
    marks.sweep(value)


def carrier(mark: str, code: str = "import time; time.sleep(600)") -> "subprocess.Popen[bytes]":
    name, _, value = mark.partition("=")
    return subprocess.Popen([sys.executable, "-S", "-c", code], env={name: value}, start_new_session=True)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sweep_ends_carriers_and_their_descendants_that_dropped_the_mark(mark: str) -> None:
    family = carrier(mark, FAMILY)
    until(lambda: len(marks.members(mark)) == 2)

    killed = marks.sweep(mark)

    assert family.wait(60) == -9
    assert len(killed) == 2
    assert marks.members(mark) == set()


def test_sweep_spares_other_processes_of_the_same_home(mark: str) -> None:
    other = carrier(mark + "-2")
    try:
        assert marks.sweep(mark) == set()
        assert other.poll() is None
        assert marks.sweep(mark.removesuffix("web")) == {other.pid}
    finally:
        other.kill()
        other.wait()


def test_sweep_spares_itself_and_its_ancestors(mark: str) -> None:
    folder = str(Path(marks.__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import marks; print(marks.sweep({mark!r}))"
    name, _, value = mark.partition("=")

    done = subprocess.run([sys.executable, "-c", code], env={name: value}, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def started(path: Path, **document: object) -> "subprocess.CompletedProcess[str]":
    complete: dict[str, object] = {
        "command": ["true"],
        "directory": "/",
        "environment": {},
        "mark": None,
        "starts": None,
        "dieWithParent": False,
        "once": False,
    }
    path.write_text(json.dumps(complete | document))
    environment = scrubbed() | {"SUPERVISOR_ENABLED": "1"}
    return subprocess.run(
        rendering.launch_command(str(path)), capture_output=True, text=True, env=environment, check=False
    )


def test_launch_becomes_the_command_with_its_environment_and_mark(tmp_path: Path, mark: str) -> None:
    value = mark.partition("=")[2]
    odd = "two\nlines 'quote' \"double\" 100% $HOME"

    done = started(tmp_path / "launch.json", command=["env", "-0"], environment={"ODD": odd}, mark=value)

    seen = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert seen["ODD"] == odd
    assert seen[marks.PROCESS] == value
    assert "SUPERVISOR_ENABLED" not in seen


def test_launch_ends_what_an_earlier_run_left(tmp_path: Path, mark: str) -> None:
    stale = carrier(mark)
    until(lambda: marks.members(mark) == {stale.pid})

    started(tmp_path / "launch.json", mark=mark.partition("=")[2])

    assert stale.wait(60) == -9


def test_launch_dies_with_its_parent_while_it_waits_too(tmp_path: Path, mark: str) -> None:
    starts, file = tmp_path / "starts", tmp_path / "launch.json"
    starts.write_text(f"{time.time()}\n" * 8)  # so that it waits for half a minute
    document: dict[str, object] = {
        "command": ["sleep", "600"],
        "directory": "/",
        "environment": {},
        "mark": None,
        "once": False,
    }
    file.write_text(json.dumps(document | {"starts": str(starts), "dieWithParent": True}))
    code = f"import subprocess; subprocess.Popen({rendering.launch_command(str(file))}); input()"
    name, _, value = mark.partition("=")
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env={name: value}, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stderr is not None
    assert "waiting 30 s" in parent.stderr.readline()
    assert len(marks.members(mark)) == 2

    parent.kill()
    parent.wait()

    until(lambda: not marks.members(mark))


@pytest.mark.parametrize(
    ("wrong", "named"), [({"command": ["no-such-program"]}, "no-such-program"), ({"directory": "/no/such"}, "/no/such")]
)
def test_launch_names_what_is_missing(tmp_path: Path, wrong: dict[str, object], named: str) -> None:
    done = started(tmp_path / "launch.json", **wrong)

    assert done.returncode == 127
    assert f"cannot start: {named}: No such file or directory" in done.stderr


def test_launch_file_for_one_use_is_removed_before_the_command_runs(tmp_path: Path) -> None:
    path = tmp_path / "launch.json"

    done = started(path, once=True, command=["ls", str(tmp_path)])

    assert done.stdout == ""


@pytest.mark.parametrize(
    ("starts", "seconds"),
    [([], 0), ([1, 2], 0), ([1, 2, 3], 1), ([1, 2, 3, 4], 2), ([1, 2, 3, 4, 5], 4), (list(range(20)), 30)],
)
def test_pause_grows_with_starts_in_a_row(starts: list[float], seconds: float) -> None:
    assert launch.pause(starts, now=100) == seconds


def test_pause_forgets_starts_of_long_ago() -> None:
    assert launch.pause([1, 2, 3, 4, 5], now=1000) == 0


def test_supervisor_can_read_the_entry_of_a_process_in_an_odd_place(process_inputs: Inputs) -> None:
    inputs = process_inputs(
        home="/tmp/100% odd/my home", stopTimeoutSeconds=7, restart={"always": False, "maxRetries": 3}
    )

    content = rendering.process_files(inputs)[rendering.entry_file(inputs["home"], "web")]
    parsed = configparser.ConfigParser(inline_comment_prefixes=(" ;",), interpolation=configparser.BasicInterpolation())
    parsed.read_string(content)

    entry = parsed["program:web"]
    assert entry["stdout_logfile"] == "/tmp/100% odd/my home/log/web.log"
    assert entry["autorestart"] == "false"
    assert entry["startretries"] == "3"
    assert entry["stopwaitsecs"] == "7"


def test_secrets_of_a_process_are_in_its_private_files_only(process_inputs: Inputs) -> None:
    inputs = process_inputs(secretEnvironment={"T": "hunter2"}, files={"c": "hunter2"})

    holding = {Path(path).name for path, content in rendering.process_files(inputs).items() if "hunter2" in content}

    assert holding == {"launch.json", "c"}


def test_fingerprint_changes_with_anything_but_health(process_inputs: Inputs) -> None:
    base = rendering.fingerprint(process_inputs())

    assert rendering.fingerprint(process_inputs(health={"tcp": 5})) == base
    assert rendering.fingerprint(process_inputs(triggers={"a": "1"})) != base
    assert rendering.fingerprint(process_inputs(secretEnvironment={"A": "1"})) != base


def test_taken_port_names_purpose_and_owner(free_port: int) -> None:
    ports.require_free("web", {"http": free_port}, patience=0)
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(
            ResourceError, match=rf"web: port {free_port} \(`ports.http`\) is taken by process {os.getpid()}"
        ),
    ):
        ports.require_free("web", {"http": free_port}, patience=0)


def test_port_taken_on_all_interfaces_is_taken(free_port: int) -> None:
    with socket.create_server(("0.0.0.0", free_port)):
        assert not ports.is_free(free_port)


def test_private_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"

    write_private(str(path), "old")
    write_private(str(path), "new")

    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(str(path), "old")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ResourceError, match=rf"cannot write {path}: No space left on device"):
        write_private(str(path), "new")

    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_folder_that_others_can_enter_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path)

    for name in ("open", "link"):
        with pytest.raises(ResourceError, match="somebody else made it"):
            require_own(str(tmp_path / name))


def test_tail_begins_where_it_is_told_unless_the_log_was_rotated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\nnew 1\nnew 2\n")

    assert tail(str(log), 20, start=4) == "new 1\nnew 2"
    assert tail(str(log), 1) == "new 2"
    assert tail(str(log), 20, start=4000) == "old\nnew 1\nnew 2"
    assert tail(str(tmp_path / "none"), 20) == ""
