"""Labels judge a rollout: real files, a real store, and a candidate that is wrong more often than stable."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policies.ledger.events import Kind, Rollback
from policies.ledger.store import Query
from serving.control.captures import Captures
from serving.control.joining import Joiner
from serving.control.labels import Received

ROLLBACKS: tuple[Kind, ...] = ("rollback",)
STEPS: dict[str, Any] = {"evidence": {"requests": 20, "smoke": 1}}
CANARY = {"kind": "canary", "steps": [{"weight": 20, "minutes": 10}], **STEPS}
AB = {"kind": "ab", "steps": [{"weight": 50, "minutes": 10}], **STEPS}
SHADOW = {"kind": "shadow", "steps": [{"mirror": 100, "minutes": 10}], **STEPS}


class Labelled:
    """A rollout of version 2 beside version 1, whose predictions are captured and labelled."""

    def __init__(self, world: Any, folder: Path) -> None:
        self.world, self.folder = world, folder / "m" / "1970-01-12"
        self.folder.mkdir(parents=True)
        self.joiner = Joiner(world.store, Captures(folder), 30, lambda: world.now, rest=0)
        self.files = 0

    async def begin(self, strategy: dict[str, Any]) -> int:
        """Bring a rollout to its first step; returns the number of its split."""
        await self.world.promoted("1")
        await self.world.release("2", **strategy)
        for _ in range(5):
            await self.world.second()
        assert (await self.world.model())["rollout"]["phase"] == "analysing"
        return int(self.world.store.state.models["m"].split.generation)

    def capture(self, version: str, split: int, ids: list[str], wrong: int) -> None:
        """Write what a version predicted: 1, or 0 for the first `wrong` ones; the truth is 1."""
        self.files += 1
        digest = self.world.digest(version)
        rows = [
            {"request_id": one, "row": 0, "version": version, "digest": digest, "split": split}
            | {"output.label": int(number >= wrong)}
            for number, one in enumerate(ids)
        ]
        pq.write_table(pa.Table.from_pylist(rows), self.folder / f"{version}-r-{self.files:06d}.parquet")

    async def label(self, ids: list[str]) -> None:
        self.joiner.take("m", Received(tuple((one, 0, 1) for one in ids), "label", None))
        await self.joiner.join("m")
        await self.world.second()

    async def counts(self) -> dict[str, tuple[int, int]]:
        counts = (await self.world.model())["rollout"]["counts"]
        return {arm: (found["labelled"], found["wrong"]) for arm, found in counts.items()}


@pytest.fixture
def labelled(world: Any, tmp_path: Path) -> Labelled:
    return Labelled(world, tmp_path / "captures")


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


@pytest.mark.parametrize("strategy", [CANARY, AB])
async def test_candidate_that_is_wrong_more_often_is_taken_back(
    labelled: Labelled, world: Any, strategy: dict[str, Any]
) -> None:
    split = await labelled.begin(strategy)
    labelled.capture("1", split, ids("s", 200), wrong=20)
    labelled.capture("2", split, ids("c", 50), wrong=35)
    await labelled.label([*ids("s", 200), *ids("c", 50)])
    assert await labelled.counts() == {"stable": (200, 20), "candidate": (50, 35)}
    model = await world.model()
    assert model["rollout"]["state"] == "rolled-back"
    assert model["served"]["version"] == "1"
    assert "quality: candidate was wrong in" in model["rollout"]["reason"]
    (entry,) = world.store.ledger.entries(Query(model="m", kinds=ROLLBACKS))
    event = entry.event()
    assert isinstance(event, Rollback)
    assert event.trigger == "quality"
    assert event.evidence["counts"] == {
        "candidate": {"labelled": 50, "wrong": 35},
        "stable": {"labelled": 200, "wrong": 20},
    }


async def test_one_label_judges_both_versions_of_a_mirrored_request(labelled: Labelled, world: Any) -> None:
    split = await labelled.begin(SHADOW)
    labelled.capture("1", split, ids("x", 100), wrong=5)
    labelled.capture("2", split, ids("x", 100), wrong=60)
    await labelled.label(ids("x", 100))
    assert await labelled.counts() == {"stable": (100, 5), "candidate": (100, 60)}
    assert "quality: candidate was wrong in 60 of 100" in (await world.model())["rollout"]["reason"]


async def test_predictions_of_other_splits_are_no_evidence(labelled: Labelled, world: Any) -> None:
    split = await labelled.begin(CANARY)
    labelled.capture("1", split, ids("s", 200), wrong=0)
    labelled.capture("2", -1, ids("c", 50), wrong=50)
    await labelled.label([*ids("s", 200), *ids("c", 50)])
    assert await labelled.counts() == {"stable": (200, 0), "candidate": (0, 0)}
    assert (await world.model())["rollout"]["state"] == "step"


async def test_labels_of_stable_during_a_rollout_count_for_its_watch_afterwards(labelled: Labelled, world: Any) -> None:
    split = await labelled.begin(CANARY)
    labelled.capture("1", split, ids("s", 30), wrong=3)
    await labelled.label(ids("s", 30))
    await world.http.post("/v1/models/m/rollout/abort", json={"by": "ada"})
    for _ in range(3):
        await world.second()
    state = world.store._records.managed["m"].state
    assert state.rollout.phase == "aborted"
    assert (state.watch.record.labelled, state.watch.record.wrong) == (30, 3)
    assert state.late.labelled == 0
