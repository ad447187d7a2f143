"""Alarms of monitors over HTTP: into the ledger, once, and to the rollout or the stable version that they are about."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from policies.ledger.events import Kind, PolicyVerdict
from policies.ledger.store import Query
from serving.control.app import Control
from serving.control.store import Store
from serving.runtime.artifact import content_digest

VERDICTS: tuple[Kind, ...] = ("policy-verdict",)
ADMIN, REPLICA = {"authorization": "Bearer admin"}, {"authorization": "Bearer replica"}
CANARY = {"kind": "canary", "steps": [{"weight": 20, "minutes": 10}], "evidence": {"requests": 20, "smoke": 1}}


def digest(version: str) -> str:
    return content_digest({"model.onnx": version.zfill(64)})


class World:
    """A controller, and a replica and an actuator that do what they are told."""

    def __init__(self, folder: Path) -> None:
        self.now = 1e6
        self.store = Store(f"sqlite:///{folder}/c.db", folder / "s", "key", rollout_seconds=100, clock=lambda: self.now)
        self.app = Control(self.store, "admin", "replica").application()
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://c", headers=ADMIN)

    async def release(self, version: str, **strategy: Any) -> None:
        files = {"model.onnx": version.zfill(64)}
        body = {"version": version, "digest": digest(version), "source": "file:/x", "files": files, "group": "shared"}
        answer = await self.http.put("/v1/models/m/release", json=body | {"strategy": strategy})
        assert answer.status_code == 202, answer.text

    async def second(self) -> None:
        self.now += 1
        entry = self.store.state.models["m"]
        up = {"status": "ready", "reason": "", "fault": "platform"}
        self.store.applications({one.name: up | {"digest": one.release.digest} for one in entry.candidates})
        entry = self.store.state.models["m"]
        loaded = [one for one in (entry.stable, entry.previous, entry.next) if one]
        status = {
            "serving": entry.stable and {"version": entry.stable.version, "digest": entry.stable.digest},
            "versions": [{"version": one.version, "digest": one.digest, "error": None} for one in loaded],
            "split": entry.split.generation,
        }
        report = {"group": "shared", "generation": 1, "models": {"m": status}, "counters": []}
        self.store.report("r1", report)

    async def promoted(self, version: str) -> None:
        await self.release(version, kind="all-at-once", bakeMinutes=0)
        for _ in range(5):
            await self.second()
        assert await self.served() == version

    async def model(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/v1/models/m")).json()
        return found

    async def served(self) -> str | None:
        return ((await self.model())["served"] or {}).get("version")

    async def alarm(self, version: str, action: str = "rollback", name: str = "a1", **changes: Any) -> httpx.Response:
        body = {"id": name, "kind": "drift", "digest": digest(version), "reason": "distance moved", "action": action}
        return await self.http.post("/v1/models/m/alarms", json=body | {"by": "monitor"} | changes)

    def verdicts(self) -> list[PolicyVerdict]:
        found = self.store.ledger.entries(Query(model="m", kinds=VERDICTS))
        events = [entry.event() for entry in found]
        return [one for one in events if isinstance(one, PolicyVerdict) and one.person == "monitor"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.http.aclose()
    world.store.close()


async def test_alarm_about_stable_takes_it_back_and_is_in_the_ledger(world: World) -> None:
    await world.promoted("1")
    await world.promoted("2")
    answer = await world.alarm("2", figures={"psi": 0.4})
    assert (answer.status_code, answer.json()) == (202, {"accepted": True, "about": "stable"})
    await world.second()
    assert await world.served() == "1"
    assert [one["digest"] for one in (await world.model())["quarantined"]] == [digest("2")]
    (verdict,) = world.verdicts()
    assert (verdict.rule, verdict.digest, verdict.reasons) == ("monitor:drift", digest("2"), ("distance moved",))
    assert verdict.evidence == {"action": "rollback", "about": "stable", "psi": 0.4}


async def test_alarm_counts_once(world: World) -> None:
    await world.promoted("1")
    first, again = await world.alarm("1", "alert"), await world.alarm("1", "alert")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {"accepted": False, "about": "stable"}
    other = await world.alarm("1", "rollback")
    assert other.status_code == 409
    assert "an alarm does not change" in other.json()["error"]
    assert len(world.verdicts()) == 1
    assert 'mlops_alarms_total{model="m",action="alert"} 1' in (await world.http.get("/metrics")).text


@pytest.mark.parametrize(("action", "state"), [("rollback", "failed"), ("pause", "paused"), ("alert", "smoke")])
async def test_alarm_about_the_candidate_acts_on_the_rollout(world: World, action: str, state: str) -> None:
    await world.promoted("1")
    await world.release("2", **CANARY)
    await world.second()
    answer = await world.alarm("2", action)
    assert answer.json() == {"accepted": True, "about": "candidate"}
    await world.second()
    assert (await world.model())["rollout"]["state"] == state
    assert await world.served() == "1"


async def test_alarm_about_stable_during_a_rollout_is_heeded_when_that_is_over(world: World) -> None:
    await world.promoted("1")
    await world.promoted("2")
    await world.release("3", **CANARY)
    await world.second()
    assert (await world.alarm("2")).json()["about"] == "stable"
    assert await world.served() == "2"
    await world.http.post("/v1/models/m/rollout/abort", json={"by": "ada"})
    for _ in range(3):
        await world.second()
    assert await world.served() == "1"


async def test_alert_and_an_unknown_version_change_nothing(world: World) -> None:
    await world.promoted("1")
    await world.promoted("2")
    await world.alarm("2", "alert")
    assert (await world.alarm("7", name="a2")).json() == {"accepted": True, "about": "none"}
    await world.second()
    assert await world.served() == "2"
    assert len(world.verdicts()) == 2


async def test_policy_of_the_model_may_say_alert_only(world: World) -> None:
    await world.promoted("1")
    await world.release("2", kind="all-at-once", bakeMinutes=0, after={"action": "alert"})
    for _ in range(5):
        await world.second()
    await world.alarm("2")
    await world.second()
    assert await world.served() == "2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": "explode"}, "action: "),
        ({"id": "a b"}, "id: "),
        ({"kind": "Drift!"}, "kind: "),
        ({"reason": ""}, "reason: "),
        ({"colour": 1}, "colour: "),
        ({"figures": {"x": "y"}}, "figures.x: "),
    ],
)
async def test_malformed_alarms_are_refused(world: World, change: dict[str, Any], message: str) -> None:
    await world.promoted("1")
    answer = await world.alarm("1", **change)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(message)
    assert not world.verdicts()


async def test_alarms_need_the_admin_token_and_a_model(world: World) -> None:
    body = {"id": "a", "kind": "drift", "digest": digest("1"), "reason": "x"}
    assert (await world.http.post("/v1/models/m/alarms", json=body, headers=REPLICA)).status_code == 401
    assert (await world.http.post("/v1/models/m/labels", json={}, headers=ADMIN)).status_code == 401
    assert (await world.http.post("/v1/models/m/alarms", json=body)).status_code == 404
