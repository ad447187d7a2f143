import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving import shadows
from serving.auth import Bearer
from serving.batching import Limits
from serving.counters import Counters
from serving.features import FeatureStore
from serving.ingress import Ingress, Options
from serving.runtime import model
from serving.runtime.contract import FeatureLookup
from serving.runtime.signature import Signature
from serving.shadows import Copy, Mirror, Shadow, unpack_copies
from serving.table import Served, Table
from serving.traffic import SLOTS, Split

Make = Callable[..., Path]
TOKEN = {"authorization": "Bearer secret"}


class Stand:
    """An ingress with the small model as version 2, and version 1 kept warm."""

    def __init__(self, folder: Path, features: FeatureStore | None = None, **limits: Any) -> None:
        self.counters = Counters()
        self.executor = ThreadPoolExecutor(1)
        self.ingress = Ingress(Options(max_body=4096, seconds=0.5), Bearer("secret"), features)
        self.loaded = model.load(folder)
        versions = [
            Served.make(
                "small",
                version,
                f"sha256:{version}",
                self.loaded,
                limits=Limits(**limits),
                max_rows=8,
                executor=self.executor,
                counters=self.counters,
                capture=None,
            )
            for version in ("2", "1")
        ]
        self.stable = versions[0]
        self.ingress.table = Table.build(versions[:1], versions[1:])
        self.ingress.ready = True
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.ingress), base_url="http://test", headers=TOKEN
        )

    def outcomes(self) -> dict[str, int]:
        return {str(name): count for name, count in self.counters.slot("small", "2").outcomes.items()}


@pytest.fixture
async def stand(artifact: Path) -> AsyncIterator[Stand]:
    stand = Stand(artifact)
    yield stand
    await stand.client.aclose()
    stand.executor.shutdown()


def infer(distance: Any = 600.0, hour: Any = 9, carrier: Any = "UA") -> dict[str, Any]:
    values = {"distance": ("FP32", distance), "hour": ("INT64", hour), "carrier": ("BYTES", carrier)}
    return {"inputs": [{"name": n, "datatype": t, "shape": [1], "data": [v]} for n, (t, v) in values.items()]}


async def test_infer_answers_with_the_stable_version(stand: Stand) -> None:
    answer = await stand.client.post("/v2/models/small/infer", json=infer() | {"id": "mine"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("small", "2", "mine")
    assert body["outputs"][0] == {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}
    assert body["outputs"][1]["data"] == [pytest.approx(0.85)]
    assert stand.outcomes() == {"ok": 1}


async def test_a_version_in_the_path_reaches_that_version(stand: Stand) -> None:
    answer = await stand.client.post("/v2/models/small/versions/1/infer", json=infer())
    assert answer.json()["model_version"] == "1"
    missing = await stand.client.post("/v2/models/small/versions/9/infer", json=infer())
    assert missing.status_code == 404
    assert missing.json() == {"error": "model 'small' has no version '9' that is loaded here"}


async def test_invocations_answers_in_mlflows_form(stand: Stand) -> None:
    record = {"distance": 600, "hour": 9, "carrier": "UA"}
    answer = await stand.client.post("/v2/models/small/invocations", json={"dataframe_records": [record]})
    assert answer.json() == {"predictions": [{"label": 1, "probability": pytest.approx(0.85)}]}


async def test_metadata_and_listing(stand: Stand) -> None:
    get = stand.client.get
    assert (await get("/v2")).json()["extensions"] == ["binary_tensor_data", "model_repository"]
    metadata = (await get("/v2/models/small")).json()
    assert metadata["versions"] == ["2", "1"]
    assert metadata["platform"] == "onnxruntime_onnx"
    assert metadata["inputs"][2] == {"name": "carrier", "datatype": "BYTES", "shape": [-1]}
    assert metadata["parameters"]["digest"] == "sha256:2"
    assert (await get("/v2/models/small/versions/1")).json()["versions"] == ["1"]
    assert (await get("/v2/models/small/ready")).json() == {"name": "small", "ready": True}
    assert (await get("/v2/models")).json() == {"models": ["small"]}
    index = (await stand.client.post("/v2/repository/index")).json()
    assert index == [{"name": "small", "version": "2", "state": "READY", "reason": ""}]


async def test_health_is_open_and_ready_says_whether_models_are_loaded(stand: Stand) -> None:
    stand.client.headers.pop("authorization")
    assert (await stand.client.get("/v2/health/live")).status_code == 200
    assert (await stand.client.get("/v2/health/ready")).status_code == 200
    stand.ingress.ready = False
    assert (await stand.client.get("/v2/health/ready")).status_code == 503
    assert (await stand.client.get("/v2/health/live")).status_code == 200


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic secret", "Bearer secret2", "bearer secret"])
@pytest.mark.parametrize("path", ["/v2", "/v2/models/small", "/v2/models/small/infer", "/v2/models/other"])
async def test_all_else_needs_the_token(stand: Stand, header: str | None, path: str) -> None:
    stand.client.headers.pop("authorization")
    answer = await stand.client.post(path, headers={} if header is None else {"authorization": header}, json=infer())
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "error" in answer.json()


BAD = [
    (b"{", 400, "not JSON"),
    (b"", 400, "not JSON"),
    (b"\xff\xfe", 400, "not JSON"),
    (b"[" * 4000, 400, "not JSON"),
    (b"[1]", 400, "must be a JSON object"),
    (json.dumps(infer(distance="far")).encode(), 400, "input 'distance', row 0: 'far' is not a number"),
    (json.dumps(infer(distance=float("nan"))).encode(), 400, "NaN and Infinity are not JSON"),
    (json.dumps(infer(hour=None)).encode(), 400, "input 'hour', row 0: null"),
    (json.dumps({"inputs": infer()["inputs"][:1]}).encode(), 400, "missing inputs: hour, carrier"),
    (b" " * 5000, 413, "at most 4096 are allowed"),
]


@pytest.mark.parametrize(("body", "status", "message"), BAD)
async def test_bad_bodies_are_refused_in_the_protocols_form(
    stand: Stand, body: bytes, status: int, message: str
) -> None:
    answer = await stand.client.post("/v2/models/small/infer", content=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert (await stand.client.post("/v2/models/small/infer", json=infer())).status_code == 200
    assert stand.outcomes() == {"ok": 1} | ({"refused": 1} if status == 400 else {})


async def test_body_without_a_length_is_cut_off_at_the_limit(stand: Stand) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b" " * 1000

    answer = await stand.client.post("/v2/models/small/infer", content=endless())
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert sent <= 8000


async def test_body_that_does_not_arrive_is_given_up(stand: Stand) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    answer = await stand.client.post("/v2/models/small/infer", content=slow())
    assert answer.status_code == 408


async def test_compressed_bodies_are_refused(stand: Stand) -> None:
    headers = {"content-encoding": "gzip"}
    assert (await stand.client.post("/v2/models/small/infer", content=b"x", headers=headers)).status_code == 415


async def test_too_many_rows_are_refused(stand: Stand) -> None:
    rows = [{"distance": 1, "hour": 1, "carrier": "A"}] * 9
    answer = await stand.client.post("/v2/models/small/invocations", json={"dataframe_records": rows})
    assert answer.status_code == 413
    assert "9 rows in one request; at most 8 are allowed" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/small/stats", 404),
        ("GET", "/", 404),
        ("GET", "/v2/models/small/infer", 405),
        ("POST", "/v2/models/small", 405),
        ("DELETE", "/v2/health/live", 405),
    ],
)
async def test_unknown_paths_and_methods(stand: Stand, method: str, path: str, status: int) -> None:
    answer = await stand.client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


async def test_sane_request_id_is_returned_and_another_replaced(stand: Stand) -> None:
    async def returned(given: str) -> str:
        headers = {"x-request-id": given}
        answer = await stand.client.post("/v2/models/small/infer", json=infer(), headers=headers)
        return answer.headers["x-request-id"]

    assert await returned("order-17.a:b") == "order-17.a:b"
    for bad in ("a" * 129, "a b", '"><script>', "../x"):
        made = await returned(bad)
        assert made != bad
        assert len(made) == 32
    assert len((await stand.client.get("/v2")).headers["x-request-id"]) == 32


async def test_requests_that_arrive_together_run_as_one_batch(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    predict = stand.loaded.predict

    def watched(inputs: Any) -> Any:
        sizes.append(len(inputs["distance"]))
        return predict(inputs)

    monkeypatch.setattr(stand.loaded, "predict", watched)
    distances = [100 * i for i in range(10)]
    requests = [stand.client.post("/v2/models/small/infer", json=infer(float(d), carrier="AA")) for d in distances]
    answers = await asyncio.gather(*requests)
    found = [answer.json()["outputs"][1]["data"][0] for answer in answers]
    assert found == pytest.approx([d / 1000 for d in distances])
    assert sum(sizes) == 10
    assert len(sizes) < 10


async def test_failing_model_is_answered_with_500_and_no_detail(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(inputs: Any) -> Any:
        raise RuntimeError("secret path /etc")

    monkeypatch.setattr(stand.loaded, "predict", broken)
    answer = await stand.client.post("/v2/models/small/infer", json=infer())
    assert answer.status_code == 500
    assert answer.json() == {"error": "model 'small' failed on this request"}
    assert stand.outcomes() == {"failed": 1}


async def test_output_that_is_not_finite_is_an_error(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"label": np.array([1]), "probability": np.array([np.nan], np.float32)}
    monkeypatch.setattr(stand.loaded, "predict", lambda inputs: outputs)
    answer = await stand.client.post("/v2/models/small/infer", json=infer())
    assert answer.status_code == 500
    assert "not finite in output 'probability'" in answer.json()["error"]
    assert stand.outcomes() == {"invalid": 1}


class Broken:
    """A model that fails on everything, or answers with what is no number."""

    def __init__(self, sound: Any, answer: Any) -> None:
        self.signature, self.contract, self._answer = sound.signature, sound.contract, answer

    def predict(self, _inputs: Any) -> Any:
        if self._answer is None:
            raise RuntimeError("broken")
        return self._answer


NO_NUMBER = {"label": np.array([1]), "probability": np.array([np.nan], np.float32)}


@pytest.mark.parametrize(("answer", "counted"), [(None, "failed"), (NO_NUMBER, "invalid")])
async def test_version_before_answers_what_the_new_one_fails_on(stand: Stand, answer: Any, counted: str) -> None:
    previous = stand.ingress.table.infer["/v2/models/small/versions/1/infer"]
    stand.stable.batcher.model = Broken(stand.loaded, answer)
    stand.ingress.table = Table.build([stand.stable.backed_by(previous)], [previous])

    given = await stand.client.post("/v2/models/small/infer", json=infer())
    named = await stand.client.post("/v2/models/small/versions/2/infer", json=infer())

    assert (given.status_code, given.json()["model_version"]) == (200, "1")
    assert named.status_code == 500
    # Both are held against the version that failed.
    assert stand.outcomes() == {counted: 2}


class Shadowed:
    """A model's shadows: one that gets all copies, one that samples nothing, and the way on which they travel."""

    def __init__(self, stand: Stand) -> None:
        self.copies: list[Copy] = []
        self.room, self.counters = True, stand.counters
        shadow = Shadow("small", "sha256:7", self, stand.counters, 1.0)
        split = Split([("stable", SLOTS)], shadows={"one": SLOTS, "none": 0}, key=bytes(16), generation=5)
        self.mirror = Mirror(split, {"one": shadow, "none": shadow}, lambda: self.room)

    async def observe(self, bundle: bytes) -> dict[str, Any]:
        self.copies += unpack_copies(bundle)
        return {"requests": len(self.copies)}

    def close(self) -> None: ...

    @property
    def shed(self) -> int:
        return self.counters.arm("small", "sha256:7", 5).shed


async def test_shadows_get_copies_of_what_stable_has_answered(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "WAIT", 0.0)
    beside = Shadowed(stand)
    stand.ingress.table = Table.build([stand.stable], mirrors={"small": beside.mirror})
    answer = await stand.client.post("/v2/models/small/infer", json=infer(hour=7))
    refused = await stand.client.post("/v2/models/small/infer", json=infer(hour="seven"))
    named = await stand.client.post("/v2/models/small/versions/2/infer", json=infer())
    assert (answer.status_code, refused.status_code, named.status_code) == (200, 400, 200)
    async with asyncio.timeout(60):
        while not beside.copies:
            await asyncio.sleep(0.01)
    (copy,) = beside.copies
    assert (copy.columns["hour"], copy.rows, copy.id) == ([7], 1, answer.headers["x-request-id"])
    assert copy.outputs["probability"].tolist() == pytest.approx(answer.json()["outputs"][1]["data"])
    assert beside.shed == 0
    # An arm is read off the version where nothing divides it: shadows cost stable no counts of its own.
    batch = stand.counters.batch({})
    assert batch is not None
    assert [one["generation"] for one in batch["arms"] if one["digest"] == "sha256:2"] == [0]


async def test_without_room_copies_are_shed(stand: Stand) -> None:
    beside = Shadowed(stand)
    beside.room = False
    stand.ingress.table = Table.build([stand.stable], mirrors={"small": beside.mirror})
    assert (await stand.client.post("/v2/models/small/infer", json=infer())).status_code == 200
    assert (beside.shed, beside.copies) == (1, [])


async def test_version_before_answers_also_where_there_are_shadows(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadows, "WAIT", 0.0)
    beside = Shadowed(stand)
    previous = stand.ingress.table.infer["/v2/models/small/versions/1/infer"]
    stand.stable.batcher.model = Broken(stand.loaded, None)
    table = Table.build([stand.stable.backed_by(previous)], [previous], mirrors={"small": beside.mirror})
    stand.ingress.table = table
    given = await stand.client.post("/v2/models/small/infer", json=infer())
    assert (given.status_code, given.json()["model_version"]) == (200, "1")
    await asyncio.sleep(0.05)
    # What another version has answered is nothing to compare with.
    assert beside.copies == []


async def test_version_before_with_other_inputs_cannot_answer(stand: Stand) -> None:
    other = Broken(stand.loaded, None)
    other.signature = Signature(inputs=(), outputs=other.signature.outputs)
    assert stand.stable.backed_by(replace(stand.stable, model=other)).instead is None
    assert stand.stable.backed_by(None).instead is None


def store(handler: Callable[[httpx.Request], httpx.Response], deadline: float = 5.0) -> FeatureStore:
    return FeatureStore("http://features", deadline, "t", transport=httpx.MockTransport(handler))


def feast(*values: float | None) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        assert request.headers["authorization"] == "Bearer t"
        assert sent == {"feature_service": "routes", "entities": {"route": ["JFK-LAX"]}}
        status = ["PRESENT" if value is not None else "NOT_FOUND" for value in values]
        results = [{"values": ["JFK-LAX"], "statuses": ["PRESENT"]}, {"values": list(values), "statuses": status}]
        return httpx.Response(200, json={"metadata": {"feature_names": ["route", "distance"]}, "results": results})

    return handler


def by_route() -> dict[str, Any]:
    body = infer()
    body["inputs"][0] = {"name": "route", "datatype": "BYTES", "shape": [1], "data": ["JFK-LAX"]}
    return body


@pytest.fixture
def with_lookup(make_artifact: Make, lookup: FeatureLookup) -> Callable[..., Stand]:
    return lambda features, **contract: Stand(make_artifact(features=lookup, **contract), features)


async def test_features_are_looked_up_by_entity(with_lookup: Callable[..., Stand]) -> None:
    stand = with_lookup(store(feast(600.0)))
    answer = await stand.client.post("/v2/models/small/infer", json=by_route())
    assert answer.json()["outputs"][1]["data"] == [pytest.approx(0.85)]


async def test_missing_feature_is_refused_with_its_entity(with_lookup: Callable[..., Stand]) -> None:
    stand = with_lookup(store(feast(None)))
    answer = await stand.client.post("/v2/models/small/infer", json=by_route())
    assert answer.status_code == 400
    assert answer.json()["error"] == ("input 'distance', row 0: the feature store has no value for route='JFK-LAX'")


async def test_slow_feature_store_is_answered_with_503_within_the_deadline(with_lookup: Callable[..., Stand]) -> None:
    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(30)
        return httpx.Response(200)

    features = FeatureStore("http://features", 0.05, transport=httpx.MockTransport(slow))
    stand = with_lookup(features)
    answer = await stand.client.post("/v2/models/small/infer", json=by_route())
    assert answer.status_code == 503
    assert "did not answer within 50 ms" in answer.json()["error"]
    assert stand.outcomes() == {"failed": 1}


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (httpx.Response(500), 503),
        (httpx.Response(200, content=b"<html>"), 503),
        (httpx.Response(200, json={"results": 1}), 502),
        (httpx.Response(200, json={"metadata": {"feature_names": ["x"]}, "results": [{"values": [1]}]}), 502),
    ],
)
async def test_strange_answer_of_the_feature_store_is_no_traceback(
    with_lookup: Callable[..., Stand], response: httpx.Response, status: int
) -> None:
    stand = with_lookup(store(lambda request: response))
    answer = await stand.client.post("/v2/models/small/infer", json=by_route())
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


async def test_entities_without_a_feature_store_are_answered_with_503(with_lookup: Callable[..., Stand]) -> None:
    answer = await with_lookup(None).client.post("/v2/models/small/infer", json=by_route())
    assert answer.status_code == 503
    assert "no feature store" in answer.json()["error"]
