import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from serving import replica as module
from serving.config import Settings
from serving.control.app import Control
from serving.control.store import Store
from serving.replica import Replica
from serving.runtime.artifact import content_digest, file_hashes

Make = Callable[..., Path]
KEY = "snapshot-key-of-16"
ENDED = ("promoted", "rolled-back", "aborted", "failed", "superseded")
ROW = {"distance": 600, "hour": 9, "carrier": "UA"}


class World:
    """A control plane in this process that can be switched off, and replicas that follow it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.down = False
        self.store = Store(
            f"sqlite:///{folder}/c.db", folder / "snapshot.json", KEY, rollout_seconds=100, clock=lambda: 1e6
        )
        self.app = Control(self.store, "admin", "replica").application()
        self._asgi = httpx.ASGITransport(self.app)
        self.replicas: list[Replica] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        return await self._asgi.handle_async_request(request)

    def settings(self, **changes: Any) -> Settings:
        return Settings.model_validate(
            {
                "ray": {"address": "x"},
                "control": {"url": "http://control", "token": "replica"},
                "registry": {"url": "http://127.0.0.1:9"},
                "snapshot": self.folder / "snapshot.json",
                "snapshotKey": KEY,
                "trust": {"signature": "optional"},
                "modelCache": self.folder / "cache",
                "groups": [{"name": "shared", "route": "/v2"}, {"name": "own", "route": "/v2/models/own"}],
                "capture": {"directory": self.folder / "captures"},
            }
            | changes
        )

    async def replica(self, group: str = "shared") -> Replica:
        class Transport(httpx.AsyncBaseTransport):
            handle_async_request = staticmethod(self.handle_async_request)

        made = Replica(self.settings(), group, transport=Transport())
        self.replicas.append(made)
        await made.start()
        return made

    async def release(self, folder: Path, version: str, name: str = "small", group: str = "shared") -> None:
        files = file_hashes(folder)
        body = {"version": version, "digest": content_digest(files), "files": files, "group": group}
        async with httpx.AsyncClient(transport=self._asgi, base_url="http://control") as client:
            answer = await client.put(
                f"/v1/models/{name}/release",
                json=body | {"source": f"file:{folder}"},
                headers={"authorization": "Bearer admin"},
            )
        assert answer.status_code == 202, answer.text

    def rollout(self, name: str = "small") -> dict[str, Any]:
        found = self.store.model(name)
        assert found is not None
        return dict(found["rollout"])

    async def settled(self, name: str = "small") -> dict[str, Any]:
        await eventually(lambda: self.rollout(name)["state"] in ENDED)
        return self.rollout(name)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.02)
    monkeypatch.setattr(module, "_FIRST_STATE_SECONDS", 1.0)
    world = World(tmp_path)
    async with world.app.router.lifespan_context(world.app):
        yield world
        world.down = False
        for replica in world.replicas:
            await replica.close()


async def eventually(check: Callable[[], Any], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)


async def predict(replica: Replica, name: str = "small") -> tuple[int, Any]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(replica.ingress), base_url="http://r") as client:
        answer = await client.post(f"/v2/models/{name}/invocations", json={"dataframe_records": [ROW]})
        served = await client.get(f"/v2/models/{name}")
    version = served.json().get("parameters", {}).get("version")
    return answer.status_code, version if answer.status_code == 200 else answer.json()["error"]


def until_answered(replica: Replica, expected: tuple[int, Any]) -> Awaitable[None]:
    async def wait() -> None:
        async with asyncio.timeout(60):
            while await predict(replica) != expected:
                await asyncio.sleep(0.01)

    return wait()


async def test_release_is_served_and_promoted_and_the_next_one_replaces_it(world: World, make_artifact: Make) -> None:
    replica = await world.replica()
    assert replica.ingress.ready
    assert (await predict(replica))[0] == 404
    await world.release(make_artifact("one"), "1")
    assert (await world.settled())["state"] == "promoted"
    assert await predict(replica) == (200, "1")
    await world.release(make_artifact("two", bias=0.1), "2")
    assert (await world.settled())["state"] == "promoted"
    assert await predict(replica) == (200, "2")
    assert replica.healthy()


async def test_version_before_stays_to_answer_for_the_new_one_and_is_no_evidence(
    world: World, make_artifact: Make
) -> None:
    replica = await world.replica()
    for version in ("1", "2"):
        await world.release(make_artifact(version, bias=int(version) / 10), version)
        await world.settled()
    await until_answered(replica, (200, "2"))

    serving = replica.ingress.table.infer["/v2/models/small/infer"]
    assert serving.instead is not None
    assert (serving.version, serving.instead.version) == ("2", "1")
    assert (serving.batcher.slot.digest, serving.instead.batcher.slot.digest) == (serving.digest, "")

    await world.release(make_artifact("1", bias=0.1), "1")
    await world.settled()
    await until_answered(replica, (200, "1"))
    back = replica.ingress.table.infer["/v2/models/small/infer"]
    assert back.batcher.slot.digest == back.digest


async def test_every_replica_switches_before_the_release_is_promoted(world: World, make_artifact: Make) -> None:
    replicas = [await world.replica(), await world.replica()]
    await world.release(make_artifact(), "1")
    await world.settled()
    assert [await predict(replica) for replica in replicas] == [(200, "1"), (200, "1")]


async def test_broken_model_fails_the_rollout_and_the_old_one_goes_on(world: World, make_artifact: Make) -> None:
    replica = await world.replica()
    await world.release(make_artifact("one"), "1")
    await world.settled()
    broken = make_artifact("two")
    (broken / "model.onnx").write_bytes(b"no graph")
    await world.release(broken, "2")
    rollout = await world.settled()
    assert rollout["state"] == "failed"
    assert "ONNX Runtime cannot load it" in rollout["reason"]
    assert await predict(replica) == (200, "1")


async def test_requests_go_on_while_versions_change(world: World, make_artifact: Make) -> None:
    replica = await world.replica()
    await world.release(make_artifact("one"), "1")
    await world.settled()
    answers: list[tuple[int, Any]] = []

    async def call() -> None:
        while True:
            answers.append(await predict(replica))

    caller = asyncio.create_task(call())
    for version in ("2", "3"):
        await world.release(make_artifact(version, bias=int(version) / 10), version)
        await world.settled()
    caller.cancel()
    assert {status for status, _ in answers} == {200}
    assert [version for _, version in answers] == sorted(version for _, version in answers)


async def test_what_is_served_goes_on_when_control_is_down(world: World, make_artifact: Make) -> None:
    replica = await world.replica()
    await world.release(make_artifact("one"), "1")
    await world.settled()
    world.down = True
    await asyncio.sleep(0.2)
    assert await predict(replica) == (200, "1")
    assert replica.healthy()
    world.down = False
    await world.release(make_artifact("two", bias=0.1), "2")
    assert (await world.settled())["state"] == "promoted"


async def test_replica_starts_from_snapshot_and_cache_when_control_and_registry_are_down(
    world: World, make_artifact: Make
) -> None:
    folder = make_artifact("one")
    await world.replica()
    await world.release(folder, "1")
    await world.settled()
    world.down = True
    (folder / "model.onnx").unlink()
    late = await world.replica()
    assert late.ingress.ready
    assert await predict(late) == (200, "1")


async def test_forged_snapshot_is_not_served(world: World, make_artifact: Make) -> None:
    await world.replica()
    await world.release(make_artifact("one"), "1")
    await world.settled()
    snapshot = world.folder / "snapshot.json"
    snapshot.write_text(snapshot.read_text().replace("file:", "File:"))
    world.down = True
    late = await world.replica()
    assert (await predict(late))[0] == 404
    world.down = False
    await until_answered(late, (200, "1"))


@pytest.mark.slow
async def test_stable_version_that_cannot_be_fetched_is_tried_again(world: World, make_artifact: Make) -> None:
    folder = make_artifact("one")
    await world.replica()
    await world.release(folder, "1")
    await world.settled()
    for path in sorted((world.folder / "cache").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    moved = folder.rename(folder.with_name("away"))
    late = await world.replica()
    assert not late.ingress.ready
    assert (await predict(late))[0] == 404
    moved.rename(folder)
    await until_answered(late, (200, "1"))
    assert late.ingress.ready


async def test_deleted_model_is_no_longer_served(world: World, make_artifact: Make) -> None:
    replica = await world.replica()
    await world.release(make_artifact("one"), "1")
    await world.settled()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://c") as client:
        await client.delete("/v1/models/small", headers={"authorization": "Bearer admin"})
    await eventually(lambda: "small" not in replica.ingress.table.models)


async def test_groups_serve_their_own_models_only(world: World, make_artifact: Make) -> None:
    shared, own = await world.replica("shared"), await world.replica("own")
    await world.release(make_artifact("a"), "1", name="small", group="shared")
    await world.release(make_artifact("b"), "1", name="own", group="own")
    await world.settled("small")
    await world.settled("own")
    assert shared.ingress.table.models == ("small",)
    assert own.ingress.table.models == ("own",)


async def test_own_group_serves_its_model_while_that_still_belongs_to_the_shared_group(
    world: World, make_artifact: Make
) -> None:
    await world.replica("shared")
    await world.release(make_artifact("b"), "1", name="own", group="shared")
    await world.settled("own")
    own = await world.replica("own")
    assert await predict(own, "own") == (200, "1")


async def test_predictions_are_counted_once_and_captured(world: World, make_artifact: Make) -> None:
    replica = await world.replica()
    await world.release(make_artifact("one"), "1")
    await world.settled()
    for _ in range(5):
        await predict(replica)
    world.down = True
    await predict(replica)
    await asyncio.sleep(0.1)
    world.down = False
    await eventually(lambda: world.store.series.get(("predictions", "small", "1", "ok"), 0) >= 6)
    await asyncio.sleep(0.1)
    assert world.store.series["predictions", "small", "1", "ok"] == 6
    await replica.close()
    world.replicas.remove(replica)
    files = list((world.folder / "captures").rglob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len(rows) == 6
    assert rows[0]["output.probability"] == pytest.approx(0.85)
    assert files[0].parent.stat().st_mode & 0o077 == 0


async def test_stable_that_cannot_be_loaded_any_more_is_told_by_the_controller(
    world: World, make_artifact: Make, tmp_path: Path
) -> None:
    replica = await world.replica()
    folder = make_artifact("one")
    await world.release(folder, "1")
    await world.settled()
    await replica.close()
    world.replicas.remove(replica)
    shutil.rmtree(tmp_path / "cache")
    (folder / "model.onnx").write_bytes(b"tampered")

    await world.replica()

    def problems() -> list[Any]:
        found = world.store.model("small")
        assert found is not None
        return list(found["problems"])

    await eventually(problems)
    assert problems()[0]["version"] == "1"
    assert "holds something else than was released: model.onnx was changed" in problems()[0]["reason"]
