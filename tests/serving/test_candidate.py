"""A candidate's process without Ray, and a whole release of one: control, replica and candidate in this process."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving import replica as module
from serving import room
from serving.arms import Answer
from serving.beside import Way
from serving.candidate import PLATFORM_FAULT, CandidateError, CandidateModel
from serving.config import Settings
from serving.control.app import Control
from serving.control.store import Store
from serving.replica import Replica
from serving.runtime.artifact import content_digest, file_hashes
from serving.shadows import unpack_copies
from serving.state import Release
from tests.serving.crowded import crowded

pytestmark = pytest.mark.slow  # a file that takes seconds together

Make = Callable[..., Path]
KEY = "snapshot-key-of-16"
ROW = {"distance": 600, "hour": 9, "carrier": "UA"}
COLUMNS: dict[str, Any] = {"distance": [100.0, 600.0], "hour": [9, 17], "carrier": ["AA", "UA"]}
CANARY = {
    "kind": "canary",
    "steps": [{"weight": 30}, {"weight": 60}],
    "bakeMinutes": 0,
    "evidence": {"requests": 30, "smoke": 10},
    "limits": {"latencyRatio": 100},
    # Users are divided by chance here: what stops one healthy rollout in 2000 would stop one test in 500.
    "budget": {"sampleRatio": 1e-9, "latency": 1e-9},
}


def settings(folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "ray": {"address": "x"},
            "control": {"url": "http://control", "token": "replica"},
            "registry": {"url": "http://127.0.0.1:9"},
            "snapshot": folder / "snapshot.json",
            "snapshotKey": KEY,
            "trust": {"signature": "optional"},
            "modelCache": folder / "cache",
            "groups": [{"name": "shared", "route": "/v2"}],
            # A pause of the machine is no failure of the candidate.
            "limits": {"candidateSeconds": 30, "requestSeconds": 60},
        }
    )


def release_of(folder: Path, version: str = "2") -> Release:
    files = file_hashes(folder)
    return Release(version, content_digest(files), f"file:{folder}", files, "shared")


async def test_seconds_of_an_answer_are_those_that_the_candidate_worked(tmp_path: Path, make_artifact: Make) -> None:
    candidate = CandidateModel(settings(tmp_path), "small", release_of(make_artifact("new", bias=0.1)))
    await candidate.start()
    rows = 2_000
    columns: dict[str, Any] = {name: column * (rows // 2) for name, column in COLUMNS.items()}
    whole = own = 0.0
    with crowded():
        used = time.thread_time()
        for _ in range(100):
            begun = time.perf_counter()
            answer = await candidate.predict(columns, rows, "x", 7)
            whole += time.perf_counter() - begun
            own += answer.seconds
        used = time.thread_time() - used
    assert whole > 2 * used
    assert 0 < own <= 1.1 * used
    candidate.close()


async def test_candidate_predicts_as_its_model_does(tmp_path: Path, make_artifact: Make) -> None:
    candidate = CandidateModel(settings(tmp_path), "small", release_of(make_artifact("new", bias=0.1)))
    assert (await candidate.predict(COLUMNS, 2, "x", False)).error == "the candidate is not loaded"
    await candidate.start()
    for split in (7, None):
        answer = await candidate.predict(COLUMNS, 2, "x", split)
        assert answer.outputs is not None
        assert answer.outputs["probability"] == pytest.approx([0.2, 0.95])
        assert answer.seconds > 0
    missing = await candidate.predict({"hour": [1]}, 1, "x", 7)
    assert missing.error == "the candidate needs inputs that stable does not take: distance, carrier"
    candidate.close()


async def test_start_says_whose_fault_it_is(tmp_path: Path, make_artifact: Make) -> None:
    folder = make_artifact("new")
    release = release_of(folder)
    (folder / "model.onnx").write_bytes(b"tampered")
    with pytest.raises(CandidateError, match=PLATFORM_FAULT):
        await CandidateModel(settings(tmp_path), "small", release).start()
    with pytest.raises(CandidateError, match="the model cannot be loaded"):
        await CandidateModel(settings(tmp_path), "small", release_of(folder)).start()


class World:
    """Control, one replica, and an actuator that runs candidates in this process, broken as `break_with` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(f"sqlite:///{folder}/c.db", folder / "snapshot.json", KEY, rollout_seconds=60, clock=Clock())
        self.app = Control(self.store, "admin", "replica").application()
        self.asgi = httpx.ASGITransport(self.app)
        self.candidates: dict[str, CandidateModel] = {}
        self.break_with: Callable[[Answer], Answer] = lambda answer: answer
        self.settings = settings(folder)
        self.replica = Replica(self.settings, "shared", self.connect, transport=self.asgi)
        self.users = httpx.AsyncClient(transport=httpx.ASGITransport(self.replica.ingress), base_url="http://r")
        self.admin = httpx.AsyncClient(
            transport=self.asgi, base_url="http://c", headers={"authorization": "Bearer admin"}
        )
        self.answers: Counter[tuple[int, str]] = Counter()
        self.connected: list[str] = []

    def connect(self, name: str) -> Way:
        world = self
        self.connected.append(name)

        class Here:
            async def __call__(self, columns: Any, rows: int, identifier: str, split: int | None) -> Answer:
                answer = await world.candidates[name].predict(columns, rows, identifier, split)
                return answer if split is None else world.break_with(answer)

            async def observe(self, bundle: bytes) -> Mapping[str, Any]:
                return await world.candidates[name].observe(unpack_copies(bundle))

            def close(self) -> None:
                pass

        return Here()

    async def act(self) -> None:
        """Be the actuator."""
        while True:
            wanted = {one.name: (m, one) for m, e in self.store.state.models.items() for one in e.beside}
            report = {}
            for name, (model, one) in wanted.items():
                report[name] = {"digest": one.release.digest, "status": "ready", "reason": "", "fault": "platform"}
                if name not in self.candidates:
                    self.candidates[name] = made = CandidateModel(self.settings, model, one.release)
                    await made.start()
            self.store.applications(report)
            for name in self.candidates.keys() - wanted.keys():
                self.candidates.pop(name).close()
            await asyncio.sleep(0.02)

    async def without_candidates(self) -> None:
        """Wait until the actuator has put all of them away."""
        async with asyncio.timeout(60):
            while self.candidates:
                await asyncio.sleep(0.01)

    async def use(self) -> None:
        """Be the users."""
        while True:
            answer = await self.users.post("/v2/models/small/infer", json=BODY)
            self.answers[answer.status_code, answer.json().get("model_version", "")] += 1
            await asyncio.sleep(0)

    async def release(self, folder: Path, version: str, strategy: dict[str, Any]) -> dict[str, Any]:
        files = file_hashes(folder)
        body = {"version": version, "digest": content_digest(files), "files": files, "group": "shared"}
        answer = await self.admin.put(
            "/v1/models/small/release", json=body | {"source": f"file:{folder}", "strategy": strategy}
        )
        assert answer.status_code == 202, answer.text
        async with asyncio.timeout(120):
            while True:
                found: dict[str, Any] = (await self.admin.get("/v1/models/small")).json()
                if found["rollout"]["state"] in ("promoted", "rolled-back", "aborted", "failed"):
                    return found
                await asyncio.sleep(0.05)


class Clock:
    def __call__(self) -> float:
        return 1e6 + asyncio.get_event_loop().time()


BODY = {
    "inputs": [
        {"name": name, "datatype": datatype, "shape": [1], "data": [value]}
        for name, datatype, value in (("distance", "FP32", 600.0), ("hour", "INT64", 9), ("carrier", "BYTES", "UA"))
    ]
}
SAMPLE = {
    "inputs": [
        {"name": "distance", "datatype": "FP32", "shape": [2], "data": [100.0, 600.0]},
        {"name": "hour", "datatype": "INT64", "shape": [2], "data": [9, 17]},
        {"name": "carrier", "datatype": "BYTES", "shape": [2], "data": ["AA", "UA"]},
    ],
    "outcome": [0, 1],
}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_artifact: Make) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.02)
    (tmp_path / "evaluation_sample.json").write_text(json.dumps(SAMPLE))
    world = World(tmp_path)
    async with world.app.router.lifespan_context(world.app):
        await world.replica.start()
        tasks = [asyncio.create_task(world.act())]
        await world.release(make_artifact("one"), "1", {"kind": "all-at-once"})
        tasks.append(asyncio.create_task(world.use()))
        yield world
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await world.replica.close()
        await world.users.aclose()
        await world.admin.aclose()


@pytest.mark.slow
async def test_healthy_candidate_takes_over_and_no_request_fails(world: World, make_artifact: Make) -> None:
    found = await world.release(make_artifact("two", bias=0.1), "2", CANARY)
    assert found["rollout"]["state"] == "promoted", found["rollout"]
    assert found["served"]["version"] == "2"
    assert set(world.answers) == {(200, "1"), (200, "2")}
    # The first call on a new way is slow on a real platform: the smoke set pays for it once, not a user in each step.
    assert len(world.connected) == len(set(world.connected)) == 1
    assert found["rollout"]["counts"]["candidate"]["labelled"] >= 10
    await world.without_candidates()


def error(_answer: Answer) -> Answer:
    return Answer(None, error="ValueError: no such carrier: 'Smith'")


def nan(_answer: Answer) -> Answer:
    return Answer({"label": np.array([1], np.int64), "probability": np.array([np.nan], np.float32)}, 0.001)


@pytest.mark.parametrize("broken", [error, nan])
async def test_broken_candidate_is_rolled_back_and_no_request_fails(
    world: World, make_artifact: Make, broken: Callable[[Answer], Answer]
) -> None:
    world.break_with = broken
    found = await world.release(make_artifact("two", bias=0.1), "2", CANARY)
    assert found["rollout"]["state"] == "rolled-back"
    assert found["served"]["version"] == "1"
    assert len(found["quarantined"]) == 1
    assert set(world.answers) == {(200, "1")}
    # The kind of failure is told, what a person sent is not.
    reason = found["rollout"]["reason"]
    assert reason.endswith("(last: ValueError)" if broken is error else "is not finite)"), reason


@pytest.mark.slow
@pytest.mark.parametrize("gives", [None, {"label": np.array([1]), "probability": np.array([np.nan], np.float32)}])
async def test_version_that_breaks_after_the_swap_is_taken_back_and_no_request_fails(
    world: World, make_artifact: Make, gives: Any
) -> None:
    strategy = {"kind": "all-at-once", "bakeMinutes": 5}
    release = asyncio.create_task(world.release(make_artifact("two", bias=0.1), "2", strategy))

    def serving() -> Any:
        return world.replica.ingress.table.infer["/v2/models/small/infer"]

    async with asyncio.timeout(60):
        while world.answers[200, "2"] < 100:
            await asyncio.sleep(0.01)
    sound = serving().batcher.model
    calls = count()

    class Broken:
        signature, contract = sound.signature, sound.contract

        def predict(self, inputs: Any) -> Any:
            if next(calls) % 3:
                return sound.predict(inputs)
            if gives is None:
                raise RuntimeError("broken")
            return gives

    serving().batcher.model = Broken()
    found = await release

    assert (found["rollout"]["state"], found["served"]["version"]) == ("rolled-back", "1"), found["rollout"]["reason"]
    assert "failure" in found["rollout"]["reason"]
    assert set(world.answers) == {(200, "1"), (200, "2")}


@pytest.mark.parametrize("how", [CANARY, {"kind": "shadow", "steps": [{"mirror": 100}], "bakeMinutes": 0}])
async def test_wrong_answers_are_found_by_the_sample(world: World, make_artifact: Make, how: dict[str, Any]) -> None:
    strategy = how | {"evidence": {"requests": 30, "smoke": 200}}
    found = await world.release(make_artifact("two", bias=0.9), "2", strategy)
    assert found["rollout"]["state"] == "failed"
    assert found["rollout"]["reason"].startswith("quality")


async def test_first_release_by_canary_passes_its_smoke_set(world: World, make_artifact: Make) -> None:
    await world.admin.delete("/v1/models/small")
    found = await world.release(make_artifact("two", bias=0.1), "2", CANARY)
    assert found["rollout"]["state"] == "promoted"


async def test_release_without_a_sample_waits_and_says_why(world: World, make_artifact: Make) -> None:
    (world.folder / "evaluation_sample.json").unlink()
    strategy = CANARY | {"deadlines": {"absent": 0.5}}
    found = await world.release(make_artifact("two", bias=0.1), "2", strategy)
    assert found["rollout"]["state"] == "failed"
    assert "evaluation sample cannot be replayed" in found["rollout"]["reason"]
    assert found["quarantined"] == []


def shadow_of(folder: Path, version: str, sample: float = 100) -> dict[str, Any]:
    files = file_hashes(folder)
    digest = content_digest(files)
    return {"version": version, "digest": digest, "files": files, "source": f"file:{folder}", "sample": sample}


async def shadow(world: World, *shadows: dict[str, Any]) -> dict[str, Any]:
    answer = await world.admin.put("/v1/models/small/shadows", json={"shadows": list(shadows), "requestedBy": "me"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_shadows_beside_stable_and_beside_a_rollout(
    world: World, make_artifact: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Users, replica and shadows share one loop here, which is never idle.
    for limit in ("LATE", "BUSY", "QUEUED", "TAKEN"):
        monkeypatch.setattr(room, limit, 60.0)
    same, other = make_artifact("same", bias=0.01), make_artifact("other", bias=0.9)
    await shadow(world, shadow_of(same, "7"), shadow_of(other, "8"))

    async def compared(least: int) -> dict[str, dict[str, Any]]:
        async with asyncio.timeout(120):
            while True:
                found = (await world.admin.get("/v1/models/small")).json()["shadows"]
                counts = {one["version"]: one["counts"] for one in found}
                if all(one["compared"] >= least for one in counts.values()):
                    return counts
                await asyncio.sleep(0.05)

    counts = await compared(30)
    assert set(world.candidates) == {"candidate-small-7-shadow", "candidate-small-8-shadow"}
    assert counts["8"]["disagreed"] > 0
    before = counts["7"]["compared"]

    found = await world.release(make_artifact("two", bias=0.1), "2", CANARY)
    assert found["rollout"]["state"] == "promoted", found["rollout"]
    assert (await compared(before + 30))["7"]["compared"] > before
    assert set(world.answers) == {(200, "1"), (200, "2")}

    assert (await shadow(world))["shadows"] == []
    await world.without_candidates()
