"""Captures in an object store: found in time, read sparingly, and never taken for damaged while the store is away."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.capture_store import Store as Putter
from serving.control import captures as module
from serving.control.captures import LOOK_ALL_SECONDS, LOOK_SECONDS, Captures
from serving.control.joining import Joiner
from serving.control.labels import Received
from serving.control.predictions import request_ids

pytestmark = pytest.mark.slow
BUCKET = "acme-captures"


class World:
    """A bucket, who puts captures into it, and the controller that reads them."""

    def __init__(self, control: Any, s3: Any, folder: Path) -> None:
        self.control, self.s3, self.folder = control, s3, folder
        s3.client.create_bucket(Bucket=BUCKET)
        self.address = s3.store(BUCKET, "captures")
        self.captures = Captures(self.address, lambda: control.now, lambda: control.now)
        self.joiner = Joiner(control.store, self.captures, 30, lambda: control.now, rest=0)

    def capture(self, name: str, *ids: str, label: int = 1, days_ago: int = 0) -> str:
        """Put a file as replicas do; returns its path in the bucket."""
        at = datetime.datetime.fromtimestamp(self.control.now, datetime.UTC) - datetime.timedelta(days=days_ago)
        path = f"m/{at.date().isoformat()}/{name}.parquet"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"request_id": one, "row": 0, "version": "1", "digest": self.control.digest("1"), "split": 1}
            | {"output.label": label}
            for one in ids
        ]
        pq.write_table(pa.Table.from_pylist(rows), self.folder / path)
        assert Putter(self.address, lambda: self.control.now).put(self.folder) == 1
        return path

    async def joined(self) -> dict[str, float]:
        await self.joiner.join("m")
        series = self.control.store.series
        return {label: value for (kind, _, _, label), value in series.items() if kind == "labelled"}

    def label(self, *ids: str) -> None:
        self.joiner.take("m", Received(tuple((one, 0, 1) for one in ids), "label", None))


@pytest.fixture
async def bucket(world: Any, s3: Any, tmp_path: Path) -> World:
    await world.promoted("1")
    return World(world, s3, tmp_path / "pod")


async def test_labels_meet_predictions_in_a_bucket(bucket: World) -> None:
    bucket.capture("1-a-000001", "a", "b")
    bucket.capture("1-a-000002", "c", label=0)
    bucket.label("a", "c")
    assert await bucket.joined() == {"right": 1, "wrong": 1}
    bucket.label("b")
    assert await bucket.joined() == {"right": 2, "wrong": 1}


async def test_a_store_is_listed_seldom_and_its_old_days_once_an_hour(
    bucket: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket.captures.files("m") == set()
    today = bucket.capture("1-a-000001", "a")
    assert bucket.captures.files("m") == set(), "it was asked a moment ago"
    bucket.control.now += LOOK_SECONDS
    assert bucket.captures.files("m") == {today}
    late = bucket.capture("1-a-000002", "b", days_ago=5)
    bucket.control.now += LOOK_SECONDS
    assert bucket.captures.files("m") == {today}
    bucket.control.now += LOOK_ALL_SECONDS
    assert bucket.captures.files("m") == {today, late}
    bucket.s3.client.delete_object(Bucket=BUCKET, Key=f"captures/{late}")
    bucket.control.now += LOOK_ALL_SECONDS
    assert bucket.captures.files("m") == {today}, "what the retention took is forgotten"


async def test_a_store_that_is_away_loses_no_match(bucket: World) -> None:
    bucket.capture("1-a-000001", "a")
    bucket.label("a")
    assert bucket.captures.files("m")
    bucket.s3.away()
    with pytest.raises(OSError):
        await bucket.joined()
    bucket.s3.back()
    assert await bucket.joined() == {"right": 1}


async def test_a_damaged_or_missing_object_stops_nothing(bucket: World, caplog: pytest.LogCaptureFixture) -> None:
    good = bucket.capture("1-a-000002", "a")
    body = (bucket.s3.client.get_object(Bucket=BUCKET, Key=f"captures/{good}")["Body"]).read()
    damaged = good.replace("000002", "000001")
    bucket.s3.client.put_object(Bucket=BUCKET, Key=f"captures/{damaged}", Body=body[:8] + bytes(20) + body[28:])
    cut = good.replace("000002", "000003")
    bucket.s3.client.put_object(Bucket=BUCKET, Key=f"captures/{cut}", Body=body[:-9])
    bucket.label("a")
    assert await bucket.joined() == {"right": 1}
    assert f"cannot be read, labels about them stay open: {cut}" in caplog.text
    assert request_ids(bucket.captures, good.replace("000002", "000009")) == []


async def test_a_search_holds_few_files_at_once_and_of_them_what_it_compares(
    bucket: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READERS", 2)
    rows, wide = 2_000, {f"input.{number}": [float(number)] * 2_000 for number in range(50)}
    ids = [f"id-{number:06d}" for number in range(rows)]
    table = pa.table({"request_id": ids, "row": [0] * rows, "version": ["1"] * rows, "digest": ["d"] * rows} | wide)
    path = bucket.capture("1-a-000000", "a")
    for number in range(8):
        name = path.replace("000000", f"00001{number}")
        pq.write_table(table, bucket.folder / name, use_dictionary=False, compression=None)
    Putter(bucket.address, lambda: 0.0).put(bucket.folder)
    peak, read = 0, bucket.captures.read

    def noted(path: str, inner: Any) -> Any:
        def seen(file: Any) -> Any:
            nonlocal peak
            found = inner(file)
            peak = max(peak, pa.total_allocated_bytes())
            return found

        return read(path, seen)

    monkeypatch.setattr(bucket.captures, "read", noted)
    before = pa.total_allocated_bytes()
    bucket.label("a", "id-000007")
    assert await bucket.joined() == {"right": 1}
    assert 0 < peak - before < table.nbytes, "less than one file of eight"
