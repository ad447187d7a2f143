"""What `doctor` finds, and that it says what to do about it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.paths import home_hash
from infra.engine import doctor
from infra.engine.doctor import Check


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def own_home(clean_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PULUMI")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", clean_environ["HOME"])
    monkeypatch.setenv("XDG_CACHE_HOME", clean_environ["XDG_CACHE_HOME"])


def named(checks: Iterator[Check] | list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_every_finding_that_is_not_ok_says_what_to_do_and_fits_json(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_answers", lambda *_: False)
    checks = doctor.run(project, "test", ports={})
    assert len(checks) > 10
    for check in checks:
        json.dumps(check.as_dict())
        assert check.status in ("ok", "warn", "fail")
        assert check.status == "ok" or check.mend or check.name == "official releases", check


def test_taken_port_names_its_setting_and_its_owner(project: Path, taken_port: int) -> None:
    check = named(doctor.listening(project, "test", {"registry": taken_port}), "ports of test")
    assert check.status == "fail"
    assert f"{taken_port} (registry) by process {os.getpid()}" in check.found
    assert "mlops:ports" in check.mend


def test_free_ports_are_fine(project: Path, taken_port: int) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        free = server.getsockname()[1]
    assert named(doctor.listening(project, "test", {"registry": free}), "ports of test").status == "ok"


def test_bad_settings_are_a_finding(project: Path) -> None:
    check = named(doctor.listening(project, "nonsense", None), "settings")
    assert check.status == "fail"


@pytest.fixture
def stack_process(project: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that carries the mark of a stack's child."""
    mark = home_hash(str(project / ".mlops" / "stacks" / "test"))
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        env={**os.environ, "MLOPS_PROCESS": f"{mark}/registry"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_process_without_its_supervisor_is_a_leftover(project: Path, stack_process: "subprocess.Popen[bytes]") -> None:
    check = named(doctor.leftovers(project, "test"), "leftover processes")
    assert check.status == "warn"
    assert f"{stack_process.pid} (registry)" in check.found
    assert named(doctor.leftovers(project, "other"), "leftover processes").status == "ok"


def test_lock_of_a_dead_engine_is_found(project: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = project / ".mlops" / "state" / ".pulumi" / "locks" / "organization" / "mlops" / "test"
    folder.mkdir(parents=True)
    content = {
        "pid": process.pid,
        "username": "someone",
        "hostname": socket.gethostname(),
        "timestamp": "2026-01-01T00:00:00.123456789Z",
    }
    (folder / "a.json").write_text(json.dumps(content))
    check = named(doctor.state(project, "test"), "lock")
    assert "no longer runs" in check.found
    assert check.status == "warn"


def test_readable_passphrase_is_found(project: Path) -> None:
    path = project / ".mlops" / "passphrase"
    path.write_text("secret")
    path.chmod(0o644)
    assert named(doctor.state(project, "test"), "passphrase").status == "fail"
    path.chmod(0o600)
    assert all(check.name != "passphrase" for check in doctor.state(project, "test"))
