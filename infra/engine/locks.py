"""Locks of a file backend: whose they are, and the release of those whose owner is dead.

The engine's lock is a file without a heartbeat: it stays when the engine is killed. It names the process, so a lock of
a process that no longer runs on this machine is safe to release. Only that one file is removed, where `pulumi cancel`
would remove every lock of the stack, also one that another run took in the meantime.
"""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil

from infra.engine.cache import Progress
from infra.engine.errors import StackLockedError

_CLOCK_SLACK_SECONDS = 5.0


@dataclass(frozen=True)
class Lock:
    """One lock file.

    Attributes:
        path: The file.
        pid: Process that took it.
        host: Machine that it ran on.
        user: Its user.
        taken: When.
    """

    path: Path
    pid: int
    host: str
    user: str
    taken: datetime

    def __str__(self) -> str:
        """Say it in a sentence for people."""
        return f"process {self.pid} of {self.user}@{self.host}, since {self.taken.astimezone():%Y-%m-%d %H:%M:%S}"

    def holder(self) -> Literal["alive", "dead", "elsewhere"]:
        """Say whether its owner still runs. A process that began after the lock only has the same number."""
        if self.host != socket.gethostname():
            return "elsewhere"
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return "dead"
            return "alive" if process.create_time() <= self.taken.timestamp() + _CLOCK_SLACK_SECONDS else "dead"
        except psutil.NoSuchProcess:
            return "dead"
        except psutil.AccessDenied:
            return "alive"

    def command(self) -> str:
        """Return the owner's command line, as far as it can be seen."""
        with contextlib.suppress(psutil.Error):
            return " ".join(psutil.Process(self.pid).cmdline())[:120]
        return "command not visible"


def read(path: Path) -> Lock | None:
    """Return what a lock file says, or None when it went away or is none."""
    try:
        content = json.loads(path.read_text())
        taken = datetime.fromisoformat(_microseconds(content["timestamp"]))
        return Lock(path, int(content["pid"]), str(content["hostname"]), str(content["username"]), taken)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _microseconds(timestamp: str) -> str:
    """Cut a time with nanoseconds to what Python reads."""
    head, dot, tail = timestamp.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}{dot}{tail[: min(digits, 6)]}{tail[digits:]}" if dot else timestamp


def held(backend: Path, project: str, stack: str) -> list[Lock]:
    """Return the locks of a stack in a file backend."""
    folder = backend / ".pulumi" / "locks" / "organization" / project / stack
    return [lock for path in sorted(folder.glob("*.json")) if (lock := read(path)) is not None]


def release_stale(backend: Path, project: str, stack: str, progress: Progress) -> list[Lock]:
    """Release the locks whose owner is dead, saying so, and return them.

    Raises:
        StackLockedError: A lock's owner runs, or runs elsewhere, where nobody can say.
    """
    released = []
    for lock in held(backend, project, stack):
        state = lock.holder()
        if state == "dead":
            lock.path.unlink(missing_ok=True)
            progress(f"stack {stack}: released the lock of {lock}, which no longer runs; nothing was lost")
            released.append(lock)
        elif state == "alive":
            raise StackLockedError(
                f"stack {stack} is locked: {lock} ({lock.command()}) is at work on it. Wait until it ends, or stop it "
                f"with Ctrl-C or kill -INT {lock.pid}; a lock that its owner left behind is released by itself."
            )
        elif state == "elsewhere":
            raise StackLockedError(
                f"stack {stack} is locked by {lock}, which can't be looked at from {socket.gethostname()}. When it no "
                f"longer runs there, release it: ./mlops pulumi cancel --yes -s {stack}"
            )
    return released
