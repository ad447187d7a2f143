"""Native servers of a rehearsal: they end with this process, however it ends, and Ctrl-C does not reach them."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
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


@contextlib.contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Give ports of the loopback address for servers that are started by their number.

    They are held until the block's end by sockets that are bound and do not listen: the kernel gives them to nobody who
    asks for any port, while a server that names one, with SO_REUSEADDR as servers do, gets it, again and again.
    """
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        yield [holder.getsockname()[1] for holder in holders]


def tail(log: Path, lines: int = 8) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
