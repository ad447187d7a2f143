"""Micro-batching that costs nothing when idle: what arrives within one turn of the event loop runs as one batch.

A request alone runs at once. Under load the requests that became readable together are joined, because a call of the
model costs more than its rows. Models that take long run in a thread, and what arrives meanwhile forms the next batch.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.counters import Slot
from serving.protocol.errors import ProtocolError
from serving.protocol.request import Decoded
from serving.runtime.model import Model

log = logging.getLogger(__name__)

# A model whose batches take longer than this many seconds leaves the event loop, which also answers health checks.
INLINE_SECONDS = 0.005

_COMPLAINT_SECONDS = 1.0

Outputs = dict[str, NDArray[Any]]


class Answered(NamedTuple):
    """What a request gets: an array per output.

    `ended` is when the model had ended, in seconds of the monotonic performance clock. In `stood` seconds before that
    nobody worked on the request, since the thread had to wait for a processor that others had, see `clock_of`: what a
    user waits and monitoring shows, but nothing that a version does, so that rollouts do not look at it.
    """

    outputs: Outputs
    ended: float
    stood: float


@dataclass(slots=True)
class Item:
    """One request that waits for its outputs.

    `started` is in seconds of the monotonic performance clock; `split` is the number of the split of traffic that chose
    the version for it, 0 where none did.
    """

    request: Decoded
    id: str
    started: float
    future: "asyncio.Future[Answered]"
    split: int = 0


@dataclass(slots=True)
class Batch:
    """A batch that was answered: what capture takes over. Arrays hold the rows of all items in order.

    `ended` and `stood` are those of `Answered`.
    """

    items: list[Item]
    inputs: Outputs
    outputs: Outputs
    ended: float
    stood: float = 0.0


Result = Batch | tuple[Item, Exception]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a batcher.

    `rows` of one batch; `wait` seconds to fill one while under load (0: never wait); `pending` requests that may wait
    before more are refused; `seconds` a request may take.
    """

    rows: int = 64
    wait: float = 0.0
    pending: int = 1024
    seconds: float = 10.0


@dataclass(slots=True)
class Batcher:
    """The queue of one model version. All methods belong to the event loop."""

    model: Model
    slot: Slot
    limits: Limits
    executor: Executor
    captured: Callable[[Batch], None] | None = None
    name: str = ""
    _pending: deque[Item] = field(default_factory=deque)
    _scheduled: bool = False
    _since: tuple[float, float] | None = None
    _running: bool = False
    _joined: bool = False
    _clock: Callable[[], float] = time.perf_counter
    _lately: deque[float] = field(default_factory=lambda: deque(maxlen=3))
    _sweeper: asyncio.TimerHandle | None = None
    _flying: list[Item] = field(default_factory=list)
    _quiet: float = 0.0
    _unsaid: int = 0

    def __post_init__(self) -> None:
        """Choose the clock."""
        self._clock = clock_of(self.model)

    def submit(self, request: Decoded, identifier: str, started: float, split: int = 0) -> "asyncio.Future[Answered]":
        """Queue a checked request and return the future of its outputs, an array per output of the signature.

        Raises:
            ProtocolError: 503 when too many requests wait already.
        """
        if len(self._pending) >= self.limits.pending:
            self.slot.count("overload")
            raise ProtocolError(
                503, f"model {self.name!r}: {len(self._pending)} requests wait already; try again later"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answered] = loop.create_future()
        self._pending.append(Item(request, identifier, started, future, split))
        if not self._scheduled and not self._running:
            self._scheduled = True
            if self.limits.wait and self._joined:
                self._since = None
                loop.call_later(self.limits.wait, self._flush)
            else:
                self._since = self._now()
                loop.call_soon(self._flush)
        return future

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._pending)

    def measured(self, seconds: float) -> None:
        """Say how many seconds one batch took by the model's clock; decides where the next one runs."""
        # That one took long is no reason: a slow start is forgotten with the next, a lasting change noticed as fast.
        self._lately.append(seconds)

    def _flush(self) -> None:
        self._scheduled = False
        while self._pending and not self._running:
            items = self._take()
            if not items:
                continue
            self._joined = len(items) > 1
            if self._lately and median_low(self._lately) > INLINE_SECONDS:
                self._running = True
                self._flying = items
                self._watch()
                loop = asyncio.get_running_loop()
                loop.run_in_executor(self.executor, self._timed, items).add_done_callback(self._landed)
            else:
                results, seconds = self._timed(items, self._since)
                self.measured(seconds)
                self._answer(results)

    def _take(self) -> list[Item]:
        """Take items for one batch; a request larger than the batch's bound runs alone."""
        items: list[Item] = []
        rows = 0
        while self._pending:
            item = self._pending[0]
            if items and rows + item.request.rows > self.limits.rows:
                break
            self._pending.popleft()
            if not item.future.done():
                items.append(item)
                rows += item.request.rows
        return items

    def _timed(self, items: list[Item], since: tuple[float, float] | None = None) -> tuple[list[Result], float]:
        """Run a batch; returns also the seconds that this took by the model's own clock.

        Args:
            items: the batch.
            since: when this thread began to work on it, see `_now`; now, if it begins with it.
        """
        since, begun = since or self._now(), time.perf_counter()
        results = self._run(items)
        ended, own = self._now()
        worked = own - since[1]
        stood = max(0.0, ended - since[0] - worked)
        for result in results:
            if isinstance(result, Batch):
                result.stood = stood
        # What came before the batch on this thread is none of the model's. The cheaper clock is good enough for it.
        return results, max(0.0, worked - (begun - since[0]))

    def _now(self) -> tuple[float, float]:
        """Return the calling thread's moment, by the performance clock and by the model's own."""
        return time.perf_counter(), self._clock()

    def _run(self, items: list[Item]) -> list[Result]:
        """Run a batch; if it fails, run each request alone, so that only the one at fault fails."""
        try:
            inputs = self._join([item.request for item in items])
            outputs = self.model.predict(inputs)
            return [Batch(items, inputs, outputs, time.perf_counter())]
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            if len(items) == 1:
                return [(items[0], error)]
        return [result for item in items for result in self._run([item])]

    def _join(self, requests: Sequence[Decoded]) -> Outputs:
        arrays: Outputs = {}
        for index, tensor in enumerate(self.model.signature.inputs):
            parts = [request.columns[index] for request in requests]
            if len(parts) == 1:
                part = parts[0]
            elif all(type(part) is list for part in parts):
                part = [value for column in parts for value in column or ()]
            else:
                part = np.concatenate([np.asarray(column, tensor.dtype) for column in parts])
            arrays[tensor.name] = part if isinstance(part, np.ndarray) else np.array(part, tensor.dtype)
        return arrays

    def _landed(self, future: "asyncio.Future[tuple[list[Result], float]]") -> None:
        self._running = False
        self._flying = []
        results, seconds = future.result()
        self.measured(seconds)
        self._answer(results)
        self._since = None
        self._flush()

    def _answer(self, results: list[Result]) -> None:
        for result in results:
            if isinstance(result, Batch):
                self._deliver(result)
                continue
            item, error = result
            self.slot.count("failed")
            self._complain(item.id, error)
            if not item.future.done():
                item.future.set_exception(ProtocolError(500, f"model {self.name!r} failed on this request"))

    def _complain(self, identifier: str, error: Exception) -> None:
        """Log a failure, at most one a second: a model that fails always must not make the log its work."""
        now = time.monotonic()
        if now < self._quiet:
            self._unsaid += 1
            return
        more = f" ({self._unsaid} more before it)" if self._unsaid else ""
        self._quiet, self._unsaid = now + _COMPLAINT_SECONDS, 0
        log.warning("model %s failed on request %s: %s%s", self.name, identifier, error, more)

    def _deliver(self, batch: Batch) -> None:
        # Whether missing inputs are taken (`contract.nan`) or not: an answer that is no number is no answer.
        finite = all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in batch.outputs.values())
        if finite and len(batch.items) == 1:
            self._give(batch, batch.items[0], batch.outputs)
        else:
            start = 0
            for item in batch.items:
                end = start + item.request.rows
                part = {name: array[start:end] for name, array in batch.outputs.items()}
                self._give(batch, item, part, check=not finite)
                start = end
        if self.captured is not None and finite:
            self.captured(batch)

    def _give(self, batch: Batch, item: Item, outputs: Outputs, *, check: bool = False) -> None:
        if item.future.done():
            return
        if check:
            for name, array in outputs.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    self.slot.count("invalid")
                    message = f"model {self.name!r} gave a value that is not finite in output {name!r}"
                    item.future.set_exception(ProtocolError(500, message, invalid=True))
                    return
        self.slot.observe(batch.ended - item.started, batch.stood)
        item.future.set_result(Answered(outputs, batch.ended, batch.stood))

    def _watch(self) -> None:
        """Keep a timer while a batch runs in a thread: what takes too long is answered without it."""
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(min(self.limits.seconds, 0.25), self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        limit = time.perf_counter() - self.limits.seconds
        for item in (*self._flying, *self._pending):
            if item.started < limit and not item.future.done():
                self.slot.count("timeout")
                message = f"model {self.name!r} did not answer within {self.limits.seconds:g} s"
                item.future.set_exception(ProtocolError(504, message))
        if self._running or self._pending:
            self._watch()


def clock_of(model: Model) -> Callable[[], float]:
    """Return the clock, in seconds, that says what a model does with the thread that calls it.

    An ONNX graph computes in that thread and does nothing else: its processor time is what it takes, and all beyond
    that is the machine's, which has others to serve. On a machine with nothing to spare that is most of the time. A
    pyfunc may wait for whatever it likes, and all of that is its own.
    """
    return time.thread_time if model.contract.kind == "onnx" else time.perf_counter
