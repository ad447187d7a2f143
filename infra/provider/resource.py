"""What a resource of this provider is: pure decisions (`check`, `diff`, `preview`) apart from effects (`create`, …).

`server` drives any `Resource`; it translates property values, secrets and errors, so that a resource deals in plain
Python values. Effects get a `Call`, through which they report progress, sleep and notice that the user gave up.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from infra.provider.codec import Properties


class ResourceError(Exception):
    """An operation failed; the text is for the person in front of the terminal."""


class CancelledError(ResourceError):
    """The user pressed Ctrl-C, or the engine is gone."""


@dataclass(frozen=True)
class Difference:
    """What separates the wanted inputs from what is: names of properties by what they lead to."""

    update: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.update or self.replace)


@dataclass
class Call:
    """One operation on one resource, as its effects see it.

    Attributes:
        label: Name of the resource, for messages.
        report: Takes a message, and whether it is passing progress (`True`) or worth keeping (`False`).
        cancelled: Set when the operation should end soon.
        secrets: Texts that are cut out of every message.
    """

    label: str
    report: Callable[[str, bool], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    secrets: tuple[str, ...] = ()

    def progress(self, message: str) -> None:
        """Show where a long operation is; the next message takes its place."""
        self.report(self.redact(message), True)

    def message(self, message: str) -> None:
        """Tell something that should stay on the screen."""
        self.report(self.redact(message), False)

    def sleep(self, seconds: float) -> None:
        """Wait, unless the operation is cancelled: then raise `CancelledError`."""
        if self.cancelled.wait(seconds):
            raise CancelledError(f"{self.label}: cancelled")

    def redact(self, message: str) -> str:
        """Return `message` without the secrets of this resource."""
        return redact(message, self.secrets)


def redact(message: str, secrets: Iterable[str]) -> str:
    """Return `message` with each of `secrets` cut out, and each line of those that have many.

    Texts under six characters stay: cutting `1` or `true` out of a log would make it unreadable and hide nothing.
    """
    pieces = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
    for piece in sorted((piece for piece in pieces if len(piece) >= 6), key=len, reverse=True):
        message = message.replace(piece, "[secret]")
    return message


class Resource(Protocol):
    """One resource type. Inputs and state are plain values without marks, except in `check` and `preview`."""

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Return the inputs with defaults and secrets marked, and one reason per thing that is wrong. Pure."""
        ...

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Return what an update would have to change; values may be `UNKNOWN`. Pure."""
        ...

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Return the computed outputs that a preview can promise, others as `UNKNOWN`. Pure."""
        ...

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make it, or adopt what an interrupted create left; return the id and the computed outputs."""
        ...

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Return the computed outputs as they are now."""
        ...

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Bring it to `inputs`; return the computed outputs."""
        ...

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Remove it; what is gone already is no error."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A resource whose preview says in words what an `up` would do."""

    def explain(self, inputs: Properties, state: Properties | None) -> list[str]:
        """Return lines for people; inputs may hold `UNKNOWN`. Pure."""
        ...


@runtime_checkable
class Importing(Protocol):
    """A resource that `pulumi import` can take over, given its id alone."""

    def adopt(self, call: Call, identity: str, stack: str) -> Properties:
        """Return the inputs that would have made what is there."""
        ...


def changed(old: Properties, new: Properties) -> tuple[str, ...]:
    """Return the names of top-level properties that differ."""
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))
