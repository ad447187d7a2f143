"""From a prediction over its label to the rollback: a real ingress and a real controller, in one process, over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from policies.ledger.events import Kind, Rollback
from policies.ledger.store import Query
from serving import replica as module
from serving.config import Settings
from serving.control import joining
from serving.control.app import Control
from serving.control.captures import Captures
from serving.control.joining import Joiner
from serving.control.store import Store
from serving.replica import Replica
from serving.runtime.artifact import content_digest, file_hashes

Make = Callable[..., Path]
KEY = "snapshot-key-of-16"
ROLLBACKS: tuple[Kind, ...] = ("rollback",)
ADMIN = {"authorization": "Bearer admin"}
TOKEN = {"authorization": "Bearer secret"}
ROW = {"distance": 600, "hour": 9, "carrier": "UA"}
"""The small model's label of this row is 1."""
AT_ONCE = {"kind": "all-at-once", "bakeMinutes": 0, "after": {"qualityLabels": 10}}


class World:
    """A controller that can be switched off, and one replica."""

    def __init__(self, folder: Path, *, captured: bool = True) -> None:
        self.folder, self.captured = folder, captured
        self.down = False
        self.store = Store(
            f"sqlite:///{folder}/c.db", folder / "snapshot.json", KEY, rollout_seconds=100, clock=lambda: 1e6
        )
        labels = Joiner(self.store, Captures(folder / "captures"), 30, lambda: 1e6) if captured else None
        self.app = Control(self.store, "admin", "replica", labels=labels).application()
        self._asgi = httpx.ASGITransport(self.app)
        self.control = httpx.AsyncClient(transport=self._asgi, base_url="http://control", headers=ADMIN)
        self.replica: Replica
        self.http: httpx.AsyncClient

    async def start(self, group: str) -> None:
        world = self

        class Transport(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if world.down:
                    raise httpx.ConnectError("refused")
                return await world._asgi.handle_async_request(request)

        settings = Settings.model_validate(
            {
                "ray": {"address": "x"},
                "control": {"url": "http://control", "token": "replica"},
                "registry": {"url": "http://127.0.0.1:9"},
                "inferenceToken": "secret",
                "snapshot": self.folder / "snapshot.json",
                "snapshotKey": KEY,
                "trust": {"signature": "optional"},
                "modelCache": self.folder / "cache",
                "groups": [{"name": "shared", "route": "/v2"}, {"name": "own", "route": "/v2/models/small"}],
                "capture": {"directory": self.folder / "captures", "enabled": self.captured, "rotateSeconds": 0.02},
            }
        )
        self.replica = Replica(settings, group, transport=Transport())
        await self.replica.start()
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.replica.ingress), base_url="http://r", headers=TOKEN
        )

    async def release(self, folder: Path, version: str, group: str) -> str:
        """Release a version and wait until it is promoted."""
        files = file_hashes(folder)
        body = {"version": version, "digest": content_digest(files), "files": files, "group": group}
        answer = await self.control.put(
            "/v1/models/small/release", json=body | {"source": f"file:{folder}", "strategy": AT_ONCE}
        )
        assert answer.status_code == 202, answer.text
        await eventually(lambda: self.model()["rollout"]["state"] == "promoted" and self.served() == version)
        return str(body["digest"])

    def model(self) -> dict[str, Any]:
        found = self.store.model("small")
        assert found is not None
        return found

    def served(self) -> str | None:
        return (self.model()["served"] or {}).get("version")

    async def predict(self, count: int, rows: int = 1) -> list[str]:
        """Predict, and return the ids that the answers carry."""
        ids = []
        for _ in range(count):
            answer = await self.http.post("/v2/models/small/invocations", json={"dataframe_records": [ROW] * rows})
            assert answer.status_code == 200, answer.text
            ids.append(answer.headers["x-request-id"])
        return ids

    async def label(self, ids: list[str], label: Any) -> httpx.Response:
        body = {"labels": [{"id": one, "label": label} for one in ids]}
        return await self.http.post("/v2/models/small/feedback", json=body)

    def series(self, kind: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for (own, _, _, label), value in self.store.series.items():
            if own == kind:
                found[label] = found.get(label, 0) + value
        return found


async def eventually(check: Callable[[], Any], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)


@pytest.fixture(params=["shared", "own"])
def group(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def captured() -> bool:
    return True


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, captured: bool) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "_REPORT_SECONDS", 0.02)
    monkeypatch.setattr(joining, "_LOOK_SECONDS", 0.02)
    world = World(tmp_path, captured=captured)
    async with world.app.router.lifespan_context(world.app):
        await world.start(group)
        yield world
        world.down = False
        await world.http.aclose()
        await world.replica.close()
        await world.control.aclose()


@pytest.mark.slow
async def test_wrong_labels_take_the_version_back_by_themselves(world: World, make_artifact: Make, group: str) -> None:
    await world.release(make_artifact("one"), "1", group)
    bad = await world.release(make_artifact("two", bias=0.1), "2", group)
    first, later = await world.predict(20), await world.predict(20)
    assert (await world.label(first, 1)).json() == {"model_name": "small", "accepted": 20, "known": 0}
    await eventually(lambda: world.series("labelled") == {"right": 20})
    assert world.served() == "2"

    assert (await world.label(later, 0)).status_code == 200
    await eventually(lambda: world.served() == "1")

    # It goes back as soon as enough labels say so; the others are counted all the same.
    await eventually(lambda: world.series("labelled") == {"right": 20, "wrong": 20})
    assert [one["digest"] for one in world.model()["quarantined"]] == [bad]
    entries = world.store.ledger.entries(Query(model="small", kinds=ROLLBACKS))
    (event,) = [entry.event() for entry in entries]
    assert isinstance(event, Rollback)
    assert (event.trigger, event.digest, event.to_version) == ("quality", bad, "1")
    assert "accuracy fell from 1.000 to 0." in event.reason
    # The first ten or more that were right are the reference; those that came apart from them count beside the wrong.
    before, since, wrong = (float(str(event.evidence[name])) for name in ("labelsBefore", "labels", "wrong"))
    assert before >= 10
    assert since >= 10
    assert wrong <= 20
    assert before + since - wrong == 20


@pytest.mark.parametrize("group", ["shared"])
async def test_labels_count_once_however_often_they_are_sent(world: World, make_artifact: Make, group: str) -> None:
    await world.release(make_artifact("one"), "1", group)
    ids = await world.predict(2)
    assert (await world.label(ids, 1)).json()["accepted"] == 2
    assert (await world.label(ids, 1)).json() == {"model_name": "small", "accepted": 0, "known": 2}
    other = await world.label(ids[:1], 0)
    assert other.status_code == 409
    assert f"another label is stored already for {ids[0]} row 0" in other.json()["error"]
    await eventually(lambda: world.series("labelled") == {"right": 2})
    assert world.series("labels") == {"received": 2, "joined": 2}


@pytest.mark.parametrize("group", ["shared"])
async def test_rows_of_one_request_have_labels_of_their_own(world: World, make_artifact: Make, group: str) -> None:
    await world.release(make_artifact("one"), "1", group)
    ids = await world.predict(1, rows=3)
    assert (await world.label(ids, [1, None, 0])).json()["accepted"] == 2
    await eventually(lambda: world.series("labelled") == {"right": 1, "wrong": 1})


@pytest.mark.parametrize("group", ["shared"])
async def test_labels_are_refused_honestly_while_control_is_away(world: World, make_artifact: Make, group: str) -> None:
    await world.release(make_artifact("one"), "1", group)
    ids = await world.predict(1)
    world.down = True
    refused = await world.label(ids, 1)
    assert refused.status_code == 503
    assert refused.json() == {"error": "the labels cannot be stored now; send the labels again, each counts once"}
    assert refused.headers["retry-after"] == "1"
    assert len(await world.predict(1)) == 1
    world.down = False
    assert (await world.label(ids, 1)).json()["accepted"] == 1


@pytest.mark.parametrize("group", ["shared"])
async def test_errors_have_the_protocols_form(world: World, make_artifact: Make, group: str) -> None:
    await world.release(make_artifact("one"), "1", group)
    path = "/v2/models/small/feedback"

    async def status(**request: Any) -> tuple[int, str]:
        answer = await world.http.post(path, **request)
        return answer.status_code, answer.json()["error"]

    assert await status(json={"labels": []}) == (400, 'the body must be {"labels": [{"id": "…", "label": …}, …]} '
                                                 "with at least one label")  # fmt: skip
    assert (await status(content=b"x" * (1024 * 1024 + 1)))[0] == 413
    assert (await status(json={}, headers={"authorization": "Bearer wrong"}))[0] == 401
    assert (await world.http.get(path)).status_code == 405
    missing = await world.http.post("/v2/models/other/feedback", json={})
    assert missing.status_code == 404
    assert "unknown model 'other'" in missing.json()["error"]


@pytest.mark.parametrize("captured", [False])
@pytest.mark.parametrize("group", ["shared"])
async def test_labels_are_refused_where_nothing_is_captured(world: World, make_artifact: Make, group: str) -> None:
    await world.release(make_artifact("one"), "1", group)
    refused = await world.label(await world.predict(1), 1)
    assert refused.status_code == 409
    assert "captures no predictions" in refused.json()["error"]
