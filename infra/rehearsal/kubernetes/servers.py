"""Native servers of a rehearsal: they end with this process, however it ends, and Ctrl-C does not reach them."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

_PYTHON = re.compile("python|pulumi")
_STOP_SECONDS = 10.0


def spawn(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a server that ends with this process and that the terminal's Ctrl-C does not reach.

    Args:
        command: Program and arguments; no secrets.
        log: File that its output is appended to.
        environment: All of its environment; this process's by default.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=environment,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server; nothing of its data is wanted, so it gets little time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def peaks() -> dict[str, int]:
    """Return how much memory each native server that runs has had at its most, MiB (`VmHWM` of proc(5))."""
    found: dict[str, int] = {}
    for child in psutil.Process().children():
        with contextlib.suppress(OSError, psutil.Error):
            status = Path(f"/proc/{child.pid}/status").read_text()
            if (most := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)) and not _PYTHON.match(child.name()):
                found[child.name()] = int(most[1]) // 1024
    return found


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens at."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
