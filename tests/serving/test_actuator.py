import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serving.actuator import Actuator, condition
from serving.config import read
from serving.runtime.artifact import content_digest


class FakeServe:
    """ray.serve as far as the actuator uses it."""

    RunTarget = SimpleNamespace

    def __init__(self) -> None:
        self.applications: dict[str, SimpleNamespace] = {}
        self.calls: list[str] = []

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(applications=dict(self.applications))

    def run_many(self, targets: list[Any], **options: Any) -> None:
        for target in targets:
            self.calls.append(f"run {target.name} {target.route_prefix}")
            self.applications[target.name] = SimpleNamespace(
                status="RUNNING", deployments={"group": SimpleNamespace(message="")}
            )

    def delete(self, name: str, _blocking: bool) -> None:
        self.calls.append(f"delete {name}")
        del self.applications[name]


class World:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "serving.json"
        self.serve = FakeServe()
        self.write(["shared"])
        self.shadows: set[str] = set()
        self.actuator = self.start()

    def start(self) -> Actuator:
        return Actuator(str(self.path), read(self.path), self.serve, lambda *a: a, self.candidate)

    def candidate(self, _path: str, _settings: Any, model: str, release: Any, *, shadow: bool) -> Any:
        if shadow:
            self.shadows.add(f"candidate-{model}-{release.version}-shadow")
        return model

    def write(self, groups: list[str], **changes: Any) -> None:
        routes = {"shared": "/v2"}
        document = {
            "ray": {"address": "x"},
            "control": {"url": "http://127.0.0.1:9", "token": "t"},
            "registry": {"url": "http://127.0.0.1:9"},
            "snapshot": "s",
            "snapshotKey": "a-key-of-16-bytes",
            "trust": {"signature": "optional"},
            "modelCache": "c",
            "groups": [{"name": name, "route": routes.get(name, f"/v2/models/{name}")} for name in groups],
        }
        hidden = self.path.with_suffix(".tmp")
        hidden.write_text(json.dumps(document | changes))
        hidden.replace(self.path)

    def hurries(self) -> bool:
        """Say whether it looks again soon."""
        return self.actuator.busy

    def step(self) -> list[str]:
        self.serve.calls.clear()
        self.actuator.step()
        return list(self.serve.calls)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def unused(monkeypatch: pytest.MonkeyPatch, models: dict[str, Any] | None) -> None:
    """Let control answer with these models, or not at all."""

    def get(*arguments: Any, **options: Any) -> Any:
        if models is None:
            raise httpx.ConnectError("refused")
        entries = {name: {"candidates": []} | entry for name, entry in models.items()}
        answer = SimpleNamespace(json=lambda: {"models": entries})
        answer.raise_for_status = lambda: answer
        return answer

    monkeypatch.setattr(httpx.Client, "get", get)


def reports(monkeypatch: pytest.MonkeyPatch, status: int = 200) -> list[Any]:
    """Let control take reports, or refuse them, and keep what it was told."""
    told: list[Any] = []

    def post(_client: httpx.Client, url: str, **options: Any) -> httpx.Response:
        told.append(options["json"]["applications"])
        return httpx.Response(status, request=httpx.Request("POST", url))

    monkeypatch.setattr(httpx.Client, "post", post)
    return told


def test_missing_group_is_deployed_once(world: World) -> None:
    assert world.step() == ["run shared /v2"]
    assert world.step() == []


def test_group_that_vanished_is_deployed_again(world: World) -> None:
    world.step()
    world.serve.applications.clear()
    assert world.step() == ["run shared /v2"]


def test_restarted_actuator_deploys_the_same_again(world: World) -> None:
    """Ray Serve restarts nothing then, because the version is the same: tests/serving/test_local.py."""
    world.step()
    world.actuator = world.start()
    assert world.step() == ["run shared /v2"]


def test_changed_file_is_taken_over(world: World) -> None:
    world.step()
    world.write(["shared", "flight"])
    assert world.step() == ["run flight /v2/models/flight"]
    world.write(["shared", "flight"], limits={"maxRows": 5})
    assert world.step() == ["run shared /v2", "run flight /v2/models/flight"]


def test_a_file_that_changes_while_ray_is_reached_is_taken_over(world: World) -> None:
    settings = read(world.path)
    world.write(["shared", "flight"])
    world.actuator = Actuator(str(world.path), settings, world.serve, lambda *a: a, world.candidate)
    assert world.step() == ["run shared /v2", "run flight /v2/models/flight"]


def test_broken_file_is_reported_and_not_used(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.step()
    world.write(["shared"], colour=1)
    assert world.step() == []
    assert "colour: Extra inputs are not permitted" in caplog.text
    world.path.unlink()
    assert world.step() == []


@pytest.mark.parametrize(
    ("models", "deleted"),
    [
        ({}, ["delete flight"]),
        ({"flight": {"group": "shared"}}, ["delete flight"]),
        ({"flight": {"group": "flight"}}, []),
        (None, []),
    ],
)
def test_group_is_removed_only_when_control_says_that_nothing_is_served_by_it(
    world: World, monkeypatch: pytest.MonkeyPatch, models: dict[str, Any] | None, deleted: list[str]
) -> None:
    world.write(["shared", "flight"])
    world.step()
    world.write(["shared"])
    unused(monkeypatch, models)
    assert world.step() == deleted


def test_applications_that_are_no_groups_are_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.step()
    world.serve.applications["candidate"] = SimpleNamespace(
        status="RUNNING", deployments={"arm": SimpleNamespace(message="")}
    )
    unused(monkeypatch, {})
    assert world.step() == []


FILES = {"model.onnx": "0" * 64}
DIGEST = content_digest(FILES)
CANDIDATE = {
    "name": "candidate-flight-2",
    "role": "canary",
    "version": "2",
    "digest": DIGEST,
    "source": "file:/x",
    "files": FILES,
    "group": "shared",
}


def test_candidate_is_deployed_once_reported_and_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reports(monkeypatch)
    world.step()
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": [CANDIDATE]}})
    assert world.step() == ["run candidate-flight-2 None"]
    assert world.hurries()
    assert world.step() == []
    ready = {"status": "ready", "reason": "", "fault": "platform", "digest": DIGEST}
    assert told[-1] == {"candidate-flight-2": ready}
    assert not world.hurries()  # the replicas say how it fares
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": []}})
    assert world.step() == ["delete candidate-flight-2"]
    assert not world.hurries()


def test_a_ready_candidate_is_reported_soon_again_where_control_did_not_take_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports(monkeypatch, status=503)
    world.step()
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": [CANDIDATE]}})
    world.step()
    world.step()
    assert world.hurries()


def test_shadow_runs_at_low_priority_and_nobody_hurries_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reports(monkeypatch)
    world.step()
    shadow = CANDIDATE | {"name": "candidate-flight-2-shadow", "role": "shadow"}
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": [CANDIDATE], "shadows": [shadow]}})
    assert world.step() == ["run candidate-flight-2 None", "run candidate-flight-2-shadow None"]
    assert world.shadows == {"candidate-flight-2-shadow"}
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": [], "shadows": [shadow]}})
    assert world.step() == ["delete candidate-flight-2"]
    assert not world.hurries()


def test_candidate_is_left_alone_while_control_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.step()
    world.serve.applications["candidate-flight-2"] = SimpleNamespace(status="RUNNING", deployments={})
    unused(monkeypatch, None)
    assert world.step() == []


def test_candidate_with_other_content_under_the_same_name_is_deployed_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = reports(monkeypatch)
    world.step()
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": [CANDIDATE]}})
    world.step()
    files = {"model.onnx": "1" * 64}
    other = CANDIDATE | {"files": files, "digest": content_digest(files)}
    unused(monkeypatch, {"flight": {"group": "shared", "candidates": [other]}})
    assert world.step() == ["run candidate-flight-2 None"]
    assert told[-1] == {}, "that the one before is ready says nothing about this one"
    world.step()
    assert told[-1]["candidate-flight-2"]["digest"] == other["digest"]


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("DEPLOYING", "", ("starting", "platform", "")),
        ("ApplicationStatus.RUNNING", "", ("ready", "platform", "")),
        ("UNHEALTHY", "the actor died", ("unhealthy", "model", "the actor died")),
        (
            "DEPLOY_FAILED",
            "Traceback\nserving.candidate.CandidateError: the model cannot be loaded: bad graph\n",
            ("failed", "model", "the model cannot be loaded: bad graph"),
        ),
        (
            "DEPLOY_FAILED",
            "serving.candidate.CandidateError: the platform is at fault: registry away",
            ("failed", "platform", "the platform is at fault: registry away"),
        ),
        ("DEPLOY_FAILED", "", ("failed", "platform", "Serve gives no reason")),
    ],
)
def test_condition_says_whose_fault_it_is(status: str, message: str, expected: tuple[str, str, str]) -> None:
    found = condition(status, message)
    assert (found["status"], found["fault"], found["reason"]) == expected


def test_failed_deployment_is_tried_again_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("serving.actuator.time.monotonic", lambda: now)
    world.step()
    for expected in (["run shared /v2"], []):
        world.serve.applications["shared"].status = "DEPLOY_FAILED"
        assert world.step() == expected
    now += 20
    assert world.step() == ["run shared /v2"]


def test_groups_that_the_cluster_declares_are_neither_deployed_nor_removed(world: World) -> None:
    world.write(["shared"], groupsDeclared=True)
    world.actuator = world.start()

    assert world.step() == []

    for name in ("shared", "gone"):
        world.serve.applications[name] = SimpleNamespace(
            status="RUNNING", deployments={"group": SimpleNamespace(message="")}
        )
    assert world.step() == []
