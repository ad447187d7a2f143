"""Alarms of monitors over HTTP: into the ledger, once, and to the rollout or the stable version that they are about."""

from typing import Any

import httpx
import pytest

from policies.ledger.events import Kind, PolicyVerdict
from policies.ledger.store import Query

VERDICTS: tuple[Kind, ...] = ("policy-verdict",)
ADMIN, REPLICA = {"authorization": "Bearer admin"}, {"authorization": "Bearer replica"}
CANARY = {"kind": "canary", "steps": [{"weight": 20, "minutes": 10}], "evidence": {"requests": 20, "smoke": 1}}


async def alarm(world: Any, version: str, action: str = "rollback", name: str = "a1", **changes: Any) -> httpx.Response:
    body = {"id": name, "kind": "drift", "digest": world.digest(version), "reason": "distance moved", "action": action}
    answer = await world.http.post("/v1/models/m/alarms", json=body | {"by": "monitor"} | changes)
    assert isinstance(answer, httpx.Response)
    return answer


def verdicts(world: Any) -> list[PolicyVerdict]:
    found = world.store.ledger.entries(Query(model="m", kinds=VERDICTS))
    events = [entry.event() for entry in found]
    return [one for one in events if isinstance(one, PolicyVerdict) and one.person == "monitor"]


async def test_alarm_about_stable_takes_it_back_and_is_in_the_ledger(world: Any) -> None:
    await world.promoted("1")
    await world.promoted("2")
    answer = await alarm(world, "2", figures={"psi": 0.4})
    assert (answer.status_code, answer.json()) == (202, {"accepted": True, "about": "stable"})
    await world.second()
    assert await world.served() == "1"
    assert [one["digest"] for one in (await world.model())["quarantined"]] == [world.digest("2")]
    (verdict,) = verdicts(world)
    assert (verdict.rule, verdict.digest, verdict.reasons) == ("monitor:drift", world.digest("2"), ("distance moved",))
    assert verdict.evidence == {"action": "rollback", "about": "stable", "psi": 0.4}


async def test_alarm_counts_once(world: Any) -> None:
    await world.promoted("1")
    first, again = await alarm(world, "1", "alert"), await alarm(world, "1", "alert")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {"accepted": False, "about": "stable"}
    other = await alarm(world, "1", "rollback")
    assert other.status_code == 409
    assert "an alarm does not change" in other.json()["error"]
    assert len(verdicts(world)) == 1
    assert 'mlops_alarms_total{model="m",action="alert"} 1' in (await world.http.get("/metrics")).text


@pytest.mark.parametrize(("action", "state"), [("rollback", "rolled-back"), ("pause", "paused"), ("alert", "step")])
async def test_alarm_about_the_candidate_acts_on_the_rollout(world: Any, action: str, state: str) -> None:
    await world.promoted("1")
    await world.release("2", **CANARY)
    await world.second()
    answer = await alarm(world, "2", action)
    assert answer.json() == {"accepted": True, "about": "candidate"}
    await world.second()
    assert (await world.model())["rollout"]["state"] == state
    assert await world.served() == "1"


async def test_alarm_about_stable_during_a_rollout_is_heeded_when_that_is_over(world: Any) -> None:
    await world.promoted("1")
    await world.promoted("2")
    await world.release("3", **CANARY)
    await world.second()
    assert (await alarm(world, "2")).json()["about"] == "stable"
    assert await world.served() == "2"
    await world.http.post("/v1/models/m/rollout/abort", json={"by": "ada"})
    for _ in range(3):
        await world.second()
    assert await world.served() == "1"


async def test_alert_and_an_unknown_version_change_nothing(world: Any) -> None:
    await world.promoted("1")
    await world.promoted("2")
    await alarm(world, "2", "alert")
    assert (await alarm(world, "7", name="a2")).json() == {"accepted": True, "about": "none"}
    await world.second()
    assert await world.served() == "2"
    assert len(verdicts(world)) == 2


async def test_policy_of_the_model_may_say_alert_only(world: Any) -> None:
    await world.promoted("1")
    await world.release("2", kind="all-at-once", bakeMinutes=0, after={"action": "alert"})
    for _ in range(5):
        await world.second()
    await alarm(world, "2")
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
async def test_malformed_alarms_are_refused(world: Any, change: dict[str, Any], message: str) -> None:
    await world.promoted("1")
    answer = await alarm(world, "1", **change)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(message)
    assert not verdicts(world)


async def test_alarms_need_the_admin_token_and_a_model(world: Any) -> None:
    body = {"id": "a", "kind": "drift", "digest": world.digest("1"), "reason": "x"}
    assert (await world.http.post("/v1/models/m/alarms", json=body, headers=REPLICA)).status_code == 401
    assert (await world.http.post("/v1/models/m/labels", json={}, headers=ADMIN)).status_code == 401
    assert (await world.http.post("/v1/models/m/alarms", json=body)).status_code == 404
