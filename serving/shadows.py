"""Shadows beside stable: copies of requests that go to other versions in bundles, whose answers nobody waits for.

A shadow's process compares its answers with stable's itself and says only how many differed, so that a copy costs the
replica next to nothing: a place in a queue, and its part of one message for many. Copies are dropped, and counted as
shed, when a shadow does not keep up or when the replica has no processor to spare (`serving.room`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from serving.capture import OUTSIDE
from serving.counters import ArmSlot, Counters
from serving.protocol.request import Column
from serving.wire import WireError, arrays, pack, unpack

if TYPE_CHECKING:
    from serving.arms import Answer

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
Copy = tuple[Mapping[str, Column], int, str, Arrays]
"""A request as a shadow gets it: a column per input, their length, the request's id, and stable's outputs."""

TOGETHER = 32
"""Copies in one message."""
WAIT = 0.02
"""Seconds that a copy waits for others to go with."""
FLIGHTS = 2
"""Messages to one shadow that may be under way."""
QUEUE = 2 * TOGETHER
"""Copies that may wait for one shadow."""
QUEUE_BYTES = 8 * 2**20
"""Bytes that may wait for one shadow; half of it goes into one message."""

_CLOSE = 1e-3


Predict = Callable[[Mapping[str, Column], int, str, int], Awaitable["Answer"]]


class Observe(Protocol):
    """A way to a shadow."""

    async def observe(self, copies: Sequence[bytes]) -> Mapping[str, Any]:
        """Let it predict copies as `pack_copy` made them; returns what became of them, as `ArmSlot.to_json` says it."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


class Shadow:
    """One shadow as a replica sees it. All methods belong to the event loop."""

    def __init__(
        self, model: str, digest: str, way: Observe, counters: Counters, deadline: float, room: Callable[[], bool]
    ) -> None:
        """Make it.

        Args:
            model: name of the model.
            digest: the shadow's content.
            way: leads there.
            counters: the replica's counters.
            deadline: seconds that one message may take.
            room: says whether the replica has anything to spare.
        """
        self._model, self.digest, self._way, self._counters = model, digest, way, counters
        self._deadline, self._room = deadline, room
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flights: set[asyncio.Task[None]] = set()
        self.failure = ""
        """Why the last message failed."""

    def takes(self, generation: int) -> bool:
        """Say whether a copy can be taken of a request that was sampled under a split; what can't be is shed."""
        if len(self._waiting) < QUEUE and self._bytes < QUEUE_BYTES and self._room():
            return True
        self._arm(generation).shed += 1
        return False

    def offer(self, copied: bytes, generation: int) -> None:
        """Take over a copy as `pack_copy` made it."""
        self._waiting.append(copied)
        self._bytes += len(copied)
        if self._timer is None and len(self._flights) < FLIGHTS:
            self._timer = asyncio.get_running_loop().call_later(WAIT, self._send, generation)

    async def close(self) -> None:
        """Drop what waits and what is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        self._bytes = 0
        for task in tuple(self._flights):
            task.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        self._way.close()

    def _arm(self, generation: int) -> ArmSlot:
        return self._counters.arm(self._model, self.digest, generation)

    def _send(self, generation: int) -> None:
        self._timer = None
        bundle: list[bytes] = []
        size = 0
        while self._waiting and len(bundle) < TOGETHER and size < QUEUE_BYTES // 2:
            bundle.append(self._waiting.popleft())
            size += len(bundle[-1])
        self._bytes -= size
        if not bundle:
            return
        task = asyncio.get_running_loop().create_task(self._fly(bundle, generation))
        self._flights.add(task)
        task.add_done_callback(lambda done: self._landed(done, generation))

    def _landed(self, task: asyncio.Task[None], generation: int) -> None:
        self._flights.discard(task)
        if self._waiting and self._timer is None and not task.cancelled():
            self._send(generation)

    async def _fly(self, bundle: list[bytes], generation: int) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                counts: Any = await self._way.observe(bundle)
            self._arm(generation).add(counts)
        except Exception as error:  # noqa: BLE001 - a shadow may do anything, and Ray raises many kinds
            said = f"no answer within {self._deadline:g} s" if isinstance(error, TimeoutError) else str(error)
            self.failure = f"{type(error).__name__}: {said}"[:500]
            arm = self._arm(generation)
            for _ in bundle:
                arm.fail()


def pack_copy(columns: Mapping[str, Column], rows: int, identifier: str, outputs: Arrays) -> bytes:
    """Write a request as a shadow gets it, once for all shadows.

    Raises:
        WireError: it holds what cannot be sent.
    """
    return pack({"n": rows, "i": identifier}, columns, cast("dict[str, Column]", outputs))


def unpack_copy(message: bytes) -> Copy:
    """Read what `pack_copy` made.

    Raises:
        WireError: it is malformed.
    """
    fields, groups = unpack(message)
    if len(groups) != 2 or type(fields.get("n")) is not int or type(fields.get("i")) is not str:
        raise WireError("malformed message: no copy")
    return groups[0], fields["n"], fields["i"], arrays(groups[1])


async def observed(copies: Sequence[Copy], predict: Predict) -> dict[str, Any]:
    """Predict copies, in the shadow's own process, and count failures and answers that differ from stable's."""
    arm = ArmSlot()
    answers = await asyncio.gather(*(predict(*copied[:3], OUTSIDE) for copied in copies))
    for answer, (_, _, _, stable) in zip(answers, copies, strict=True):
        if answer.outputs is None:
            arm.fail(invalid=answer.invalid)
        else:
            arm.observe(answer.seconds)
            arm.compared += 1
            arm.disagreed += not agree(stable, answer.outputs)
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
