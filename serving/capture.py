"""Keep what was asked and answered, as Parquet, without a request ever waiting for it.

The event loop copies the fields that the model's contract keeps into columns; a thread hashes what is to be hashed and
writes files that appear complete or not at all. The rows in memory are bounded: what does not fit is dropped and
counted. After a crash at most the rows of one rotation are lost.

Files: `<directory>/<model>/<yyyy-mm-dd>/<version>-<replica>-<number>.parquet`, days in UTC. Columns: request_id, row
(of the request), time, model, version, digest, split (number of the split of traffic that chose the version; OUTSIDE
where nothing chose it, so that the answer is no evidence in a comparison), latency_ms, then `input.*`, `entity.*` and
`output.*`.
"""

import contextlib
import datetime
import hashlib
import hmac
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from serving.batching import Batch
from serving.capture_store import Store
from serving.runtime.model import Model
from serving.runtime.signature import Tensor

log = logging.getLogger(__name__)

CHUNK_ROWS = 2048
OUTSIDE = -1
"""The split of an answer that no split of traffic chose: a version named in the path, or stable in place of another."""
_POLL_SECONDS = 0.2
_SWEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and how much. `queue_rows` bounds what waits in memory; a file is closed after `rotate_*`.

    With a `store` finished files are put there and removed from the directory.
    """

    directory: Path
    rotate_seconds: float = 60.0
    rotate_rows: int = 50_000
    retention_days: int = 30
    queue_rows: int = 100_000
    store: str | None = None


@dataclass(slots=True)
class _Chunk:
    """Columns of rows that were answered, filled in place by the event loop and then handed to the thread.

    Arrays that exist already are what keeps an offer at a few microseconds: no object is made per request that the
    garbage collector would have to visit, and the thread gets whole columns.
    """

    inputs: list[tuple[str, NDArray[Any]]]
    outputs: list[tuple[str, NDArray[Any]]]
    entities: list[tuple[str, list[Any]]]
    size: int
    rows: int = 0
    ids: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    """Rows of one model version that wait for their file."""

    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    since: float = 0.0


class Sink:
    """The entry of one model version. `offer` and `hand_over` belong to the event loop."""

    def __init__(self, capture: "Capture", name: str, version: str, digest: str, model: Model) -> None:
        self.name, self.version, self.digest = name, version, digest
        self.split = OUTSIDE
        """Number of the split under which this version answers everything."""
        self._capture = capture
        self._contract = contract = model.contract
        self._inputs = [t for t in model.signature.inputs if self.rule(t.name) != "drop"]
        self._outputs = [t for t in model.signature.outputs if self.rule(t.name) != "drop"]
        entities = contract.features.entities if contract.features else {}
        self._entities = [name for name in entities if self.rule(name) != "drop"]
        self._chunk: _Chunk | None = None

    def rule(self, field_name: str) -> str:
        """Return what happens to a field: keep, drop or hash."""
        return self._contract.capture.get(field_name, self._contract.capture_default)

    def offer(self, batch: Batch) -> None:
        """Keep a batch, or count its rows as dropped when too many wait already."""
        items = batch.items
        rows = items[0].request.rows if len(items) == 1 else sum(item.request.rows for item in items)
        chunk = self._chunk
        if chunk is None or chunk.rows + rows > chunk.size:
            self.hand_over()
            chunk = self._chunk = self._new(max(rows, CHUNK_ROWS))
        if not self._capture.admit(self.name, rows):
            return
        start, end = chunk.rows, chunk.rows + rows
        chunk.rows = end
        for name, column in chunk.inputs:
            column[start:end] = batch.inputs[name]
        for name, column in chunk.outputs:
            column[start:end] = batch.outputs[name]
        now = self._capture.clock()
        for item in items:
            chunk.ids.append(item.id)
            chunk.counts.append(item.request.rows)
            chunk.splits.append(item.split or self.split)
            chunk.latencies.append(batch.ended - item.started)
            chunk.times.append(now)
            for name, keys in chunk.entities:
                keys += item.request.entities.get(name) or [None] * item.request.rows

    def hand_over(self) -> None:
        """Give the rows so far to the thread."""
        if self._chunk is not None and self._chunk.rows:
            self._capture.put(self, self._chunk)
        self._chunk = None

    def table(self, chunk: _Chunk, hashed: Callable[[Any], str | None]) -> pa.Table:
        """Turn a chunk into a table; runs in the thread."""
        rows = chunk.rows
        counts = np.array(chunk.counts)
        moments = np.repeat((np.array(chunk.times) * 1e6).astype(np.int64), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        columns: dict[str, Any] = {
            "request_id": np.repeat(np.array(chunk.ids, object), counts),
            "row": (np.arange(rows) - first).astype(np.int32),
            "time": pa.array(moments, pa.timestamp("us", "UTC")),
        }
        for name in ("model", "version", "digest"):
            value = self.name if name == "model" else getattr(self, name)
            columns[name] = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [value])
        columns["split"] = np.repeat(np.array(chunk.splits, np.int32), counts)
        columns["latency_ms"] = np.repeat(np.array(chunk.latencies) * 1000, counts).astype(np.float32)
        sides: dict[str, Any] = {"input": chunk.inputs, "entity": chunk.entities, "output": chunk.outputs}
        for side, fields in sides.items():
            for name, values in fields:
                columns[f"{side}.{name}"] = _column(values[:rows], hashed if self.rule(name) == "hash" else None)
        return pa.table(columns)

    def _new(self, size: int) -> _Chunk:
        def arrays(tensors: list[Tensor]) -> list[tuple[str, NDArray[Any]]]:
            return [(t.name, np.empty((size, *t.shape[1:]), t.dtype)) for t in tensors]

        return _Chunk(arrays(self._inputs), arrays(self._outputs), [(name, []) for name in self._entities], size)


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
        self.clock = clock
        self._settings, self._replica, self._key = settings, replica, key
        self._sinks: list[Sink] = []
        self._queue: deque[tuple[Sink, _Chunk]] = deque()
        # Two counters that only one thread each writes: no lock on the request path.
        self._admitted = 0
        self._done = 0
        self._lost_here: dict[str, int] = {}
        self._lost_there: dict[str, int] = {}
        self._open: dict[Sink, _Open] = {}
        self._number = 0
        self._swept = 0.0
        self._store = Store(settings.store, clock) if settings.store else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)

    def sink(self, name: str, version: str, digest: str, model: Model) -> Sink:
        """Return the entry of a model version."""
        sink = Sink(self, name, version, digest, model)
        self._sinks.append(sink)
        return sink

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def admit(self, model: str, rows: int) -> bool:
        """Count rows in, or as dropped when too many wait already."""
        if self._admitted - self._done + rows > self._settings.queue_rows:
            self._lost_here[model] = self._lost_here.get(model, 0) + rows
            return False
        self._admitted += rows
        return True

    def put(self, sink: Sink, chunk: _Chunk) -> None:
        """Queue a chunk for the thread."""
        self._queue.append((sink, chunk))

    def tick(self) -> None:
        """Hand over what every model has so far. The event loop calls it about once a second."""
        for sink in self._sinks:
            sink.hand_over()

    def divide(self, splits: Mapping[tuple[str, str], int]) -> None:
        """Say which versions answer all requests of their model, by model and digest, and under which split."""
        for sink in self._sinks:
            sink.split = splits.get((sink.name, sink.digest), OUTSIDE)

    def forget(self, keep: Callable[[Sink], bool]) -> None:
        """Hand over and drop the entries of versions that are gone."""
        self.tick()
        self._sinks = [sink for sink in self._sinks if keep(sink)]

    def dropped(self) -> dict[str, int]:
        """Return the rows that were dropped so far, by model."""
        total = dict(self._lost_here)
        for name, rows in dict(self._lost_there).items():
            total[name] = total.get(name, 0) + rows
        return total

    def close(self) -> None:
        """Write what there is and stop. Call it in the event loop."""
        self.tick()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def drain(self, *, everything: bool = False) -> None:
        """Take what is queued, write files that are due (all of them with `everything`), apply the retention."""
        now = self.clock()
        settings = self._settings
        while self._queue:
            sink, chunk = self._queue.popleft()
            waiting = self._open.setdefault(sink, _Open(since=chunk.times[0]))
            try:
                waiting.tables.append(sink.table(chunk, self._hash))
                waiting.rows += chunk.rows
            except Exception:
                self._lose(sink, chunk.rows)
                log.exception("capture of model %s failed; %d rows dropped", sink.name, chunk.rows)
        for sink, waiting in list(self._open.items()):
            old = now - waiting.since >= settings.rotate_seconds
            if everything or old or waiting.rows >= settings.rotate_rows:
                del self._open[sink]
                self._write(sink, waiting)
        if self._store is not None:
            self._store.put(settings.directory)
        if now - self._swept > _SWEEP_SECONDS:
            self._swept = now
            sweep(settings.directory, settings.retention_days, now)

    def _work(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            try:
                self.drain()
            except Exception:
                log.exception("capture goes on after an error")
        self.drain(everything=True)

    def _hash(self, value: Any) -> str | None:
        if value is None:
            return None
        return hmac.new(self._key, repr(value).encode(), hashlib.sha256).hexdigest()[:32]

    def _write(self, sink: Sink, waiting: _Open) -> None:
        """Write one file under a hidden name and rename it."""
        if not waiting.tables:
            return
        day = datetime.datetime.fromtimestamp(waiting.since, datetime.UTC).date().isoformat()
        folder = self._settings.directory / sink.name / day
        self._number += 1
        final = folder / f"{sink.version}-{self._replica}-{self._number:06d}.parquet"
        hidden = folder / f".{final.name}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                pq.write_table(pa.concat_tables(waiting.tables), hidden, compression="zstd")
                hidden.replace(final)
            finally:
                hidden.unlink(missing_ok=True)
        except Exception:
            self._lose(sink, waiting.rows)
            log.exception("captured rows of model %s could not be written; %d dropped", sink.name, waiting.rows)
        else:
            self._done += waiting.rows

    def _lose(self, sink: Sink, rows: int) -> None:
        self._done += rows
        self._lost_there[sink.name] = self._lost_there.get(sink.name, 0) + rows


def _column(values: Any, hashed: Callable[[Any], str | None] | None) -> Any:
    if isinstance(values, np.ndarray) and (values.ndim > 1 or hashed is not None):
        values = values.tolist()
    if hashed is not None:
        return pa.array([hashed(value) for value in values], pa.string())
    if isinstance(values, np.ndarray) and values.dtype == object:
        return pa.array(values, pa.string())
    return pa.array(values)


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
            with contextlib.suppress(FileNotFoundError):  # who wrote it has given it its name
                if now - os.stat(hidden).st_mtime > _SWEEP_SECONDS:  # noqa: PTH116
                    hidden.unlink()
    return removed
