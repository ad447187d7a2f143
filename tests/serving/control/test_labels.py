"""Labels meet captured predictions: a real database, real files, and a store without replicas."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.capture import OUTSIDE
from serving.control import joining
from serving.control.admission import RefusedError
from serving.control.captures import Captures
from serving.control.joining import Joiner
from serving.control.labels import DifferentLabelError, Received, read_labels
from serving.control.metrics import page
from serving.control.store import Store, UnknownError
from serving.rollout.observation import Batch
from serving.runtime.artifact import content_digest
from serving.state import Release

NOW = datetime.datetime(2026, 3, 10, 12, tzinfo=datetime.UTC).timestamp()
DAY = 86_400.0


class World:
    """A store with one model, a joiner, and whoever writes captures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, NOW
        self.taken: list[Batch] = []
        self.numbers = 0
        self.open()
        files = {"model.onn": "1" * 64}
        self.store.release(
            "m", Release("1", content_digest(files), "file:/1", files, "shared"), {"kind": "all-at-once"}
        )

    def open(self) -> None:
        """Start the controller (again)."""
        self.store = Store(
            f"sqlite:///{self.folder}/c.db", self.folder / "s.json", "key", rollout_seconds=100, clock=lambda: self.now
        )
        self.joiner = Joiner(self.store, Captures(self.folder / "captures"), 30, lambda: self.now, rest=0)
        take_in = self.store.take_in

        def seen(draft: Any, *, batches: Any = None, alarms: Any = None) -> None:
            take_in(draft, batches=batches, alarms=alarms)
            self.taken += [one for found in (batches or {}).values() for one in found]

        self.store.take_in = seen  # type: ignore[method-assign]

    def restart(self) -> None:
        self.store.close()
        self.open()

    def capture(
        self, *ids: str, label: int = 1, digest: str = "d1", version: str = "1", split: int | None = 3, rows: int = 1
    ) -> Path:
        """Write a capture file of requests with `rows` rows each."""
        self.numbers += 1
        day = datetime.datetime.fromtimestamp(self.now, datetime.UTC).date().isoformat()
        path = self.folder / "captures" / "m" / day / f"{version}-r-{self.numbers:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            {"request_id": one, "row": row, "version": version, "digest": digest, "output.label": label}
            | ({} if split is None else {"split": split})
            for one in ids
            for row in range(rows)
        ]
        pq.write_table(pa.Table.from_pylist(lines), path)
        return path

    def label(self, *ids: str, value: int = 1, row: int = 0) -> dict[str, int]:
        return self.joiner.take("m", Received(tuple((one, row, value) for one in ids), "label", None))

    async def join(self) -> list[tuple[str, int, int, int]]:
        """Join, and return what became of it: digest, split, labelled, wrong."""
        self.taken.clear()
        await self.joiner.join("m")
        return sorted((one.digest, one.generation, one.counts.labelled, one.counts.wrong) for one in self.taken)

    def counted(self, kind: str) -> dict[str, float]:
        return {label: value for (own, _, _, label), value in self.store.series.items() if own == kind}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_label_meets_a_prediction_that_was_there_before(world: World) -> None:
    world.capture("a", "b", "c", label=1)
    assert world.label("a", "b", value=1) == {"accepted": 2, "known": 0}
    world.label("c", value=0)
    assert await world.join() == [("d1", 3, 3, 1)]
    assert await world.join() == []
    assert world.counted("labels") == {"received": 3, "joined": 3}
    assert world.counted("labelled") == {"right": 2, "wrong": 1}


async def test_label_meets_a_prediction_that_is_written_later(world: World) -> None:
    world.label("a")
    assert await world.join() == []
    world.capture("other")
    assert await world.join() == []
    world.now += 5 * DAY
    world.capture("a", label=0)
    assert await world.join() == [("d1", 3, 1, 1)]


async def test_label_of_a_mirrored_request_counts_for_both_versions(world: World) -> None:
    world.capture("a", label=1, digest="stable")
    world.label("a")
    assert await world.join() == [("stable", 3, 1, 0)]
    world.capture("a", label=0, digest="candidate", version="2")
    assert await world.join() == [("candidate", 3, 1, 1)]
    assert world.counted("labels") == {"received": 1, "joined": 1}


async def test_versions_and_splits_are_kept_apart(world: World) -> None:
    world.capture("a", "b", digest="stable", split=4)
    world.capture("c", digest="candidate", version="2", split=4)
    world.capture("d", digest="stable", split=5)
    world.capture("e", digest="stable", split=OUTSIDE)
    world.capture("f", digest="stable", split=None)
    world.label("a", "b", "c", "d", "e", "f")
    found = await world.join()
    assert found == [("candidate", 4, 1, 0), ("stable", -1, 2, 0), ("stable", 4, 2, 0), ("stable", 5, 1, 0)]


async def test_rows_of_a_request_have_labels_of_their_own(world: World) -> None:
    world.capture("a", rows=3, label=1)
    world.label("a", row=2, value=0)
    assert await world.join() == [("d1", 3, 1, 1)]
    world.label("a", row=0, value=1)
    assert await world.join() == [("d1", 3, 1, 0)]


async def test_label_that_is_sent_again_counts_once(world: World) -> None:
    world.capture("a")
    assert world.label("a") == {"accepted": 1, "known": 0}
    assert world.label("a") == {"accepted": 0, "known": 1}
    assert await world.join() == [("d1", 3, 1, 0)]
    assert world.label("a") == {"accepted": 0, "known": 1}
    assert await world.join() == []


async def test_another_label_is_a_conflict_and_nothing_of_its_request_is_taken(world: World) -> None:
    world.capture("a", "b")
    world.label("a", value=1)
    with pytest.raises(DifferentLabelError, match="stored already for a row 0; the first one counts"):
        world.joiner.take("m", Received((("b", 0, 1), ("a", 0, 0)), "label", None))
    assert await world.join() == [("d1", 3, 1, 0)]


async def test_controller_that_is_killed_goes_on_and_counts_nothing_twice(world: World) -> None:
    world.capture("a", "b")
    world.label("a")
    assert await world.join() == [("d1", 3, 1, 0)]
    world.label("b")
    world.restart()
    world.capture("c")
    assert world.label("a") == {"accepted": 0, "known": 1}
    assert await world.join() == [("d1", 3, 1, 0)]
    world.restart()
    assert await world.join() == []


async def test_a_request_id_that_was_used_twice_counts_once_for_a_version(world: World) -> None:
    world.capture("a", "a", label=1)
    world.capture("a", label=0)
    world.label("a")
    assert await world.join() == [("d1", 3, 1, 1)]


async def test_damaged_and_foreign_files_stop_nothing(world: World) -> None:
    world.capture("a").write_bytes(b"no parquet")
    world.capture("b")
    day = world.folder / "captures" / "m" / "2026-03-10"
    (day / ".hidden.parquet.tmp").write_bytes(b"x")
    world.label("a", "b")
    assert await world.join() == [("d1", 3, 1, 0)]


async def test_labels_without_a_prediction_expire_with_the_captures(world: World) -> None:
    world.capture("a").unlink()
    world.capture("b")
    world.label("a", "b")
    await world.join()
    await world.joiner.forget()
    assert world.counted("labels") == {"received": 2, "joined": 1}
    world.now += 32 * DAY
    await world.joiner.forget()
    assert world.counted("labels") == {"received": 2, "joined": 1, "expired": 1}
    assert world.joiner._labels.models() == set()


async def test_files_that_are_gone_are_forgotten(world: World) -> None:
    path = world.capture("a")
    world.label("a")
    await world.join()
    path.unlink()
    await world.join()
    assert world.joiner._labels.files("m") == set()


async def test_many_labels_are_searched_piece_by_piece(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_AT_ONCE", 3)
    ids = [f"id{number}" for number in range(10)]
    world.capture(*ids)
    world.label(*ids)
    found = [await world.join() for _ in range(5)]
    assert [sum(one[2] for one in part) for part in found] == [3, 3, 3, 1, 0]


async def test_search_is_followed_by_a_rest(world: World) -> None:
    world.joiner = Joiner(world.store, Captures(world.folder / "captures"), 30, lambda: world.now, rest=1e9)
    world.capture("a", "b")
    world.label("a")
    assert await world.join() == [("d1", 3, 1, 0)]
    world.label("b")
    assert await world.join() == []


def test_labels_of_an_unknown_model_are_refused(world: World) -> None:
    with pytest.raises(UnknownError):
        world.joiner.take("other", Received((("a", 0, 1),), "label", None))


@pytest.mark.parametrize(
    "change",
    [{"labels": []}, {"labels": [["a", 0, None]]}, {"labels": [["a", 0, 1], ["a", 0, 1]]}, {"labels": [["a"]]},
     {"labels": [["a", "x", 1]]}, {"tolerance": "x"}],
)  # fmt: skip
def test_malformed_labels_are_refused(change: dict[str, Any]) -> None:
    body = {"labels": [["a", 0, 1]], "output": "label", "tolerance": None}
    assert read_labels(body).labels == (("a", 0, 1),)
    with pytest.raises(RefusedError, match="malformed"):
        read_labels(body | change)


async def test_metrics_show_labels_and_accuracy_by_version(world: World) -> None:
    world.capture("a", "b", "c", "d", label=1)
    world.label("a", "b", "c", value=1)
    world.label("d", value=0)
    await world.join()
    text = page(world.store.series, world.store.state, {})
    assert 'mlops_labels_total{model="m",outcome="joined"} 4' in text
    assert 'mlops_labelled_predictions_total{model="m",version="1",result="wrong"} 1' in text
    assert 'mlops_accuracy{model="m",version="1"} 0.75' in text
