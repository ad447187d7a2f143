"""Is there room for work that nobody waits for? A pure rule over what the event loop of a replica feels.

A loop that is woken late competes for its processor, whoever takes it; one that computes most of the time has none to
give. Copies for shadows stop at the first sign of either and come back only after a while without any, so that they
never become the reason themselves.
"""

from dataclasses import dataclass

PERIOD = 0.1
"""Seconds between two looks."""
LATE = 0.01
"""Seconds that the loop may be woken late before work is shed: longer than a batch that runs in the loop itself."""
BUSY = 0.7
"""Share of its time that the loop may compute before work is shed."""
CALM = 5
"""Looks in a row, each below half of both limits, after which there is room again."""


@dataclass(frozen=True, slots=True)
class Room:
    """Whether there is room, and for how many looks in a row it has been calm."""

    open: bool = True
    calm: int = CALM

    def after(self, late: float, busy: float) -> "Room":
        """Return what holds after another look.

        Args:
            late: seconds that the loop was woken too late.
            busy: share of the time since the last look that the loop computed, 0 to 1.
        """
        if late >= LATE or busy >= BUSY:
            return Room(open=False, calm=0)
        if self.open:
            return self
        calm = self.calm + 1 if late < LATE / 2 and busy < BUSY / 2 else 0
        return Room(open=calm >= CALM, calm=calm)
