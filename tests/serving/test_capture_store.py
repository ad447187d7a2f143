"""Finished files of captures go to an object store, whole, and stay on the disk until they are there."""

from pathlib import Path
from typing import Any

import pytest

from serving.capture_store import PAUSE_SECONDS, Store


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    """A folder with two finished files of a model, one that is being written, and something else."""
    day = tmp_path / "captures" / "flight-delay" / "2026-11-20"
    day.mkdir(parents=True)
    for name in ("3-a-000001.parquet", "3-a-000002.parquet", ".3-a-000003.parquet.tmp", "notes.txt"):
        (day / name).write_bytes(name.encode())
    return tmp_path / "captures"


def test_finished_files_are_put_and_removed(captured: Path, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store/captures", Clock())
    assert store.put(captured) == 2
    put = sorted(path.relative_to(tmp_path / "store").as_posix() for path in (tmp_path / "store").rglob("*.parquet"))
    assert put == [f"captures/flight-delay/2026-11-20/3-a-00000{number}.parquet" for number in (1, 2)]
    left = sorted(path.name for path in captured.rglob("*") if path.is_file())
    assert left == [".3-a-000003.parquet.tmp", "notes.txt"]
    assert store.put(captured) == 0


def test_files_stay_while_the_store_is_away_and_are_put_later(captured: Path, tmp_path: Path) -> None:
    clock, place = Clock(), tmp_path / "store"
    place.write_text("a file where the store should be")
    store = Store(f"file://{place}/captures", clock)
    assert store.put(captured) == 0
    assert len(list(captured.rglob("*.parquet"))) == 2
    place.unlink()
    assert store.put(captured) == 0, "it is not asked again at once"
    clock.now = PAUSE_SECONDS
    assert store.put(captured) == 2


def test_what_another_process_has_put_since_the_look_stays_as_it_is(
    captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, look = Store(f"file://{tmp_path}/store/captures", Clock()), Path.glob

    def overtaken(self: Path, pattern: str) -> list[Path]:
        found = list(look(self, pattern))
        monkeypatch.setattr(Path, "glob", look)
        assert other.put(self) == 2
        return found

    monkeypatch.setattr(Path, "glob", overtaken)
    store = Store(f"file://{tmp_path}/store/captures", Clock())
    assert store.put(captured) == 0
    assert {path.name: path.read_bytes().decode() for path in (tmp_path / "store").rglob("*.parquet")} == {
        name: name for name in ("3-a-000001.parquet", "3-a-000002.parquet")
    }
    (captured / "flight-delay" / "2026-11-20" / "3-a-000003.parquet").write_bytes(b"next")
    assert store.put(captured) == 1, "it was no failure after which the store is left in peace"


@pytest.mark.slow
def test_files_arrive_in_a_bucket(captured: Path, s3: Any) -> None:
    s3.client.create_bucket(Bucket="acme-captures")
    assert Store(s3.store("acme-captures", "captures"), Clock()).put(captured) == 2
    found = s3.client.list_objects_v2(Bucket="acme-captures")["Contents"]
    assert [one["Key"] for one in found] == [
        f"captures/flight-delay/2026-11-20/3-a-00000{number}.parquet" for number in (1, 2)
    ]
    body = s3.client.get_object(Bucket="acme-captures", Key=found[0]["Key"])["Body"].read()
    assert body == b"3-a-000001.parquet"
