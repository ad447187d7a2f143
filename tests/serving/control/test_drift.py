"""Alarms of drift of what is served are put into a store for who trains: each, and not before it is in the ledger."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.control.app import Control
from serving.control.drift import Drift, DriftStore, object_name

ADMIN = {"authorization": "Bearer admin"}


class Shelf:
    """A store that can be away."""

    def __init__(self) -> None:
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.away = False

    def put(self, name: str, body: str) -> None:
        if self.away:
            raise OSError("the store is away")
        self.found.append((name, json.loads(body)))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def drift(world: Any, shelf: Shelf) -> Drift:
    """The world's controller, made anew with a store for drift."""
    made = Drift(world.store, shelf.put, retry_seconds=0.01)
    app = Control(world.store, "admin", "replica", drift=made).application()
    world.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://c", headers=ADMIN)
    await world.promoted("1")
    return made


async def report(world: Any, name: str, version: str = "1", kind: str = "drift") -> int:
    body = {"id": name, "kind": kind, "digest": world.digest(version), "reason": "distance moved", "by": "monitor"}
    answer = await world.http.post("/v1/models/m/alarms", json=body | {"action": "alert", "figures": {"psi": 0.3}})
    status: int = answer.status_code
    return status


async def test_drift_of_stable_is_put_once_below_its_model(world: Any, drift: Drift, shelf: Shelf) -> None:
    assert [await report(world, "drift/monday"), await report(world, "drift/monday")] == [202, 200]

    await drift.put_waiting()
    await drift.put_waiting()

    [(name, body)] = shelf.found
    assert name == object_name("m", "drift/monday")
    assert name.startswith("m/")
    assert (body["model"], body["id"], body["digest"]) == ("m", "drift/monday", world.digest("1"))
    assert (body["by"], body["figures"], body["at"]) == ("monitor", {"psi": 0.3}, world.now)


@pytest.mark.parametrize(("version", "kind"), [("1", "fairness"), ("7", "drift")])
async def test_what_is_not_drift_of_stable_trains_nothing(
    world: Any, drift: Drift, shelf: Shelf, version: str, kind: str
) -> None:
    assert await report(world, "a1", version, kind) == 202

    await drift.put_waiting()

    assert shelf.found == []


async def test_a_store_that_is_away_gets_what_waits_in_order_when_it_is_back(
    world: Any, drift: Drift, shelf: Shelf
) -> None:
    shelf.away = True
    await report(world, "first")
    world.now += 1
    await report(world, "second")
    with pytest.raises(OSError, match="away"):
        await drift.put_waiting()

    shelf.away = False
    # Another controller, which knows of them by the database only.
    await Drift(world.store, shelf.put).put_waiting()

    assert [body["id"] for _, body in shelf.found] == ["first", "second"]


async def test_it_runs_beside_the_controller_and_tries_again(world: Any, drift: Drift, shelf: Shelf) -> None:
    shelf.away = True
    running = asyncio.create_task(drift.run())
    await report(world, "first")
    await asyncio.sleep(0.05)
    shelf.away = False

    async with asyncio.timeout(30):
        while not shelf.found:
            await asyncio.sleep(0.01)
        shelf.found.clear()
        await report(world, "second")
        while not shelf.found:
            await asyncio.sleep(0.01)
    running.cancel()

    assert [body["id"] for _, body in shelf.found] == ["second"]


def test_an_object_is_put_whole_into_its_models_folder(tmp_path: Path) -> None:
    DriftStore(f"file://{tmp_path}/drift").put(object_name("m", "a/1"), '{"id": "a/1"}')

    [found] = tmp_path.glob("drift/m/*.json")
    assert json.loads(found.read_text()) == {"id": "a/1"}
