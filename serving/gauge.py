"""What a replica's event loop feels of its processor, looked at ten times a second while something depends on it.

Two rules read it: whether there is room for copies (`serving.room`), and whether an answer that came too late says
anything about who gave it (`serving.lateness`).
"""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from serving.lateness import Stalls
from serving.room import PERIOD, Look, Room

_THREAD = Path("/proc/thread-self/schedstat")
_MACHINE = Path("/proc/stat")


class Gauge:
    """Looks at the event loop every `room.PERIOD` seconds. All methods belong to it."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """Make it.

        Args:
            draw: random numbers in [0, 1).
        """
        self._room, self._draw = Room(), draw
        self._stalls = Stalls()
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._computed = self._queued = 0.0  # seconds: the next look, and of processor time so far
        self._machine = (0, 0)

    def open(self) -> bool:
        """Say whether there is room for one more copy."""
        share = self._room.share
        return share >= 1 or self._draw() < share

    def stalled(self, begun: float) -> float:
        """Return the seconds since a moment of the monotonic clock in which the loop could not go on."""
        if self._timer is None:
            return 0.0
        # The look that is due and has not happened is the stall that lasts.
        lasting = max(0.0, time.monotonic() - max(self._due, begun))
        return self._stalls.since(begun) + self._stall(lasting, queued_seconds())

    def start(self) -> None:
        """Begin to look; a second call changes nothing."""
        if self._timer is None:
            self._room, self._stalls = Room(), Stalls()
            self._computed, self._queued, self._machine = time.thread_time(), queued_seconds(), machine_ticks()
            self._plan(asyncio.get_running_loop())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stall(self, late: float, queued: float) -> float:
        """Return how much of a delay since the last look was want of a processor, and not the loop's own computing."""
        return min(late, queued - self._queued) if queued else late

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + PERIOD
        self._timer = loop.call_later(PERIOD, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        computed, queued, machine = time.thread_time(), queued_seconds(), machine_ticks()
        late = max(0.0, now - self._due)
        period = PERIOD + late
        normal, whole = (new - old for new, old in zip(machine, self._machine, strict=True))
        look = Look(
            late=late,
            busy=(computed - self._computed) / period,
            queued=(queued - self._queued) / period,
            taken=normal / whole if whole > 0 else 0.0,
        )
        self._room = self._room.after(look)
        self._stalls.note(now, self._stall(late, queued))
        self._computed, self._queued, self._machine = computed, queued, machine
        self._plan(loop)


def queued_seconds() -> float:
    """Return for how long the calling thread has stood in line for a processor so far; 0 where Linux does not say.

    The second number of /proc/thread-self/schedstat (Documentation/scheduler/sched-stats.rst of the kernel), in
    nanoseconds.
    """
    try:
        return int(_THREAD.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def machine_ticks() -> tuple[int, int]:
    """Return how long the machine's processors have worked at normal priority so far, and in all; (0, 0) if unknown.

    From the first line of /proc/stat (man 5 proc): user, nice, system, idle, iowait, irq, softirq, steal. Time of
    processes with a positive nice value gives way to everybody else and counts as idle. In a container these are the
    node's processors, whose time all pods without a quota share; a quota shows in what the thread feels.
    """
    try:
        with _MACHINE.open("rb") as file:
            user, nice, system, idle, waiting, *others = (int(value) for value in file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0, 0
    normal = user + system + sum(others)
    return normal, normal + nice + idle + waiting
