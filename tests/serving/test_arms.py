"""The ingress with a candidate beside stable: nobody notices what a candidate does wrong, and it is counted."""

import asyncio
import math
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.arms import TOGETHER, Answer, Remote, Traffic, check_outputs
from serving.auth import Bearer
from serving.batching import Limits
from serving.candidate import run
from serving.counters import Counters
from serving.ingress import Ingress, Options
from serving.protocol.v2 import Codec
from serving.runtime import model
from serving.runtime.signature import Signature, Tensor
from serving.shadows import Mirror, agree
from serving.table import Served, Table
from serving.traffic import Split

KEY = bytes(32)
OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
DEADLINE = 0.25

Behaviour = Callable[[dict[str, Any]], Any]


class Stand:
    """An ingress with stable version 1, and version 2 as its candidate, which behaves as it is told."""

    def __init__(self, folder: Path) -> None:
        self.counters, self.executor = Counters(), ThreadPoolExecutor(1)
        self.loaded = model.load(folder)
        self.calls: list[dict[str, Any]] = []
        self.behave: Behaviour = self.predict
        self.stable = Served.make(
            "small", "1", OLD, self.loaded, limits=Limits(), max_rows=8, executor=self.executor,
            counters=self.counters, capture=None,
        )  # fmt: skip
        codec = Codec("small", "2", self.loaded.signature, self.loaded.contract, 8)
        self.remote = Remote(codec, NEW, self.call, self.counters, DEADLINE)
        self.ingress = Ingress(Options(), Bearer(None))
        self.ingress.ready = True
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.ingress), base_url="http://t")

    def divide(self, weight: int, mirror: int = 0, *, sticky: bool = False) -> Traffic:
        split = Split.of(
            {"stable": 10_000 - weight, "candidate": weight}, shadows={"candidate": mirror}, key=KEY, generation=7
        )
        beside = Mirror(split, {}, lambda: True)
        self.traffic = Traffic(split, self.remote, self.counters, mirror=beside, sticky=sticky)
        self.ingress.table = Table.build([self.stable], traffic={"small": self.traffic})
        self.counters.divide({"small"})
        return self.traffic

    def predict(self, columns: dict[str, Any]) -> Answer:
        return Answer(run(self.loaded, columns), 0.002)

    async def call(self, columns: Any, rows: int, identifier: str, split: int | None) -> Answer:
        self.calls.append({"rows": rows, "id": identifier, "split": split})
        answer = self.behave(columns)
        return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[no-any-return]

    async def ask(self, **headers: str) -> httpx.Response:
        inputs = {"distance": ("FP32", 600.0), "hour": ("INT64", 9), "carrier": ("BYTES", "UA")}
        body = [{"name": n, "datatype": t, "shape": [1], "data": [v]} for n, (t, v) in inputs.items()]
        await asyncio.sleep(0)  # what comes over a socket comes in a turn of the loop that the last answer was not in
        return await self.client.post("/v2/models/small/infer", json={"inputs": body}, headers=headers)

    async def compared(self, number: int) -> None:
        """Wait until so many of the candidate's answers were compared with those of stable."""
        async with asyncio.timeout(60):
            while self.counters.arm("small", NEW, 7).compared < number:
                await asyncio.sleep(0.001)

    def arms(self) -> dict[str, dict[str, Any]]:
        batch = self.counters.batch({})
        assert batch is not None
        assert all(arm["generation"] == 7 for arm in batch["arms"])
        return {arm["digest"]: arm["counts"] for arm in batch["arms"]}


@pytest.fixture
async def stand(artifact: Path) -> AsyncIterator[Stand]:
    stand = Stand(artifact)
    yield stand
    await stand.client.aclose()
    stand.executor.shutdown()


async def test_candidate_answers_its_share_under_its_own_version(stand: Stand) -> None:
    stand.divide(3000)
    answers = [(await stand.ask()).json() for _ in range(200)]
    versions = Counter(answer["model_version"] for answer in answers)
    assert 30 <= versions["2"] <= 95
    assert all(answer["outputs"][1]["data"] == [pytest.approx(0.85)] for answer in answers)
    arms = stand.arms()
    assert arms[NEW]["requests"] == arms[NEW]["assigned"] == versions["2"]
    assert arms[OLD]["requests"] == arms[OLD]["assigned"] == versions["1"]
    assert sum(arms[OLD]["latency"].values()) == versions["1"]
    assert arms[NEW]["latency"] == {"21": versions["2"]}  # the time inside of the arm, not that of the hop


async def test_requests_of_one_turn_go_together_and_each_as_often_as_the_split_says(stand: Stand) -> None:
    traffic = stand.divide(3000)
    draws: list[float] = []
    chance = random.Random(3)

    def draw() -> float:
        draws.append(chance.random())
        return draws[-1]

    traffic._draw = draw
    asked = 0
    for turn in range(300):
        size, before, begun = 1 + turn % 20, len(draws), len(stand.calls)
        answers = await asyncio.gather(*(stand.ask() for _ in range(size)))
        asked += size
        drawn = draws[before:]
        assert len(drawn) == math.ceil(size / TOGETHER)
        together = [min(TOGETHER, size - TOGETHER * number) for number in range(len(drawn))]
        expected = sum(count for value, count in zip(drawn, together, strict=True) if value >= 0.7)
        assert sum(answer.json()["model_version"] == "2" for answer in answers) == expected
        assert len(stand.calls) - begun == expected
    arms = stand.arms()
    assert arms[OLD]["requests"] + arms[NEW]["requests"] == asked == 3150
    assert 0.24 < arms[NEW]["requests"] / asked < 0.36
    # What goes together is one assignment, and one latency stands for all of it.
    assert arms[OLD]["assigned"] + arms[NEW]["assigned"] == len(draws)
    assert sum(arms[NEW]["latency"].values()) == arms[NEW]["assigned"] == sum(value >= 0.7 for value in draws)
    assert sum(arms[OLD]["latency"].values()) == arms[OLD]["assigned"]


async def test_request_that_outlasts_a_report_is_counted_in_the_next_one(stand: Stand) -> None:
    stand.divide(0)
    await stand.ask()
    busy = threading.Event()
    stand.executor.submit(busy.wait, 60)
    for _ in range(2):
        stand.stable.batcher.measured(1.0)  # so slow that it runs in the executor
    asked = asyncio.create_task(stand.ask())
    async with asyncio.timeout(60):
        while not stand.stable.batcher._flying:
            await asyncio.sleep(0.001)
    before = stand.arms()[OLD]
    assert (before["assigned"], before["requests"]) == (2, 1)
    stand.counters.acknowledge(1)
    busy.set()
    assert (await asked).status_code == 200
    later = stand.arms()[OLD]
    assert later["requests"] == 1
    assert "assigned" not in later


def raises(_columns: Any) -> Any:
    raise RuntimeError("boom")


async def hangs(_columns: Any) -> Any:
    await asyncio.sleep(60)


def outputs(**changes: Any) -> dict[str, Any]:
    return {"label": np.array([1], np.int64), "probability": np.array([0.5], np.float32)} | changes


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (raises, "errors"),
        (hangs, "errors"),
        (lambda _: Answer(None, error="model failed"), "errors"),
        (lambda _: Answer(None, error="not finite", invalid=True), "invalid"),
        (lambda _: Answer({}), "invalid"),
        (lambda _: Answer(outputs(probability=np.array([np.nan], np.float32))), "invalid"),
        (lambda _: Answer(outputs(label=np.array([1.0]))), "invalid"),
        (lambda _: Answer(outputs(label=np.array([1, 2], np.int64))), "invalid"),
        (lambda _: "nonsense", "invalid"),
    ],
)
async def test_stable_answers_for_a_candidate_that_fails(stand: Stand, behave: Behaviour, kind: str) -> None:
    stand.divide(9999)
    stand.behave = behave
    answers = [await stand.ask() for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["model_version"] for answer in answers} == {"1"}
    assert stand.arms() == {NEW: {"requests": 3, "assigned": 3, kind: 3}}
    assert stand.counters.slot("small", "2").outcomes in ({}, {"failed": 3})


def test_outputs_that_are_no_number_are_never_what_was_promised() -> None:
    signature = Signature(inputs=(Tensor("x", "FP32"),), outputs=(Tensor("probability", "FP32"),))
    answer = {"probability": np.array([np.nan], np.float32)}
    assert "not finite" in (check_outputs(signature, answer, 1) or "")


async def test_requests_that_are_refused_reach_no_arm(stand: Stand) -> None:
    stand.divide(5000)
    assert (await stand.client.post("/v2/models/small/infer", json={"inputs": []})).status_code == 400
    assert stand.calls == []


async def test_subject_keeps_its_arm_and_counts_once(stand: Stand) -> None:
    stand.divide(5000, sticky=True)
    seen: dict[str, set[str]] = {}
    for _ in range(3):
        for number in range(60):
            answer = await stand.ask(**{"x-subject": f"customer-{number}"})
            seen.setdefault(f"customer-{number}", set()).add(answer.json()["model_version"])
    assert {len(versions) for versions in seen.values()} == {1}
    assert {version for versions in seen.values() for version in versions} == {"1", "2"}
    arms = stand.arms()
    assert arms[OLD]["assigned"] + arms[NEW]["assigned"] == 60
    assert arms[OLD]["requests"] + arms[NEW]["requests"] == 180


async def test_shadow_is_never_awaited_and_its_answers_are_compared(stand: Stand) -> None:
    stand.divide(0, mirror=10_000)
    gate = asyncio.Event()

    async def late(columns: Any) -> Answer:
        await gate.wait()
        return Answer(outputs(label=np.array([0], np.int64), probability=np.array([0.85], np.float32)))

    stand.behave = late
    assert (await stand.ask()).json()["model_version"] == "1"
    gate.set()
    await stand.compared(1)
    stand.behave = stand.predict
    assert (await stand.ask()).json()["model_version"] == "1"
    await stand.compared(2)
    arms = stand.arms()
    assert {key: arms[NEW][key] for key in ("requests", "compared", "disagreed")} == {
        "requests": 2, "compared": 2, "disagreed": 1,
    }  # fmt: skip
    assert arms[OLD]["requests"] == 2


async def test_shadows_that_hang_are_shed(stand: Stand) -> None:
    traffic = stand.divide(0, mirror=10_000)
    stand.behave = hangs
    answers = await asyncio.gather(*(stand.ask() for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert stand.arms()[NEW]["shed"] >= 40 - 16
    await traffic.close()


async def test_a_version_in_the_path_is_not_divided(stand: Stand) -> None:
    stand.divide(9999)
    inputs = {"dataframe_records": [{"distance": 600, "hour": 9, "carrier": "UA"}]}
    answer = await stand.client.post("/v2/models/small/versions/1/invocations", json=inputs)
    assert answer.status_code == 200
    assert stand.calls == []


def test_answers_agree_up_to_rounding() -> None:
    one = outputs()
    assert agree(one, outputs(probability=np.array([0.5001], np.float32)))
    assert not agree(one, outputs(probability=np.array([0.6], np.float32)))
    assert not agree(one, outputs(label=np.array([0], np.int64)))


async def test_a_late_copy_is_no_failure_as_long_as_a_user_would_wait(stand: Stand) -> None:
    async def late(columns: Any) -> Answer:
        await asyncio.sleep(1.2 * DEADLINE)
        return stand.predict(columns)

    stand.remote = Remote(stand.remote.codec, NEW, stand.call, stand.counters, DEADLINE, patience=60)
    stand.behave = late
    stand.divide(0, mirror=10_000)
    assert (await stand.ask()).status_code == 200
    await stand.compared(1)
    counts = stand.arms()[NEW]
    assert {name: counts.get(name, 0) for name in ("requests", "errors", "compared")} == {
        "requests": 1, "errors": 0, "compared": 1,
    }  # fmt: skip
