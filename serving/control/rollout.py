"""Decide the next step of a rollout from what replicas reported: pure, the clock is an argument.

All at once goes in two steps, so that no request is lost and no replica switches to a version that another one cannot
load. `loading`: every live replica of the group loads the candidate beside what it serves. `switching`: the candidate
is published as stable and every replica confirms that it serves it. An error anywhere, or the deadline, ends it and
what was stable before stays or becomes stable again. Other strategies add phases between the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["loading", "switching", "promoted", "failed"]

# A replica that was silent for longer than this many seconds is not waited for; it reports every 5.
LIVE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one replica said about one model, and when.

    `loaded` is version and digest → error, or None where it is loaded; `serving` is what it answers with.
    """

    replica: str
    at: float
    serving: tuple[str, str] | None = None
    loaded: Mapping[tuple[str, str], str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """The phase that a rollout is in now, and why."""

    phase: Phase
    reason: str = ""


def decide(
    phase: Phase, candidate: tuple[str, str], replicas: Sequence[Seen], *, now: float, deadline: float, group: str
) -> Decision:
    """Return the phase that follows.

    Args:
        phase: the phase so far.
        candidate: version and digest of the candidate.
        replicas: what the replicas of the group said about the model.
        now: the time in seconds since the epoch.
        deadline: when the rollout has failed in any case, same clock.
        group: name of the group, for the reason.
    """
    if phase in ("promoted", "failed"):
        return Decision(phase)
    live = [seen for seen in replicas if now - seen.at <= LIVE_SECONDS]
    for seen in live:
        error = seen.loaded.get(candidate)
        if error is not None:
            return Decision("failed", f"a replica of group {group!r} cannot load it: {error}")
    done = [seen for seen in live if (candidate in seen.loaded if phase == "loading" else seen.serving == candidate)]
    if live and len(done) == len(live):
        if phase == "loading":
            return Decision("switching", f"loaded by {_count(live)}")
        return Decision("promoted", f"served by {_count(live)}")
    if now >= deadline:
        if not live:
            return Decision("failed", f"no replica of group {group!r} has reported in time; is the group running?")
        verb = "loaded" if phase == "loading" else "switched to"
        return Decision("failed", f"only {len(done)} of {_count(live)} of group {group!r} had {verb} it in time")
    return Decision(phase)


def _count(replicas: Sequence[Seen]) -> str:
    return "1 replica" if len(replicas) == 1 else f"{len(replicas)} replicas"
