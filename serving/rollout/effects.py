"""What a tick asks for: a wish that is to be kept true, and events that happen once.

`Desired` is the whole wish after each tick. The actuator compares it with the world and does what is missing, as often
as it likes: doing it twice is harmless, so that a crash between storing the state and acting loses nothing.
Events carry a key that a repetition repeats, and are stored with the state in one transaction.
"""

from typing import Any, Literal

from serving.rollout.observation import Version
from serving.rollout.record import Value
from serving.traffic import SLOTS, STABLE, Runs

Level = Literal["info", "warning", "alarm"]
WHOLE: Runs = ((STABLE, SLOTS),)


class Replay(Value):
    """Rows of the manifest's evaluation sample to send through both arms; the batches name its generation."""

    generation: int
    rows: int


class Desired(Value):
    """How one model should be served now."""

    rollout: str | None = None
    stable: Version | None = None
    """What every replica serves as stable. Exactly one."""
    candidate: Version | None = None
    """What runs as an application of its own beside it; None retires it."""
    warm: Version | None = None
    """What replicas keep loaded, ready to become stable at once."""
    generation: int = 0
    """Number of the split; goes up with each change of `runs` or `mirror`."""
    runs: Runs = WHOLE
    """Slots of `traffic.Split`; the arms are `stable` and `candidate`."""
    sticky: bool = False
    """Whether the slot is the subject's (`pick_subject`) or drawn by request (`pick`)."""
    mirror: int = 0
    """Share of requests copied to the candidate, basis points."""
    replay: Replay | None = None


class Record(Value):
    """An entry for the ledger."""

    key: str
    """The same on a repetition; unique otherwise."""
    kind: str
    data: dict[str, Any]


class Quarantine(Value):
    """A digest that showed it is bad: only a new approval lets it start again."""

    key: str
    digest: str
    reason: str


class Message(Value):
    """A line for the operator and for whoever watches the rollout."""

    key: str
    level: Level
    text: str


Effect = Record | Quarantine | Message
