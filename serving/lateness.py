"""Whose fault is an answer that did not come in time: the candidate's, or that of a machine on which nothing goes on?

A deadline is absolute, while everything else about a candidate is judged beside stable. On a starved machine a call can
be late although the candidate is as fast as ever. The loop that waits for the call is the witness: where it could not
go on itself for a good part of the time that the call was given, the call says nothing, neither good nor bad. Stable
answers the request as after any failure. What is not counted is no evidence, so that a candidate which starves the
machine itself does not pass: its rollout pauses for want of evidence, and ends at its deadline.
"""

from collections import deque

PART = 0.2
"""Share of the time given to a call that the waiting loop may stall before the call says nothing. A loop with a
processor to itself stalls for some per cent; a candidate with a core taken by somebody else is late by less than its
caller, who needs one twice as often."""
KEPT = 32
"""Seconds for which stalls are remembered; longer than any deadline of a call."""


class Stalls:
    """When an event loop was woken late lately."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, float]] = deque()

    def note(self, now: float, late: float) -> None:
        """Note that the loop was woken late.

        Args:
            now: the moment, in seconds of the monotonic clock.
            late: by how many seconds.
        """
        if late > 0:
            self._noted.append((now, late))
        while self._noted and self._noted[0][0] < now - KEPT:
            self._noted.popleft()

    def since(self, begun: float) -> float:
        """Return the seconds since a moment in which the loop could not go on."""
        return sum(min(late, now - begun) for now, late in self._noted if now > begun)


def excused(stalled: float, given: float) -> bool:
    """Say whether a call that got no answer in the seconds it was given says nothing about who was called.

    Args:
        stalled: seconds of them in which the caller's own loop could not go on.
        given: the deadline in seconds.
    """
    return stalled >= PART * given
