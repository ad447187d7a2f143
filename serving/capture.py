"""Keep what was asked and answered, as Parquet, without a request ever waiting for it.

The event loop appends whole batches to a bounded queue; a thread turns them into columns, drops or hashes fields by the
model's contract, and writes files that appear complete or not at all. What does not fit is dropped and counted. After a
crash at most the rows of one rotation are lost.

Files: `<directory>/<model>/<yyyy-mm-dd>/<version>-<replica>-<number>.parquet`, days in UTC. Columns: request_id, row
(of the request), time, model, version, digest, latency_ms, then `input.*`, `entity.*` and `output.*`.
"""

import datetime
import hashlib
import hmac
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serving.batching import Batch
from serving.runtime.contract import Contract
from serving.runtime.model import Model

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_SWEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how much. `queue_rows` bounds what waits in memory; a file is closed after `rotate_*`."""

    directory: Path
    rotate_seconds: float = 60.0
    rotate_rows: int = 50_000
    retention_days: int = 30
    queue_rows: int = 100_000


@dataclass(slots=True)
class _Taken:
    """A batch as it was offered."""

    sink: "Sink"
    batch: Batch
    rows: int
    wall: float


@dataclass(slots=True)
class _Open:
    """Rows of one model version that wait for their file."""

    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    since: float = 0.0


class Sink:
    """The entry of one model version. `offer` belongs to the event loop."""

    def __init__(self, capture: "Capture", name: str, version: str, digest: str, model: Model) -> None:
        self.capture, self.name, self.version, self.digest = capture, name, version, digest
        self.contract: Contract = model.contract
        self.signature = model.signature

    def offer(self, batch: Batch) -> None:
        """Queue a batch, or count it as dropped."""
        self.capture.offer(self, batch)


class Capture:
    """The queue and the thread that writes it. `start` it once; `close` writes what is left."""

    def __init__(self, settings: Settings, replica: str, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        """Make it.

        Args:
            settings: where and how much.
            replica: name that makes the file names of this process unique.
            key: secret for hashed fields; the same key gives the same hash, so that values can still be counted.
            clock: wall clock in seconds since the epoch.
        """
        self._settings, self._replica, self._key, self._clock = settings, replica, key, clock
        self._queue: deque[_Taken] = deque()
        # Two counters that only one thread each writes: no lock on the request path.
        self._offered = 0
        self._taken = 0
        self._lost_here: dict[str, int] = {}
        self._lost_there: dict[str, int] = {}
        self._open: dict[Sink, _Open] = {}
        self._number = 0
        self._swept = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)

    def sink(self, name: str, version: str, digest: str, model: Model) -> Sink:
        """Return the entry of a model version."""
        return Sink(self, name, version, digest, model)

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def offer(self, sink: Sink, batch: Batch) -> None:
        """Queue a batch, or count its rows as dropped when the queue is full."""
        rows = sum(item.request.rows for item in batch.items)
        if self._offered - self._taken + rows > self._settings.queue_rows:
            self._lost_here[sink.name] = self._lost_here.get(sink.name, 0) + rows
            return
        self._offered += rows
        self._queue.append(_Taken(sink, batch, rows, self._clock()))

    def dropped(self) -> dict[str, int]:
        """Return the rows that were dropped so far, by model."""
        total = dict(self._lost_here)
        for name, rows in dict(self._lost_there).items():
            total[name] = total.get(name, 0) + rows
        return total

    def close(self) -> None:
        """Write what is queued and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(_POLL_SECONDS)
            self.drain()
        self.drain(everything=True)

    def drain(self, *, everything: bool = False) -> None:
        """Take what is queued, write files that are due (all of them with `everything`), apply the retention."""
        now = self._clock()
        for sink, taken in self._grouped().items():
            rows = sum(one.rows for one in taken)
            try:
                waiting = self._open.setdefault(sink, _Open(since=now))
                # One table for many batches: what costs is the number of arrays, and this thread shares the
                # interpreter with the event loop.
                waiting.tables.append(self._table(sink, taken, rows))
                waiting.rows += rows
            except Exception:
                self._lose(sink, rows)
                log.exception("capture of model %s failed; %d rows dropped", sink.name, rows)
            self._taken += rows
        settings = self._settings
        for sink, waiting in list(self._open.items()):
            old = now - waiting.since >= settings.rotate_seconds
            if everything or old or waiting.rows >= settings.rotate_rows:
                del self._open[sink]
                self._write(sink, waiting)
        if now - self._swept > _SWEEP_SECONDS:
            self._swept = now
            try:
                sweep(settings.directory, settings.retention_days, now)
            except OSError as error:
                log.warning("captures older than %s days could not be removed: %s", settings.retention_days, error)

    def _grouped(self) -> dict[Sink, list[_Taken]]:
        grouped: dict[Sink, list[_Taken]] = {}
        for _ in range(len(self._queue)):
            taken = self._queue.popleft()
            grouped.setdefault(taken.sink, []).append(taken)
        return grouped

    def _table(self, sink: Sink, taken: list[_Taken], rows: int) -> pa.Table:
        items = [item for one in taken for item in one.batch.items]
        counts = np.array([item.request.rows for item in items])
        latencies = np.array([(one.batch.ended - item.started) * 1000 for one in taken for item in one.batch.items])
        moments = np.repeat([int(one.wall * 1e6) for one in taken], [one.rows for one in taken])
        first = np.repeat(np.cumsum(counts) - counts, counts)
        columns: dict[str, Any] = {
            "request_id": np.repeat(np.array([item.id for item in items], object), counts),
            "row": (np.arange(rows) - first).astype(np.int32),
            "time": pa.array(moments, pa.timestamp("us", "UTC")),
            "latency_ms": np.repeat(latencies, counts).astype(np.float32),
        }
        for tensor in sink.signature.inputs:
            values = np.concatenate([one.batch.inputs[tensor.name] for one in taken])
            self._add(columns, sink.contract, "input", tensor.name, values)
        if sink.contract.features:
            for name in sink.contract.features.entities:
                keys: list[Any] = []
                for item in items:
                    keys += item.request.entities.get(name) or [None] * item.request.rows
                self._add(columns, sink.contract, "entity", name, keys)
        for tensor in sink.signature.outputs:
            values = np.concatenate([one.batch.outputs[tensor.name] for one in taken])
            self._add(columns, sink.contract, "output", tensor.name, values)
        return pa.table(columns)

    def _add(self, columns: dict[str, Any], contract: Contract, side: str, name: str, values: Any) -> None:
        rule = contract.capture.get(name, contract.capture_default)
        if rule == "drop":
            return
        if isinstance(values, np.ndarray) and (values.ndim > 1 or values.dtype == object):
            values = values.tolist()
        if rule == "hash":
            plain = values.tolist() if isinstance(values, np.ndarray) else values
            values = pa.array([self._hash(value) for value in plain], pa.string())
        columns[f"{side}.{name}"] = values

    def _hash(self, value: Any) -> str | None:
        if value is None:
            return None
        return hmac.new(self._key, repr(value).encode(), hashlib.sha256).hexdigest()[:32]

    def _write(self, sink: Sink, waiting: _Open) -> None:
        """Write one file under a hidden name and rename it."""
        try:
            table = pa.concat_tables(waiting.tables, promote_options="permissive").combine_chunks()
            for name in ("digest", "version", "model"):
                value = pa.array([getattr(sink, "name" if name == "model" else name)] * len(table)).dictionary_encode()
                table = table.add_column(3, name, value)
            day = datetime.datetime.fromtimestamp(waiting.since, datetime.UTC).date().isoformat()
            folder = self._settings.directory / sink.name / day
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._number += 1
            final = folder / f"{sink.version}-{self._replica}-{self._number:06d}.parquet"
            hidden = folder / f".{final.name}.tmp"
            try:
                pq.write_table(table, hidden, compression="zstd")
                hidden.replace(final)
            finally:
                hidden.unlink(missing_ok=True)
        except Exception:
            self._lose(sink, waiting.rows)
            log.exception("captured rows of model %s could not be written; %d dropped", sink.name, waiting.rows)

    def _lose(self, sink: Sink, rows: int) -> None:
        self._lost_there[sink.name] = self._lost_there.get(sink.name, 0) + rows


def sweep(directory: Path, retention_days: int, now: float) -> list[Path]:
    """Remove the folders of days that are older than the retention, and what a crash left half-written.

    Returns:
        The day folders that were removed.
    """
    oldest = datetime.datetime.fromtimestamp(now, datetime.UTC).date() - datetime.timedelta(days=retention_days)
    removed = []
    for folder in directory.glob("*/*"):
        try:
            day = datetime.date.fromisoformat(folder.name)
        except ValueError:
            continue
        if day < oldest:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
            continue
        for hidden in folder.glob(".*.tmp"):
            if now - os.stat(hidden).st_mtime > _SWEEP_SECONDS:  # noqa: PTH116
                hidden.unlink(missing_ok=True)
    return removed
