import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.batching import Batch, Item
from serving.capture import OUTSIDE, Capture, Settings, Sink, sweep
from serving.protocol.request import Decoded
from serving.runtime import model
from serving.runtime.contract import FeatureLookup

Make = Callable[..., Path]
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC).timestamp()


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def capture(folder: Path, clock: Clock, key: bytes = b"key", **settings: Any) -> Capture:
    return Capture(Settings(folder, **settings), "replica", key, clock=clock)


def sink(capture: Capture, folder: Path) -> Sink:
    return capture.sink("small", "7", "sha256:d", model.load(folder))


def batch(*requests: tuple[str, int], entities: dict[str, list[Any]] | None = None, carrier: str = "AA") -> Batch:
    """A batch of requests (id, rows), each answered after a tenth of a second."""
    items: list[Any] = [
        Item(Decoded([], rows, entities=entities or {}), name, 1.0, None)  # type: ignore[arg-type]
        for name, rows in requests
    ]
    n = sum(rows for _, rows in requests)
    inputs: dict[str, Any] = {
        "distance": np.arange(n, dtype=np.float32),
        "hour": np.arange(n),
        "carrier": np.array([carrier] * n, object),
    }
    outputs: dict[str, Any] = {"label": np.zeros(n, np.int64), "probability": np.full(n, 0.5, np.float32)}
    return Batch(items, inputs, outputs, 1.1)


def written(folder: Path) -> list[dict[str, Any]]:
    """All captured rows; only complete files count."""
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*/*/*.parquet")):
        rows += pq.read_table(file).to_pylist()
    return rows


def test_rows_are_written_with_request_version_and_latency(tmp_path: Path, artifact: Path, clock: Clock) -> None:
    kept = capture(tmp_path, clock)
    sink(kept, artifact).offer(batch(("a", 1), ("b", 2)))
    kept.tick()
    kept.drain(everything=True)
    files = list(tmp_path.rglob("*.parquet"))
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["small/2026-03-01/7-replica-000001.parquet"]
    rows = written(tmp_path)
    assert [(row["request_id"], row["row"]) for row in rows] == [("a", 0), ("b", 0), ("b", 1)]
    assert rows[2] | {"latency_ms": 0} == {
        "request_id": "b",
        "row": 1,
        "time": datetime.datetime.fromtimestamp(NOON, datetime.UTC),
        "model": "small",
        "version": "7",
        "digest": "sha256:d",
        "split": OUTSIDE,
        "latency_ms": 0,
        "input.distance": 2.0,
        "input.hour": 2,
        "input.carrier": "AA",
        "output.label": 0,
        "output.probability": 0.5,
    }
    assert rows[0]["latency_ms"] == pytest.approx(100, rel=1e-3)


def test_fields_are_dropped_and_hashed_by_the_models_contract(
    tmp_path: Path, make_artifact: Make, clock: Clock, lookup: FeatureLookup
) -> None:
    folder = make_artifact(capture={"carrier": "hash", "hour": "drop", "route": "hash"}, features=lookup)

    def capture_with(key: bytes, name: str) -> list[dict[str, Any]]:
        kept = capture(tmp_path / name, clock, key)
        entry = sink(kept, folder)
        entry.offer(batch(("a", 1), entities={"route": ["JFK-LAX"]}, carrier="AA"))
        entry.offer(batch(("b", 1), entities={"route": ["JFK-LAX"]}, carrier="UA"))
        kept.close()
        kept.drain(everything=True)
        assert b"JFK-LAX" not in next((tmp_path / name).rglob("*.parquet")).read_bytes()
        return written(tmp_path / name)

    first, second = capture_with(b"key", "one")
    assert "input.hour" not in first
    assert first["input.carrier"] != second["input.carrier"]
    assert first["entity.route"] == second["entity.route"]
    assert len(first["entity.route"]) == 32
    assert capture_with(b"key", "two")[0]["input.carrier"] == first["input.carrier"]
    assert capture_with(b"other", "three")[0]["input.carrier"] != first["input.carrier"]


def test_default_rule_holds_for_unnamed_fields(tmp_path: Path, make_artifact: Make, clock: Clock) -> None:
    kept = capture(tmp_path / "captures", clock)
    sink(kept, make_artifact(capture={"label": "keep"}, capture_default="drop")).offer(batch(("a", 1)))
    kept.tick()
    kept.drain(everything=True)
    assert [name for name in written(tmp_path / "captures")[0] if "." in name] == ["output.label"]


def test_full_queue_drops_and_counts_and_takes_again_when_written(tmp_path: Path, artifact: Path, clock: Clock) -> None:
    kept = capture(tmp_path, clock, queue_rows=3)
    entry = sink(kept, artifact)
    entry.offer(batch(("a", 2)))
    entry.offer(batch(("b", 2)))
    entry.offer(batch(("c", 1)))
    assert kept.dropped() == {"small": 2}
    kept.tick()
    kept.drain(everything=True)
    entry.offer(batch(("d", 2)))
    kept.tick()
    kept.drain(everything=True)
    assert [row["request_id"] for row in written(tmp_path)] == ["a", "a", "c", "d", "d"]
    assert kept.dropped() == {"small": 2}


def test_file_is_closed_after_its_time_or_its_rows(tmp_path: Path, artifact: Path, clock: Clock) -> None:
    kept = capture(tmp_path, clock, rotate_seconds=60, rotate_rows=5)
    entry = sink(kept, artifact)
    entry.offer(batch(("a", 1)))
    kept.tick()
    kept.drain()
    assert written(tmp_path) == []
    clock.now += 60
    kept.drain()
    assert len(written(tmp_path)) == 1
    entry.offer(batch(("b", 5)))
    kept.tick()
    kept.drain()
    assert len(written(tmp_path)) == 6


def test_batches_larger_than_a_chunk_and_many_small_ones_are_complete(
    tmp_path: Path, artifact: Path, clock: Clock
) -> None:
    kept = capture(tmp_path, clock)
    entry = sink(kept, artifact)
    entry.offer(batch(("big", 5000)))
    for number in range(3000):
        entry.offer(batch((str(number), 1)))
    kept.tick()
    kept.drain(everything=True)
    ids = [row["request_id"] for row in written(tmp_path)]
    assert ids == ["big"] * 5000 + [str(number) for number in range(3000)]


def test_rows_that_cannot_be_written_are_counted_as_dropped(tmp_path: Path, artifact: Path, clock: Clock) -> None:
    blocked = tmp_path / "captures"
    blocked.write_text("a file where a folder should be")
    kept = capture(blocked, clock)
    sink(kept, artifact).offer(batch(("a", 3)))
    kept.tick()
    kept.drain(everything=True)
    assert kept.dropped() == {"small": 3}


def test_thread_writes_what_is_left_on_close(tmp_path: Path, artifact: Path, clock: Clock) -> None:
    kept = capture(tmp_path, clock)
    kept.start()
    sink(kept, artifact).offer(batch(("a", 1)))
    kept.close()
    assert len(written(tmp_path)) == 1


def test_finished_files_leave_for_the_store(tmp_path: Path, artifact: Path, clock: Clock) -> None:
    made = capture(tmp_path / "disk", clock, store=f"file://{tmp_path}/store")
    sink(made, artifact).offer(batch(("one", 2)))
    made.tick()
    made.drain(everything=True)
    assert len(written(tmp_path / "store")) == 2
    assert not list((tmp_path / "disk").rglob("*.parquet"))


def test_retention_removes_old_days_and_half_written_files(tmp_path: Path) -> None:
    for day in ("2026-01-29", "2026-01-30", "2026-03-01", "notes"):
        (tmp_path / "small" / day).mkdir(parents=True)
    hidden = tmp_path / "small" / "2026-03-01" / ".x.parquet.tmp"
    hidden.write_text("half")
    removed = sweep(tmp_path, 30, NOON)
    assert [folder.name for folder in removed] == ["2026-01-29"]
    assert sorted(folder.name for folder in (tmp_path / "small").iterdir()) == ["2026-01-30", "2026-03-01", "notes"]
    sweep(tmp_path, 30, hidden.stat().st_mtime + 7200)
    assert not hidden.exists()
