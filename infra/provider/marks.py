"""Finds and ends whatever a supervised process left behind, by a mark in the environment of all its descendants.

Process groups and sessions do not hold a tree together: workers make their own. The environment is inherited by all,
so each supervised process gets `MLOPS_PROCESS=<home hash>/<name>` and whoever carries it, or descends from a carrier,
belongs to it. Also a script of its own, run before each (re)start and when the supervisor is gone; it therefore needs
only the standard library:

    python -I -S marks.py MLOPS_PROCESS=1f2e3d4c5b/registry
"""

import os
import signal
import sys
import time

PROCESS = "MLOPS_PROCESS"
"""Names the supervised process that one belongs to."""
SUPERVISOR = "MLOPS_SUPERVISOR"
"""Names the supervisor's run that one was started in."""


def carriers(*marks: str) -> set[int]:
    """Return the processes that carry one of `marks` in their environment.

    Args:
        marks: Each is `NAME=value` for that very value, or `NAME=value/` for every value that begins so.
    """
    wanted = [mark.encode() for mark in marks]
    found = set()
    for pid in _processes():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - this runs before each start
                entries = file.read().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        if any(_matches(entry, mark) for entry in entries for mark in wanted):
            found.add(pid)
    return found


def _matches(entry: bytes, mark: bytes) -> bool:
    return entry.startswith(mark) if mark.endswith(b"/") else entry == mark


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def _parents() -> dict[int, int]:
    """Return the parent of each process, leaving out the dead ones that still wait for theirs."""
    parents = {}
    for pid in _processes():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except OSError:
            continue
        if state not in (b"Z", b"X"):
            parents[pid] = int(parent)
    return parents


def members(*marks: str) -> set[int]:
    """Return the living carriers of `marks` and their descendants, without this process and its ancestors."""
    parents = _parents()
    found = carriers(*marks) & parents.keys()
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        found |= children
        grown = bool(children)
    pid = os.getpid()
    while pid:
        found.discard(pid)
        pid = parents.get(pid, 0)
    return found


def sweep(*marks: str, patience: float = 5.0) -> set[int]:
    """Kill all members of `marks` until none is left; return those that were killed.

    Args:
        marks: As for `carriers`.
        patience: Seconds to wait for killed processes to go, for example out of a slow disk's queue.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + patience
    while (found := members(*marks)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        killed |= found
        time.sleep(0.02)
    return killed


if __name__ == "__main__":
    sweep(*sys.argv[1:])
