"""A group of its own grows under load and shrinks afterwards; no request fails on the way and each is counted."""

import threading
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.local.checkout import Platform
from tests.local.test_platform import until, v2_request

pytestmark = pytest.mark.local

MODEL = "mortgage-approval"
# One request keeps a replica busy for some time and the caller hardly at all.
ROWS, CALLERS = 400, 16


def replicas(platform: Platform) -> set[int]:
    """The processes that serve the model."""
    return {
        process.pid
        for process, command in platform.checkout.commands().items()
        if process.is_running() and f"ServeReplica:{MODEL}" in command
    }


def query(platform: Platform, text: str) -> list[dict[str, Any]]:
    with platform.http("metrics") as http:
        answer = http.get("/api/v1/query", params={"query": text}).raise_for_status().json()
    return list(answer["data"]["result"])


def counted(platform: Platform) -> float:
    found = query(platform, f'sum(mlops_predictions_total{{model="{MODEL}"}})')
    return float(found[0]["value"][1]) if found else 0.0


class Load:
    """Requests without a pause from several callers; answers are counted by status."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        tensors = v2_request(platform, MODEL)["inputs"]
        self._body = {"inputs": [t | {"shape": [ROWS], "data": t["data"] * ROWS} for t in tensors]}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]
        self.answers: Counter[str] = Counter()

    def _ask(self) -> None:
        with self._platform.http("inference") as http:
            request = http.build_request("POST", f"/v2/models/{MODEL}/infer", json=self._body)
            while not self._stop.is_set():
                try:
                    self.answers[str(http.send(request).status_code)] += 1
                except httpx.HTTPError as error:
                    self.answers[repr(error)] += 1

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_replicas_come_with_load_and_go_with_it_and_no_request_fails(platform: Platform) -> None:
    until(lambda: len(replicas(platform)) == 1, "the group is at rest")
    before, at_rest = counted(platform), replicas(platform)

    with Load(platform) as load:
        until(lambda: len(replicas(platform)) == 3, "the group has grown to its maximum")
        time.sleep(2)  # with all three
        most = replicas(platform)
    until(lambda: len(replicas(platform)) == 1, "the group has shrunk to its minimum")

    assert at_rest < most
    assert set(load.answers) == {"200"}, load.answers
    until(lambda: counted(platform) == before + load.answers["200"], "each prediction is counted once")
    series = query(platform, f'mlops_predictions_total{{model="{MODEL}"}}')
    assert len(series) == 1, "one for the version and the outcome, however many replicas there were"
