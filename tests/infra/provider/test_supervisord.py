"""The supervisor on a full disk: `/dev/full` is one, whatever is written to it."""

import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from supervisor import loggers

from infra.provider import supervisord

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")

PROGRAM = ["-I", supervisord.__file__]
CHATTY = """
import pathlib, sys, time
for number in range(600):
    print("line", number, flush=True)
    print("line", number, file=sys.stderr, flush=True)
    pathlib.Path(sys.argv[1]).write_text(str(number))
    time.sleep(0.05)
"""


@contextmanager
def running(folder: Path, program: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a supervisor whose log, child's logs and standard error find no room; ends it with its child."""
    script, configuration = folder / "chatty.py", folder / "supervisord.conf"
    script.write_text(CHATTY)
    configuration.write_text(
        "[supervisord]\nnodaemon=true\nsilent=true\nlogfile=/dev/full\nlogfile_maxbytes=0\n"
        f"pidfile={folder}/pid\nchildlogdir={folder}\nloglevel=debug\n"
        f"[program:chatty]\ncommand={sys.executable} {script} {folder}/alive\nautorestart=false\nstartsecs=0\n"
        "stdout_logfile=/dev/full\nstdout_logfile_maxbytes=0\nstderr_logfile=/dev/full\nstderr_logfile_maxbytes=0\n"
    )
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            [sys.executable, *program, "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=full,
            cwd=folder,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def alive(folder: Path) -> int:
    """Return how far the child is; -1 before it runs."""
    try:
        return int((folder / "alive").read_text() or -1)
    except FileNotFoundError:
        return -1


@pytest.mark.slow
def test_a_full_disk_ends_neither_the_supervisor_nor_what_it_runs(tmp_path: Path) -> None:
    with running(tmp_path, PROGRAM) as process:
        deadline = time.monotonic() + 60
        while alive(tmp_path) < 20 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None
        assert alive(tmp_path) >= 20


@pytest.mark.slow
def test_without_it_a_full_disk_ends_all(tmp_path: Path) -> None:
    """What it is for: goes once supervisor itself bears it."""
    with running(tmp_path, ["-I", "-m", "supervisor.supervisord"]) as process:
        assert process.wait(60) != 0


def test_a_log_that_cannot_be_put_aside_is_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handler: loggers.RotatingFileHandler) -> None:
        handler.stream.close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(supervisord, "_roll_over", full)
    monkeypatch.setattr(loggers.RotatingFileHandler, "doRollover", supervisord.roll_over_if_possible)
    handler = loggers.RotatingFileHandler(str(tmp_path / "log"), maxBytes=10)
    handler.setFormat("%(message)s")
    for line in (b"first line\n", b"second line\n"):
        handler.emit(loggers.LogRecord(loggers.LevelsByName.INFO, line))
    handler.close()
    assert (tmp_path / "log").read_bytes() == b"first line\nsecond line\n"
