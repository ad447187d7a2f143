"""What the controller sees and is told: the input of one tick.

Conditions are levels, not edges ("every replica serves this digest", not "the swap has just finished"), so that a
controller that was dead for a while misses nothing: the next tick says how things are. Only counts and commands are
events; the controller takes each of them once (replicas number their batches, commands lie in a table), and stores the
new state in the same transaction.
"""

from typing import Annotated, Literal

from pydantic import Field

from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.record import Value

CommandKind = Literal["pause", "resume", "promote", "abort", "rollback"]
LONGEST_TICK = 10.0
"""Seconds that one tick may count at most: time that nobody watched is not bake time."""


class Version(Value):
    """A version of a model; the digest is what counts, the number is what people say."""

    version: str
    digest: str


class Clock(Value):
    """When a tick happens, by two clocks, since neither is to be trusted alone."""

    boot: str
    """Which run of the controller the monotonic clock belongs to; anything that is new after each start."""
    monotonic: float
    """Seconds that never jump, from an arbitrary moment of this run."""
    wall: float
    """Seconds since 1970; may jump either way."""

    def since(self, earlier: "Clock | None") -> float:
        """Return the seconds to count since an earlier tick, never negative and at most `LONGEST_TICK`.

        Within a run the monotonic clock says it. Across a restart only the wall clock can, and a jump of it is harmless
        because of the bounds.
        """
        if earlier is None:
            return 0.0
        passed = self.monotonic - earlier.monotonic if self.boot == earlier.boot else self.wall - earlier.wall
        return min(max(passed, 0.0), LONGEST_TICK)


class Batch(Value):
    """Counts of one version since the last batch, under one split or replay."""

    generation: int
    """Number of the split that chose the arm, or of the replay: not of the split when the counts were sent."""
    digest: str
    counts: ArmCounts


class Candidate(Value):
    """How the candidate's application is."""

    status: Literal["absent", "starting", "ready", "unhealthy", "failed"] = "absent"
    """`unhealthy`: it was ready and is not now; `failed`: it will not come up by waiting."""
    reason: str = ""
    fault: Literal["model", "platform"] = "platform"
    """Whether the model itself is to blame (it crashed, its file is damaged), which is evidence, or the platform."""


class Alarm(Value):
    """Something that a monitor found out about a version: drift, fairness, a failed check."""

    kind: Annotated[str, Field(min_length=1, max_length=60)]
    digest: str
    reason: str
    action: Literal["rollback", "pause", "alert"] = "alert"


class Command(Value):
    """What a person asks for."""

    kind: CommandKind
    by: str
    reason: str = ""


class Tick(Value):
    """One tick."""

    clock: Clock
    heard: bool = True
    """Whether a live replica reported since the last tick, even if it had nothing to count."""
    batches: tuple[Batch, ...] = ()
    candidate: Candidate = Candidate()
    serving: str | None = None
    """The digest that every live replica serves as stable; None while they differ or serve none."""
    applied: int = -1
    """The oldest split generation that a live replica still applies."""
    swap_failed: Candidate | None = None
    """Set when a replica cannot load the version that it should serve as stable."""
    replay_failed: str | None = None
    """Why the evaluation sample cannot be replayed."""
    failure: str = ""
    """What the candidate's last failed request failed of, for people; empty when nobody says."""
    alarms: tuple[Alarm, ...] = ()
    commands: tuple[Command, ...] = ()
    eligible: frozenset[str] = frozenset()
    """Digests that are approved, signed and not expired now: where a rollback may go."""
