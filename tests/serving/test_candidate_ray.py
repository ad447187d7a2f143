"""Candidates under real Ray Serve: no route, reached by a line of their own, and what Serve tells of bad ones."""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.actuator import condition
from serving.config import read
from serving.runtime.artifact import content_digest, file_hashes
from serving.state import Release

pytestmark = pytest.mark.slow

COLUMNS: dict[str, Any] = {"distance": [100.0, 600.0], "hour": [9, 17], "carrier": ["AA", "UA"]}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ray and Serve on this machine, away from all other clusters."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    import ray
    from ray import serve

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=folder,
            _node_ip_address="127.0.0.1", object_store_memory=80 * 2**20,
        )  # fmt: skip
        try:
            serve.start(proxy_location="Disabled")
            yield serve
        finally:
            serve.shutdown()
            ray.shutdown()


def release_of(folder: Path, version: str) -> Release:
    files = file_hashes(folder)
    return Release(version, content_digest(files), f"file:{folder}", files, "shared")


def test_candidate_answers_on_its_line_and_a_bad_one_says_why(
    serve: Any, tmp_path: Path, make_artifact: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import line
    from serving.application import build_candidate, connect

    path = tmp_path / "serving.json"
    document = {
        "ray": {"address": "x"},
        "control": {"url": "http://127.0.0.1:9", "token": "t"},
        "registry": {"url": "http://127.0.0.1:9"},
        "snapshot": str(tmp_path / "s"),
        "snapshotKey": "a-key-of-16-bytes",
        "trust": {"signature": "optional"},
        "modelCache": str(tmp_path / "cache"),
        "groups": [{"name": "shared", "route": "/v2"}],
    }
    path.write_text(json.dumps(document))
    settings = read(path)
    broken = make_artifact("broken")
    (broken / "model.onnx").write_bytes(b"no graph")
    for name, release in (
        ("candidate-small-2", release_of(make_artifact("two", bias=0.1), "2")),
        ("candidate-small-3", release_of(broken, "3")),
    ):
        target = build_candidate(str(path), settings, "small", release)
        serve.run_many(
            [serve.RunTarget(target=target, name=name, route_prefix=None)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )

    def told(name: str) -> dict[str, str]:
        application = serve.status().applications[name]
        messages = "\n".join([application.message, *(one.message for one in application.deployments.values())])
        return condition(str(application.status), messages)

    deadline = time.monotonic() + 300
    while "starting" in (told("candidate-small-2")["status"], told("candidate-small-3")["status"]):
        assert time.monotonic() < deadline, serve.status()
        time.sleep(0.5)
    assert told("candidate-small-2")["status"] == "ready"
    failed = told("candidate-small-3")
    assert (failed["status"], failed["fault"]) == ("failed", "model")
    assert failed["reason"].startswith("the model cannot be loaded")

    monkeypatch.setattr(line, "HANDSHAKE", 120.0)  # the first look for the candidate wakes much of Ray Serve
    answer = asyncio.run(_ask(connect("candidate-small-2")))
    assert answer.outputs["probability"] == pytest.approx([0.2, 0.95])
    assert answer.seconds > 0
    # Nothing of the settings travels through Ray: no secret shows in its arguments.
    assert "a-key-of-16-bytes" not in str(serve.status())


async def _ask(line: Any) -> Any:
    answer = await line(COLUMNS, 2, "x", 7)
    line.close()
    return answer
