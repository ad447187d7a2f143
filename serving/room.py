"""Is there room for work that nobody waits for? A pure rule over what a replica feels of its processor.

A loop that is woken late, or whose thread stands in line for a processor, competes for it, whoever takes it; a loop
that computes most of the time, and a machine without idle time, have none to give. At the first sign of either the
share of copies that are taken is halved, look by look down to none, and doubled again after a while without any sign,
so that copies never become the reason themselves.
"""

from dataclasses import dataclass

PERIOD = 0.1
"""Seconds between two looks."""
LATE = 0.01
"""Seconds that the loop may be woken late before work is shed: longer than a batch that runs in the loop itself."""
BUSY = 0.7
"""Share of its time that the loop may compute before work is shed."""
QUEUED = 0.1
"""Share of its time that the loop's thread may stand in line for a processor before work is shed."""
TAKEN = 0.9
"""Share of the machine's time that may go to work of normal priority before work is shed."""
CALM = 5
"""Looks in a row, each below half of all limits, after which more is taken again."""
LEAST = 1 / 32
"""Share of copies below which none are taken."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was felt since the look before; all but `late` in shares of the time.

    `late`: seconds that the loop was woken too late. `busy`: the loop computed. `queued`: its thread could have
    computed but had no processor. `taken`: processors of the machine were busy with work of normal priority. What a
    system does not tell is 0.
    """

    late: float = 0.0
    busy: float = 0.0
    queued: float = 0.0
    taken: float = 0.0

    def reaches(self, part: float) -> bool:
        """Say whether a part of any limit is reached; the machine's own time counts from nine tenths of its limit."""
        return (
            self.late >= part * LATE
            or self.busy >= part * BUSY
            or self.queued >= part * QUEUED
            or self.taken >= TAKEN * (0.8 + 0.2 * part)
        )


@dataclass(frozen=True, slots=True)
class Room:
    """The share of copies that may be taken, and for how many looks in a row it has been calm."""

    share: float = 1.0
    calm: int = CALM

    def after(self, look: Look) -> "Room":
        """Return what holds after another look."""
        if look.reaches(1.0):
            return Room(self.share / 2 if self.share > LEAST else 0.0, 0)
        if look.reaches(0.5):
            return Room(self.share, 0)
        calm = min(self.calm + 1, CALM)
        return Room(min(1.0, max(2 * self.share, LEAST)) if calm >= CALM else self.share, calm)
