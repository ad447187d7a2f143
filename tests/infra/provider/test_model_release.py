"""Model releases: what is decided, and a rollout controller as a neighbour."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.provider import model_release
from infra.provider.codec import UNKNOWN, Properties, plain
from infra.provider.model_release import ModelReleaseResource, Release, describe, drift, resolve
from infra.provider.resource import Difference, ResourceError

DIGEST = "sha256:" + "a" * 64
CANDIDATE = {
    "model": "churn",
    "version": "3",
    "digest": DIGEST,
    "source": "models:/churn/3",
    "files": {"model.onnx": "b" * 64},
    "run": "r1",
    "commit": "c1",
    "passed": True,
    "evaluation": {"reasons": []},
}
MANIFEST = {name: CANDIDATE[name] for name in ("model", "version", "digest", "source", "files", "run")}


def wanted(url: str = "http://127.0.0.1:1", **different: Any) -> Properties:
    given = {
        "model": "churn",
        "version": "latest",
        "group": "shared",
        "candidate": CANDIDATE,
        "controller": {"url": url, "token": "letmein"},
    }
    checked, problems = ModelReleaseResource().check(given | different)
    assert problems == []
    known: Properties = plain(checked)
    return known


# --- decisions -----------------------------------------------------------------------------------------------------


def test_latest_is_what_the_training_job_made() -> None:
    release = resolve({"model": "churn", "version": "latest", "candidate": CANDIDATE})

    assert isinstance(release, Release)
    assert release.identity() == {"version": "3", "digest": DIGEST}
    assert release.approval == {"kind": "evaluation", "run": "r1", "commit": "c1"}


def test_pinned_version_is_what_its_manifest_says() -> None:
    release = resolve(
        {"model": "churn", "version": "3", "manifest": MANIFEST | {"approvals": [{"role": "model-risk"}]}}
    )

    assert isinstance(release, Release)
    assert release.approval == {"kind": "manifest", "run": "r1", "approvals": [{"role": "model-risk"}]}


def test_version_that_was_just_trained_can_be_pinned_without_a_manifest() -> None:
    assert isinstance(resolve({"model": "churn", "version": "3", "candidate": CANDIDATE}), Release)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"version": "latest"}, "needs `candidate`"),
        ({"version": "2"}, "needs `manifest`"),
        ({"version": "latest", "manifest": MANIFEST}, "a `manifest` belongs to a version number"),
        ({"version": "2", "manifest": MANIFEST}, "`manifest` is of version 3, but `version` is 2"),
        ({"version": "2", "candidate": CANDIDATE}, "`candidate` is of version 3, but `version` is 2"),
        ({"version": "3", "manifest": MANIFEST | {"model": "other"}}, "is of the model other, not of churn"),
        ({"version": "3", "manifest": MANIFEST | {"digest": "sha256:1"}}, "`manifest.digest` is 'sha256:1'"),
        ({"version": "3", "manifest": MANIFEST | {"files": {}}}, "`manifest.files` is missing"),
        ({"version": "latest", "candidate": CANDIDATE | {"passed": None}}, "did not pass its evaluation"),
        (
            {
                "version": "latest",
                "candidate": CANDIDATE | {"passed": False, "evaluation": {"reasons": ["AUC 0.5 < 0.6"]}},
            },
            "version 3 of churn did not pass its evaluation: AUC 0.5 < 0.6",
        ),
    ],
)
def test_release_that_is_not_sound_is_refused_with_a_reason(given: dict[str, Any], reason: str) -> None:
    problem = resolve({"model": "churn"} | given)

    assert isinstance(problem, str)
    assert reason in problem


def test_check_refuses_what_cannot_succeed() -> None:
    given = {"model": "churn", "version": "latest", "group": "shared", "controller": {"url": "http://a", "token": "t"}}

    _inputs, problems = ModelReleaseResource().check(given | {"candidate": CANDIDATE | {"passed": False}})
    _inputs, waiting = ModelReleaseResource().check(given | {"candidate": UNKNOWN})

    assert problems == ["version 3 of churn did not pass its evaluation: its result names no reason"]
    assert waiting == []


def test_strategies_that_split_traffic_are_refused_for_now() -> None:
    strategy = {"kind": "canary", "steps": [{"weight": 10, "minutes": 5}], "bakeMinutes": 60}
    given = {"model": "churn", "version": "latest", "group": "shared", "controller": {"url": "http://a", "token": "t"}}

    _inputs, problems = ModelReleaseResource().check(given | {"candidate": CANDIDATE, "strategy": strategy})

    assert len(problems) == 1
    assert problems[0].startswith("`strategy.kind` is canary")


@pytest.mark.parametrize(
    ("state", "wait", "again"),
    [
        ("promoted", True, False),
        ("failed", True, False),
        ("missing", True, True),
        ("missing", False, True),
        ("progressing", True, True),
        ("progressing", False, False),
    ],
)
def test_last_look_asks_for_another_go_unless_the_controller_decided(state: str, wait: bool, again: bool) -> None:
    assert drift({"rollout": {"state": state}}, wait=wait) is again


def test_another_version_is_an_update_and_another_model_a_replacement() -> None:
    resource, state = ModelReleaseResource(), {"rollout": {"state": "promoted"}}
    pinned = wanted(version="3")

    assert resource.diff(wanted(), state, pinned) == Difference(update=("version",))
    assert resource.diff(wanted(), state, wanted() | {"model": "other"}) == Difference(replace=("model",))
    assert not resource.diff(wanted(), state, wanted())


def test_preview_tells_what_latest_resolves_to_when_it_is_known() -> None:
    known = ModelReleaseResource().preview(wanted(), None)
    unknown = ModelReleaseResource().preview(wanted() | {"candidate": UNKNOWN}, None)

    assert known["resolved"] == {"version": "3", "digest": DIGEST}
    assert unknown["resolved"] is UNKNOWN


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("loading", "loading"),
        ({"message": "1 of 2 ready", "at": 3}, "1 of 2 ready"),
        ({"name": "load", "at": 3}, "name load, at 3"),
    ],
)
def test_step_is_one_line(step: object, line: str) -> None:
    assert describe(step) == line


# --- with a controller ---------------------------------------------------------------------------------------------


class Controller:
    """A rollout controller whose rollouts end as told, after being asked about twice."""

    def __init__(self, end: str = "promoted", served: dict[str, Any] | None = None) -> None:
        self.end = end
        self.served = served
        self.model: dict[str, Any] | None = None
        self.asked = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "PUT":
            self.model = {"id": "r7", "state": "progressing", "reason": "", "steps": []}
            self.wanted = {"version": body["version"], "digest": body["digest"]}
            self.asked = 0
            return 202, {"rollout": {"id": "r7", "state": "progressing"}}
        if self.model is None:
            return 404, {"error": "no such model"}
        if method == "DELETE":
            self.model = None
            return 200, {}
        self.asked += 1
        self.model["steps"] = [f"replica {number} loaded" for number in range(1, self.asked + 1)]
        if self.asked == 2:
            self.model |= {"state": self.end, "reason": "" if self.end == "promoted" else "digest does not match"}
            self.served = self.wanted if self.end == "promoted" else self.served
        return 200, {"model": "churn", "group": "shared", "served": self.served, "rollout": self.model}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_release, "_POLL_SECONDS", 0.01)


def test_create_follows_the_rollout_to_its_promotion(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(Controller().answer)

    identity, outputs = ModelReleaseResource().create(told.call(), wanted(server.url))

    assert identity == "churn"
    assert outputs == {
        "resolved": {"version": "3", "digest": DIGEST},
        "served": {"version": "3", "digest": DIGEST},
        "rollout": {"id": "r7", "state": "promoted", "reason": ""},
    }
    assert told.lasting == ["replica 1 loaded", "replica 2 loaded"]
    method, path, body = server.requests[0]
    assert (method, path) == ("PUT", "/v1/models/churn/release")
    assert body == {
        "version": "3",
        "digest": DIGEST,
        "source": "models:/churn/3",
        "files": {"model.onnx": "b" * 64},
        "group": "shared",
        "strategy": {"kind": "all-at-once"},
        "approval": {"kind": "evaluation", "run": "r1", "commit": "c1"},
    }
    assert {headers["authorization"] for headers in server.headers} == {"Bearer letmein"}


def test_failed_rollout_fails_with_its_reason_and_says_what_is_served(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(Controller("failed", served={"version": "2", "digest": "sha256:2"}).answer)

    with pytest.raises(ResourceError, match=r"version 3 was not promoted: digest does not match\. Version 2 is still"):
        ModelReleaseResource().update(told.call(), wanted(server.url), wanted(server.url), {})


def test_without_wait_the_rollout_goes_on_alone(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(Controller().answer)

    outputs = ModelReleaseResource().create(told.call(), wanted(server.url, wait=False))[1]

    assert outputs["rollout"]["state"] == "progressing"
    assert outputs["served"] is None


def test_rollout_that_does_not_end_in_time_says_that_it_goes_on(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller("progressing")
    server = neighbour(controller.answer)

    with pytest.raises(ResourceError, match="has not ended within 1 s; it goes on"):
        ModelReleaseResource().create(told.call(), wanted(server.url, timeoutSeconds=1))


def test_refusal_is_told_with_the_controllers_reason(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(lambda method, path, body: (409, {"error": "digest is quarantined"}))

    with pytest.raises(ResourceError, match="refuses version 3, 409: digest is quarantined"):
        ModelReleaseResource().create(told.call(), wanted(server.url))


def test_read_records_what_is_served(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    state = ModelReleaseResource().create(told.call(), wanted(server.url))[1]
    controller.served = {"version": "2", "digest": "sha256:2", "files": {}}

    seen = ModelReleaseResource().read(told.call(), wanted(server.url), state)

    assert seen["served"] == {"version": "2", "digest": "sha256:2"}
    assert seen["resolved"] == {"version": "3", "digest": DIGEST}


def test_read_keeps_what_was_known_when_nobody_answers(told: Any, free_port: int) -> None:
    state = {"served": {"version": "3"}, "rollout": {"state": "promoted"}, "resolved": {"version": "3"}}

    assert ModelReleaseResource().read(told.call(), wanted(f"http://127.0.0.1:{free_port}"), state) == state


def test_model_that_the_controller_lost_is_released_again(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    resource = ModelReleaseResource()
    state = resource.create(told.call(), wanted(server.url))[1]
    controller.model = None

    seen = resource.read(told.call(), wanted(server.url), state)

    assert seen["served"] is None
    assert resource.diff(wanted(server.url), seen, wanted(server.url)) == Difference(update=("rollout",))


def test_delete_withdraws_and_does_not_mind_when_it_is_gone(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    ModelReleaseResource().create(told.call(), wanted(server.url))

    ModelReleaseResource().delete(told.call(), wanted(server.url), {})
    ModelReleaseResource().delete(told.call(), wanted(server.url), {})

    assert controller.model is None
