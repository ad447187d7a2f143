"""Divide one model's requests among its arms while a rollout runs, and count what becomes of them.

A candidate lives in an application of its own and is called with a deadline. Whatever it does wrong (an exception, no
answer in time, an output that breaks the signature or is not finite) is counted against it, and stable answers the same
request: the caller does not notice. A candidate may get copies instead, which nobody waits for: one by one, since its
latency is judged, and none while the replica is busy. Further shadows get theirs in bundles (`serving.shadows`).

Requests without a subject that arrive in one turn of the event loop fall to one arm together: each one to the candidate
as likely as the split says, but several in one message and one call of its model. The busier a replica, the less a
canary costs it, and the candidate works on batches as stable does, to whose latency its own is compared. What goes
together is slow together, so that of each draw one request's latency is counted, in both arms.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.capture import OUTSIDE
from serving.counters import ArmSlot, Counters
from serving.lateness import excused
from serving.protocol import invocations
from serving.protocol.errors import ProtocolError
from serving.protocol.request import Column, Decoded, Encoded
from serving.protocol.v2 import Codec
from serving.runtime.signature import Signature
from serving.shadows import Arrays, Mirror, agree, columns_of
from serving.traffic import CANDIDATE, Split

if TYPE_CHECKING:
    from serving.table import Served

log = logging.getLogger(__name__)

SUBJECT = b"x-subject"
"""Header that names the subject of a sticky assignment, for example a customer's number."""

TOGETHER = 2
"""Requests of one turn that fall to one arm by one draw, at most: what a bad candidate gets at once."""
_MAX_CALLS = 512
_MAX_SHADOWS = 16
_MAX_SUBJECTS = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a candidate says: outputs and the seconds that they took inside of it, or why there are none.

    Seconds in which it only waited for a processor are not among them, see `serving.batching.Answered`.
    """

    outputs: dict[str, NDArray[Any]] | None
    seconds: float = 0.0
    error: str | None = None
    invalid: bool = False


class Caller(Protocol):
    """A way to a candidate."""

    async def __call__(self, columns: Mapping[str, Column], rows: int, identifier: str, split: int | None) -> Answer:
        """Let it predict rows, given by input name.

        Args:
            columns: a column per input.
            rows: their length.
            identifier: the request's id.
            split: number of the split that chose it; None for the rows of a replay, which are not captured.
        """
        ...


class Remote:
    """One candidate as a replica sees it: where it is, and what an answer of it must look like."""

    def __init__(
        self,
        codec: Codec,
        digest: str,
        call: Caller,
        counters: Counters,
        deadline: float,
        patience: float | None = None,
        said: Callable[[str], None] | None = None,
        stalled: Callable[[float], float] = lambda _begun: 0.0,
    ) -> None:
        """Make it.

        Args:
            codec: bears the candidate's version and stable's signature, since callers rely on that.
            digest: the candidate's content.
            call: the way to it.
            counters: the replica's counters.
            deadline: seconds that an answer may take while a user waits for it.
            patience: seconds where nobody does: what a user of the version would have to wait at most.
            said: is told of what each failure was.
            stalled: returns the seconds since a moment in which this replica could not go on, see `serving.gauge`.
        """
        self.codec, self.digest = codec, digest
        self._call, self._counters, self._deadline, self._patience = call, counters, deadline, patience or deadline
        self._calls, self._said, self._stalled = 0, said, stalled
        self.failure = ""
        """Why the last request failed."""

    def arm(self, generation: int) -> ArmSlot:
        """Return its counters under a split or a replay."""
        return self._counters.arm(self.codec.name, self.digest, generation)

    async def predict(
        self,
        columns: Mapping[str, Column],
        rows: int,
        identifier: str,
        generation: int,
        *,
        synthetic: bool = False,
        awaited: bool = True,
        timed: bool = True,
    ) -> dict[str, NDArray[Any]] | None:
        """Return the candidate's outputs, or None when it has none that can be given to a caller; both are counted."""
        deadline = self._deadline if awaited else self._patience
        if self._calls >= _MAX_CALLS:
            self._failed(generation, f"{self._calls} requests wait for it already")
            return None
        self._calls += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(deadline):
                answer: Any = await self._call(columns, rows, identifier, None if synthetic else generation)
        except TimeoutError:
            if excused(self._stalled(begun), deadline):
                self.arm(generation).excused += 1
            else:
                self._failed(generation, f"no answer within {deadline:g} s")
            return None
        except Exception as error:  # noqa: BLE001 - a candidate may do anything, and Ray raises many kinds
            self._failed(generation, f"{type(error).__name__}: {error}"[:500])
            return None
        finally:
            self._calls -= 1
        if not isinstance(answer, Answer):
            self._failed(generation, "its answer is of an unknown form", invalid=True)
            return None
        outputs = answer.outputs
        if outputs is None:
            self._failed(generation, answer.error or "no answer", invalid=answer.invalid)
            return None
        problem = check_outputs(self.codec.signature, outputs, rows)
        if problem:
            self._failed(generation, problem, invalid=True)
            return None
        self.arm(generation).observe(answer.seconds, timed=timed)
        return outputs

    def _failed(self, generation: int, why: str, *, invalid: bool = False) -> None:
        self.failure = why
        self.arm(generation).fail(invalid=invalid)
        if self._said is not None:
            self._said(why)


class Traffic:
    """The division of one model's requests; the ingress asks it instead of the batcher while a rollout runs."""

    def __init__(
        self,
        split: Split,
        remote: Remote | None,
        counters: Counters,
        *,
        mirror: Mirror,
        room: Callable[[], bool] = lambda: True,
        sticky: bool = False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make it.

        Args:
            split: which arm gets which share.
            remote: the candidate.
            counters: the replica's counters.
            mirror: gives copies to shadows, and says whether the candidate is to get one.
            room: says whether the replica has anything to spare for the candidate's copies.
            sticky: whether a subject keeps its arm.
            draw: random numbers in [0, 1).
        """
        self.split, self.remote, self._mirror, self._room = split, remote, mirror, room
        self._counters, self._sticky, self._draw = counters, sticky, draw
        self._generation, self._pick, self._mirrored = split.generation, split.pick, any(split.shadows.values())
        self._arm, self._left, self._turn = "", 0, False
        self._stable = ArmSlot(sent=True)
        self._copies: set[asyncio.Task[None]] = set()
        self._subjects: set[bytes] = set()

    async def answer(
        self,
        served: "Served",
        request: Decoded,
        identifier: str,
        started: float,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        size: int,
        v2: bool,
    ) -> Encoded:
        """Answer a checked request by the arm that it falls to; `size` is the bytes of its body.

        Raises:
            ProtocolError: stable could not answer either.
        """
        remote, generation = self.remote, self._generation
        if self._sticky:
            subject = _subject(headers)
            new, timed = self._is_new(subject), True
            arm = self._pick(self._draw()) if subject is None else self.split.pick_subject(subject)
        else:
            new = timed = not self._left
            if new:
                self._choose()
            self._left -= 1
            arm = self._arm
        chosen = remote if arm == CANDIDATE else None
        if new:
            (self._own(served) if chosen is None else chosen.arm(generation)).assigned += 1
        if chosen is not None:
            given = await chosen.predict(columns_of(served, request), request.rows, identifier, generation, timed=timed)
            slot = self._counters.slot(served.name, chosen.codec.version)
            if given is not None:
                slot.observe(time.perf_counter() - started)
                return _encode(chosen.codec, request, given, v2=v2)
            slot.count("failed")
            # The answer of stable in its place is no evidence about stable: it is not counted for its arm.
            instead = await served.batcher.submit(request, identifier, started, OUTSIDE)
            return _encode(served.codec, request, instead.outputs, v2=v2)
        begun = time.perf_counter()
        try:
            outputs, ended, stood = await served.batcher.submit(request, identifier, started, generation)
        except ProtocolError as error:
            # Too many waiting requests say something about the load, nothing about the version.
            if error.status != 503:
                self._own(served).fail(invalid=error.invalid)
            raise
        self._own(served).observe(max(0.0, ended - begun - stood), timed=timed)
        if self._mirrored and CANDIDATE in self._mirror.offer(served, request, identifier, outputs, size) and remote:
            self._copy(served, remote, request, identifier, outputs)
        return _encode(served.codec, request, outputs, v2=v2)

    async def close(self) -> None:
        """Drop the copies under way."""
        for task in tuple(self._copies):
            task.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)

    def _choose(self) -> None:
        """Draw the arm of this request, and of those that follow it in this turn of the event loop."""
        self._arm, self._left = self._pick(self._draw()), TOGETHER
        if not self._turn:
            self._turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._left, self._turn = 0, False

    def _own(self, served: "Served") -> ArmSlot:
        """Return stable's counters. They are kept until they were sent, since to look them up costs every request."""
        if self._stable.sent:
            self._stable = self._counters.arm(served.name, served.digest, self._generation)
        return self._stable

    def _is_new(self, subject: bytes | None) -> bool:
        """Say whether a sticky assignment is one of a subject that was not seen under this split yet."""
        if subject is None or subject in self._subjects or len(self._subjects) >= _MAX_SUBJECTS:
            return False
        self._subjects.add(subject)
        return True

    def _copy(self, served: "Served", remote: Remote, request: Decoded, identifier: str, outputs: Arrays) -> None:
        busy = len(self._copies) >= _MAX_SHADOWS or served.batcher.waiting > served.batcher.limits.rows // 4
        if busy or not self._room():
            remote.arm(self._generation).shed += 1
            return
        task = asyncio.get_running_loop().create_task(self._compare(served, remote, request, identifier, outputs))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _compare(
        self, served: "Served", remote: Remote, request: Decoded, identifier: str, outputs: Arrays
    ) -> None:
        generation = self._generation
        given = await remote.predict(columns_of(served, request), request.rows, identifier, generation, awaited=False)
        if given is not None:
            arm = remote.arm(generation)
            arm.compared += 1
            arm.disagreed += not agree(outputs, given)


def check_outputs(signature: Signature, outputs: Arrays, rows: int) -> str | None:
    """Say what is wrong with outputs, None if they are what the signature promises.

    They are finite whatever the model takes: a model that accepts missing inputs may not answer with a missing output.
    """
    for tensor in signature.outputs:
        array = outputs.get(tensor.name)
        if not isinstance(array, np.ndarray):
            return f"output {tensor.name!r} is missing"
        if array.shape != (rows, *tensor.shape[1:]):
            return f"output {tensor.name!r} has shape {list(array.shape)} for {rows} rows"
        if array.dtype != tensor.dtype:
            return f"output {tensor.name!r} is {array.dtype}, not {tensor.datatype}"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"output {tensor.name!r} holds a value that is not finite"
    return None


def _encode(codec: Codec, request: Decoded, outputs: Arrays, *, v2: bool) -> Encoded:
    return codec.encode(request, outputs) if v2 else invocations.encode(codec, outputs)


def _subject(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    for name, value in headers:
        if name == SUBJECT:
            return value
    return None
