"""Shadows beside stable: copies of requests that go to other versions in bundles, whose answers nobody waits for.

A shadow's process compares its answers with stable's itself and says only how many differed, so that a copy costs the
replica next to nothing: a place in a queue, and its part of one message in which the values of all copies stand one
after the other. Copies are dropped, and counted as shed, when a shadow does not keep up, when it fails on all that it
gets, or when the replica has no processor to spare (`serving.room`).
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from serving.capture import OUTSIDE
from serving.counters import ArmSlot, Counters
from serving.protocol.request import Column, Decoded
from serving.traffic import Split
from serving.wire import WireError, arrays, join, pack, split, unpack

if TYPE_CHECKING:
    from serving.arms import Answer
    from serving.table import Served

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


class Copy(NamedTuple):
    """A request as a shadow gets it: a column per input, their length, the request's id, and stable's outputs."""

    columns: Mapping[str, Column]
    rows: int
    id: str
    outputs: Arrays


TOGETHER = 64
"""Copies in one message."""
WAIT = 0.25
"""Seconds that a copy waits for others to go with: nobody waits for its answer, and every message wakes a process."""
FLIGHTS = 2
"""Messages to one shadow that may be under way."""
QUEUE = 2 * TOGETHER
"""Copies that may wait for one shadow."""
QUEUE_BYTES = 8 * 2**20
"""Bytes that may wait for one shadow; half of it goes into one message."""

LEAST = 1 / 64
"""Share of copies that a shadow which fails always still gets."""

_CLOSE = 1e-3


Predict = Callable[[Mapping[str, Column], int, str, int], Awaitable["Answer"]]


class Observe(Protocol):
    """A way to a shadow."""

    async def observe(self, bundle: bytes) -> Mapping[str, Any]:
        """Let it predict what `pack_copies` made; returns what became of the copies, as `ArmSlot.to_json` says it."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


class Shadow:
    """One shadow as a replica sees it. All methods belong to the event loop."""

    def __init__(
        self,
        model: str,
        digest: str,
        way: Observe,
        counters: Counters,
        deadline: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make it.

        Args:
            model: name of the model.
            digest: the shadow's content.
            way: leads there.
            counters: the replica's counters.
            deadline: seconds that one message may take.
            draw: random numbers in [0, 1).
        """
        self._model, self.digest, self._way, self._counters = model, digest, way, counters
        self._deadline, self._draw = deadline, draw
        self._share = 1.0
        self._waiting: deque[tuple[Copy, int]] = deque()  # with the bytes of the request
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flights: set[asyncio.Task[None]] = set()
        self.failure = ""
        """Why the last message failed."""

    def takes(self, generation: int, *, room: bool) -> bool:
        """Say whether a copy can be taken of a request that was sampled under a split; what can't be is shed.

        Args:
            generation: the split.
            room: whether the replica has anything to spare.
        """
        wanted = room and (self._share >= 1 or self._draw() < self._share)
        if wanted and len(self._waiting) < QUEUE and self._bytes < QUEUE_BYTES:
            return True
        self._arm(generation).shed += 1
        return False

    def offer(self, copy: Copy, size: int, generation: int) -> None:
        """Take over a copy.

        Args:
            copy: the request and stable's answer; nobody may change them any more.
            size: bytes of the request, which say about how much memory it keeps.
            generation: the split under which it was sampled.
        """
        self._waiting.append((copy, size))
        self._bytes += size
        self._plan(generation)

    async def close(self) -> None:
        """Drop what waits and what is under way, and take nothing any more: requests that saw it may still end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self._bytes = QUEUE_BYTES  # full for good
        for task in tuple(self._flights):
            task.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        self._way.close()

    def _arm(self, generation: int) -> ArmSlot:
        return self._counters.arm(self._model, self.digest, generation)

    def _plan(self, generation: int) -> None:
        """Send what waits when it fills a message, else in a while; nothing while all flights are under way."""
        if not self._waiting or len(self._flights) >= FLIGHTS:
            return
        if len(self._waiting) >= TOGETHER or self._bytes >= QUEUE_BYTES // 2:
            self._send(generation)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT, self._send, generation)

    def _send(self, generation: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        bundle: list[Copy] = []
        taken = 0
        while self._waiting and len(bundle) < TOGETHER and taken < QUEUE_BYTES // 2:
            copy, size = self._waiting.popleft()
            bundle.append(copy)
            taken += size
        self._bytes -= taken
        task = asyncio.get_running_loop().create_task(self._fly(bundle, generation))
        self._flights.add(task)
        task.add_done_callback(lambda done: self._landed(done, generation))

    def _landed(self, task: asyncio.Task[None], generation: int) -> None:
        self._flights.discard(task)
        if not task.cancelled():
            self._plan(generation)

    async def _fly(self, bundle: list[Copy], generation: int) -> None:
        try:
            packed = pack_copies(bundle)
        except WireError as error:
            # The users have their answers; only a model of another kind than the protocol's gets here.
            log.warning("model %s: no copies for shadows: %s", self._model, error)
            return
        try:
            async with asyncio.timeout(self._deadline):
                counts: Any = await self._way.observe(packed)
            self._arm(generation).add(counts)
            nothing = int(counts.get("errors", 0)) + int(counts.get("invalid", 0)) >= len(bundle)
            self._spare(vain=nothing)
        except Exception as error:  # noqa: BLE001 - a shadow may do anything, and Ray raises many kinds
            said = f"no answer within {self._deadline:g} s" if isinstance(error, TimeoutError) else str(error)
            self.failure = f"{type(error).__name__}: {said}"[:500]
            arm = self._arm(generation)
            for _ in bundle:
                arm.fail()
            self._spare(vain=True)

    def _spare(self, *, vain: bool) -> None:
        """Take half as many copies after a message of which nothing came, and all again after one that was answered.

        To fail costs a model more than to answer, since a batch that fails is tried again request by request.
        """
        self._share = max(self._share / 2, LEAST) if vain else 1.0


class Mirror:
    """Gives copies of the requests that stable has answered to shadows. All methods belong to the event loop."""

    def __init__(
        self,
        split: Split,
        shadows: Mapping[str, Shadow],
        room: Callable[[], bool],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make it.

        Args:
            split: which arm samples which share.
            shadows: shadow arm → the shadow; arms of the split that are none of them get nothing here.
            room: says whether the replica has anything to spare.
            draw: random numbers in [0, 1).
        """
        self._shadows = dict(shadows)
        self._generation, self._pick, self._room, self._draw = split.generation, split.pick_shadows, room, draw

    def offer(self, served: "Served", request: Decoded, identifier: str, outputs: Arrays, size: int) -> tuple[str, ...]:
        """Give copies to the shadows that sample this request, where there is room; `size` is the bytes of its body.

        Returns:
            The arms that sample it, shadows and others.
        """
        picked = self._pick(self._draw)
        found = [self._shadows[name] for name in picked if name in self._shadows]
        room, copied = bool(found) and self._room(), None
        for shadow in found:
            if shadow.takes(self._generation, room=room):
                copied = copied or Copy(columns_of(served, request), request.rows, identifier, outputs)
                shadow.offer(copied, size, self._generation)
        return picked


def columns_of(served: "Served", request: Decoded) -> dict[str, Column]:
    """Return the columns of a request by the names of the model's inputs; what is missing is left out."""
    names = (tensor.name for tensor in served.model.signature.inputs)
    return {name: column for name, column in zip(names, request.columns, strict=True) if column is not None}


def pack_copies(copies: Iterable[Copy]) -> bytes:
    """Write copies as a shadow gets them: neighbours whose columns are of the same kinds become one table.

    Raises:
        WireError: one of them holds what cannot be sent.
    """
    return join([_pack_alike(list(alike)) for _, alike in groupby(copies, _kind)])


def unpack_copies(message: bytes) -> list[Copy]:
    """Read what `pack_copies` made.

    Raises:
        WireError: it is malformed.
    """
    return [copy for part in split(message) for copy in _unpack_alike(part)]


def _kind(copy: Copy) -> tuple[Any, ...]:
    """What two copies must have in common to be written as one table: names, and lists or arrays of which kind."""
    kinds = tuple(
        (name, None if isinstance(column, list) else (column.dtype, column.shape[1:]))
        for name, column in copy.columns.items()
    )
    return kinds, tuple((name, array.dtype, array.shape[1:]) for name, array in copy.outputs.items())


def _pack_alike(copies: list[Copy]) -> bytes:
    first = copies[0]
    columns: dict[str, Column] = {}
    for name, column in first.columns.items():
        parts: Any = [copy.columns[name] for copy in copies]
        columns[name] = list(chain.from_iterable(parts)) if isinstance(column, list) else np.concatenate(parts)
    outputs = {name: np.concatenate([copy.outputs[name] for copy in copies]) for name in first.outputs}
    fields = {"n": [copy.rows for copy in copies], "i": [copy.id for copy in copies]}
    return pack(fields, columns, cast("dict[str, Column]", outputs))


def _unpack_alike(message: bytes) -> list[Copy]:
    fields, groups = unpack(message)
    rows, names = fields.get("n"), fields.get("i")
    if len(groups) != 2 or type(rows) is not list or type(names) is not list or len(rows) != len(names):
        raise WireError("malformed message: no copies")
    if any(type(count) is not int or count < 1 for count in rows) or any(type(name) is not str for name in names):
        raise WireError("malformed message: copies without rows or name")
    columns, outputs = groups[0], arrays(groups[1])
    total = sum(rows)
    for column in (*columns.values(), *outputs.values()):
        if (len(column) if isinstance(column, list) else column.shape[:1]) not in (total, (total,)):
            raise WireError(f"malformed message: a column that has not {total} rows")
    copies, start = [], 0
    for count, name in zip(rows, names, strict=True):
        part = slice(start, start + count)
        start += count
        inputs = {one: column[part] for one, column in columns.items()}
        copies.append(Copy(inputs, count, name, {one: array[part] for one, array in outputs.items()}))
    return copies


async def observed(copies: Sequence[Copy], predict: Predict) -> dict[str, Any]:
    """Predict copies, in the shadow's own process, and count failures and answers that differ from stable's."""
    arm = ArmSlot()
    answers = await asyncio.gather(*(predict(copy.columns, copy.rows, copy.id, OUTSIDE) for copy in copies))
    for answer, copy in zip(answers, copies, strict=True):
        if answer.outputs is None:
            arm.fail(invalid=answer.invalid)
        else:
            arm.observe(answer.seconds)
            arm.compared += 1
            arm.disagreed += not agree(copy.outputs, answer.outputs)
    return arm.to_json()


def agree(one: Arrays, other: Arrays) -> bool:
    """Say whether two answers are the same: exactly, and floats up to a thousandth."""
    for name, array in one.items():
        counterpart = other.get(name)
        if counterpart is None or counterpart.shape != array.shape:
            return False
        # Most answers are the same to the bit, which is seen much faster.
        if np.array_equal(array, counterpart):
            continue
        if array.dtype.kind != "f" or not np.allclose(array, counterpart, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
            return False
    return True
