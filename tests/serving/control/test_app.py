import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from serving.control.app import Control
from serving.control.database import Database
from serving.control.store import Store
from serving.counters import BUCKETS
from serving.runtime.artifact import content_digest

ADMIN, REPLICA = {"authorization": "Bearer admin"}, {"authorization": "Bearer replica"}
FILES = {"model.onnx": "0" * 64}
RELEASE = {"version": "1", "digest": content_digest(FILES), "source": "file:/x", "files": FILES, "group": "shared"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    store = Store(f"sqlite:///{tmp_path}/c.db", tmp_path / "s.json", "key", rollout_seconds=100, clock=lambda: 1e6)
    app = Control(store, "admin", "replica").application()
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://c") as client:
        yield client


def report(*, loaded: bool = True, serving: bool = False, **changes: Any) -> dict[str, Any]:
    one = {"version": "1", "digest": RELEASE["digest"], "error": None}
    status = {"serving": one if serving else None, "versions": [one] if loaded else []}
    return {"group": "shared", "generation": 1, "models": {"flight": status}, "counters": []} | changes


async def release(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await client.put("/v1/models/flight/release", json=RELEASE | changes, headers=ADMIN)


async def test_release_is_followed_until_it_is_promoted(client: httpx.AsyncClient) -> None:
    started = await release(client, strategy={"kind": "all-at-once"}, approval=None)
    assert started.status_code == 202
    assert started.json()["rollout"]["state"] == "starting"
    for body in (report(), report(serving=True)):
        assert (await client.post("/v1/replicas/r1", json=body, headers=REPLICA)).json() == {"acknowledged": 0}
    found = (await client.get("/v1/models/flight", headers=ADMIN)).json()
    assert found["served"] == {"version": "1", "digest": RELEASE["digest"]}
    assert found["group"] == "shared"
    assert found["rollout"]["state"] == "promoted"
    assert (await client.get("/v1/models", headers=ADMIN)).json()["models"] == [found]
    assert (await client.delete("/v1/models/flight", headers=ADMIN)).status_code == 200
    assert (await client.get("/v1/models/flight", headers=ADMIN)).status_code == 404
    assert (await client.delete("/v1/models/flight", headers=ADMIN)).status_code == 404


async def test_long_poll_answers_when_something_changes(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/state?after=-1&timeout=0", headers=REPLICA)).json()
    assert first == {"generation": 0, "models": {}}
    waiting = asyncio.create_task(client.get("/v1/state?after=0&timeout=60", headers=REPLICA))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await release(client)
    state = (await asyncio.wait_for(waiting, 50)).json()
    assert state["generation"] == 1
    assert state["models"]["flight"]["next"]["version"] == "1"
    assert state["models"]["flight"]["stable"] is None


async def test_long_poll_answers_at_its_timeout_with_the_same_state(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/state?after=0&timeout=0.05", headers=REPLICA)
    assert answer.json()["generation"] == 0


async def test_state_of_an_older_generation_is_given_at_once(client: httpx.AsyncClient) -> None:
    answer = await asyncio.wait_for(client.get("/v1/state?after=99&timeout=60", headers=REPLICA), 50)
    assert answer.json()["generation"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/flight"),
        ("PUT", "/v1/models/flight/release"),
        ("DELETE", "/v1/models/flight"),
        ("GET", "/v1/state"),
        ("POST", "/v1/replicas/r1"),
        ("POST", "/v1/applications"),
        ("POST", "/v1/models/flight/rollout/abort"),
        ("POST", "/v1/models/flight/approvals"),
        ("GET", "/v1/models/flight/history"),
        ("GET", "/v1/audit/entries"),
        ("GET", "/v1/audit/export"),
        ("GET", "/v1/audit/serving"),
        ("POST", "/v1/audit/verify"),
    ],
)
async def test_everything_but_health_and_metrics_needs_its_token(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    wrong = REPLICA if "models" in path or "audit" in path else {"authorization": "Bearer x"}
    for headers in ({}, wrong):
        answer = await client.request(method, path, headers=headers, json={})
        assert answer.status_code == 401
        assert "error" in answer.json()
    assert (await client.get("/v1/health")).json() == {"status": "ok"}
    assert (await client.get("/metrics")).status_code == 200


async def test_replica_reports_need_the_replicas_token(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/replicas/r1", json=report(), headers=ADMIN)).status_code == 401


async def test_the_token_may_come_in_a_header_that_api_servers_pass_on(client: httpx.AsyncClient) -> None:
    inner = {"x-mlops-authorization": ADMIN["authorization"]}

    assert (await client.get("/v1/models", headers=inner)).status_code == 200
    # An API server that passes its own token on as well does not stand in the way.
    both = {**inner, "authorization": "Bearer k8s-aws-v1.x"}
    assert (await client.get("/v1/models", headers=both)).status_code == 200
    wrong = {"x-mlops-authorization": REPLICA["authorization"]}
    assert (await client.get("/v1/models", headers=wrong)).status_code == 401


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": "sha256:" + "1" * 64}, "the list of files has digest"),
        ({"version": 1}, "release.version: expected a non-empty string"),
        ({"group": ""}, "release.group"),
        ({"colour": 1}, "colour: unknown key; allowed: approval, digest"),
        ({"strategy": {"kind": "canary", "steps": [{"weight": 100}]}}, "strategy: a step's weight is below 100"),
        ({"strategy": {"kind": "red-green"}}, "strategy.kind: Input should be"),
        ({"version": "0"}, "version '0': expected a whole number above 0"),
        ({"approval": {}}, "approval: an approval is of a manifest"),
        ({"manifest": {}}, "manifest: model: Field required"),
        ({"requestedBy": "A B"}, "by: expected a name without spaces"),
        ({"strategy": "canary"}, "strategy: expected an object"),
    ],
)
async def test_wrong_release_is_refused_with_the_reason(
    client: httpx.AsyncClient, changes: dict[str, Any], message: str
) -> None:
    answer = await release(client, **changes)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert (await client.get("/v1/models/flight", headers=ADMIN)).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 422), (b"[" * 100_000, 400), (b" " * 5_000_000, 413)]
)
async def test_bodies_that_are_no_json_object_are_refused(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    for method, path, headers in (("PUT", "/v1/models/m/release", ADMIN), ("POST", "/v1/replicas/r", REPLICA)):
        answer = await client.request(method, path, content=body, headers=headers)
        assert answer.status_code == status
        assert "error" in answer.json()


async def test_metrics_page_can_be_parsed_and_adds_up(client: httpx.AsyncClient) -> None:
    await release(client)
    await client.post("/v1/replicas/r1", json=report(), headers=REPLICA)
    counts = {
        "model": "flight",
        "version": 'a"b\\c\n',
        "outcomes": {"ok": 3, "refused": 1},
        "buckets": [1, 1, *[0] * (len(BUCKETS) - 2), 1],
        "seconds": 10.5,
    }
    batch = {"sequence": 1, "series": [counts], "dropped": {"flight": 4}}
    body = report(serving=True, counters=[batch])
    assert (await client.post("/v1/replicas/r1", json=body, headers=REPLICA)).json() == {"acknowledged": 1}
    text = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in families.values()
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[name, json.dumps(labels, sort_keys=True)]

    one = {"model": "flight", "version": 'a"b\\c\n'}
    assert value("mlops_predictions_total", **one, outcome="ok") == 3
    assert value("mlops_predictions_total", **one, outcome="refused") == 1
    assert value("mlops_prediction_latency_seconds_bucket", **one, le="0.0005") == 1
    assert value("mlops_prediction_latency_seconds_bucket", **one, le="0.001") == 2
    assert value("mlops_prediction_latency_seconds_bucket", **one, le="+Inf") == 3
    assert value("mlops_prediction_latency_seconds_count", **one) == 3
    assert value("mlops_prediction_latency_seconds_sum", **one) == 10.5
    assert value("mlops_capture_dropped_total", model="flight") == 4
    assert value("mlops_rollouts_total", model="flight", state="promoted") == 1
    assert value("mlops_replicas", group="shared") == 1
    info = {"model": "flight", "version": "1", "digest": str(RELEASE["digest"]), "role": "stable", "group": "shared"}
    assert value("mlops_model_version_info", **info) == 1
    assert value("mlops_control_generation") == 3
    assert families["mlops_prediction_latency_seconds"].type == "histogram"


async def command(client: httpx.AsyncClient, name: str, **body: Any) -> httpx.Response:
    return await client.post(f"/v1/models/flight/rollout/{name}", json=body, headers=ADMIN)


async def test_commands_say_what_is_possible(client: httpx.AsyncClient) -> None:
    assert (await command(client, "abort")).status_code == 404
    await release(client, strategy={"kind": "canary"}, requestedBy="ann")
    assert (await command(client, "explode")).status_code == 404
    refused = await command(client, "promote", by="ann")
    assert refused.status_code == 409
    assert refused.json()["error"].endswith("while it is starting; possible now: abort, rollback")
    assert (await command(client, "abort", by="a b")).status_code == 422
    done = await command(client, "abort", by="ann", reason="mistake")
    assert done.status_code == 200
    assert (done.json()["rollout"]["state"], done.json()["rollout"]["reason"]) == ("aborted", "abort by ann: mistake")
    assert (await command(client, "abort", by="ann")).status_code == 409


async def test_a_database_that_is_away_is_said_to_be_and_asking_again_helps(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise sa.exc.OperationalError("BEGIN", {}, ConnectionRefusedError("nobody listens"))

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", away)
        refused = await release(client)
    again = await release(client)

    assert refused.status_code == 503
    assert "the controller's database does not answer" in refused.json()["error"]
    assert again.status_code == 202


async def test_candidates_are_published_and_reported(client: httpx.AsyncClient) -> None:
    await release(client)
    for body in (report(), report(serving=True)):
        await client.post("/v1/replicas/r1", json=body, headers=REPLICA)
    files = {"model.onnx": "1" * 64}
    await release(client, version="2", files=files, digest=content_digest(files), strategy={"kind": "canary"})
    state = (await client.get("/v1/state?after=-1&timeout=0", headers=REPLICA)).json()["models"]["flight"]
    assert [(one["name"], one["role"]) for one in state["candidates"]] == [("candidate-flight-2", "canary")]
    told = {"digest": content_digest(files), "status": "failed", "reason": "crashed", "fault": "model"}
    answer = await client.post("/v1/applications", json={"applications": {"candidate-flight-2": told}}, headers=REPLICA)
    assert answer.status_code == 200
    found = (await client.get("/v1/models/flight", headers=ADMIN)).json()
    assert (found["rollout"]["state"], found["rollout"]["reason"]) == ("failed", "candidate failed to start: crashed")
    assert found["quarantined"][0]["digest"] == content_digest(files)
    bad: list[dict[str, Any]] = [{"applications": []}, {"applications": {"x": {}}}]
    bad.append({"applications": {"x": told | {"status": "ok"}}})
    for wrong in bad:
        assert (await client.post("/v1/applications", json=wrong, headers=REPLICA)).status_code == 422


async def test_ledger_can_be_read_verified_and_exported(client: httpx.AsyncClient) -> None:
    await release(client, requestedBy="ann")
    for body in (report(), report(serving=True)):
        await client.post("/v1/replicas/r1", json=body, headers=REPLICA)
    lines = (await client.get("/v1/audit/entries?after=1&limit=3", headers=ADMIN)).text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [2, 3, 4]
    history = (await client.get("/v1/models/flight/history?limit=2", headers=ADMIN)).json()["entries"]
    assert [entry["kind"] for entry in history] == ["release-step", "release-step"]
    verified = (await client.post("/v1/audit/verify", headers=ADMIN)).json()
    assert (verified["ok"], verified["firstBad"]) == (True, None)
    served = (await client.get("/v1/audit/serving?model=flight&at=2001-01-01", headers=ADMIN)).json()
    assert served["stable"]["version"] == "1"
    assert served["approvers"][0]["principal"] == "rule:local"
    exported = (await client.get("/v1/audit/export", headers=ADMIN)).text.splitlines()
    assert json.loads(exported[-1]) == {"type": "end", "entries": verified["entries"], "checkpoints": 0}
    for path in ("entries?after=x", "serving", "serving?model=m&at=noon"):
        assert (await client.get(f"/v1/audit/{path}", headers=ADMIN)).status_code == 422
