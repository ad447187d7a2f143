"""Model releases: what is decided, and a rollout controller as a neighbour."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.provider import model_release
from infra.provider.codec import UNKNOWN, Properties, plain
from infra.provider.model_release import ModelReleaseResource, drift
from infra.provider.release_controller import person, progress_of, quarantined
from infra.provider.release_inputs import Release, plan, resolve
from infra.provider.resource import Call, CancelledError, Difference, ResourceError

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
    "signature": {"principal": "ci@company"},
    "trainedAt": "2026-11-20T09:00:00Z",
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
    assert release.manifest is None


def test_pinned_version_is_what_its_manifest_says() -> None:
    manifest = MANIFEST | {"approvals": [{"role": "model-risk"}]}
    release = resolve({"model": "churn", "version": "3", "manifest": manifest})

    assert isinstance(release, Release)
    assert release.manifest == manifest


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


@pytest.mark.parametrize(
    ("strategy", "problem"),
    [
        ({"kind": "rainbow"}, "`strategy.kind` is 'rainbow'"),
        ({"kind": "canary", "steps": [{"weight": 101}]}, "`strategy.steps[0].weight` is 101"),
        ({"kind": "canary", "then": "hope"}, "`strategy.then` is 'hope'"),
        ({"kind": "canary", "bake": 3}, "`strategy.bake` is not known"),
    ],
)
def test_strategy_that_makes_no_sense_is_refused(strategy: dict[str, Any], problem: str) -> None:
    given = {"model": "churn", "version": "latest", "group": "shared", "controller": {"url": "http://a", "token": "t"}}

    _inputs, problems = ModelReleaseResource().check(given | {"candidate": CANDIDATE, "strategy": strategy})

    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("state", "wait", "again"),
    [
        ("promoted", True, False),
        ("rolled-back", True, False),
        ("aborted", True, False),
        ("missing", True, True),
        ("missing", False, True),
        ("step", True, True),
        ("paused", True, True),
        ("baking", True, True),
        ("step", False, False),
        ("", True, False),
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


CANARY = {
    "kind": "canary",
    "steps": [{"weight": 5, "minutes": 10}, {"weight": 50, "requests": 1000, "gate": True}],
    "bakeMinutes": 30,
    "then": "gate",
}


def test_plan_names_every_step_in_order() -> None:
    assert plan(CANARY) == [
        "start the candidate and let it answer the smoke set",
        "step 1 of 2: 5 % of the traffic, until 10 min",
        "step 2 of 2: 50 % of the traffic, until 1000 requests and a person says `resume`",
        "wait for `./mlops release promote`",
        "promote: all traffic to the new version",
        "bake 30 min with the previous version warm, rolled back by itself if it goes bad",
    ]


def test_plan_of_an_observation_does_not_promote() -> None:
    shadow = plan({"kind": "shadow", "steps": [{"mirror": 100, "minutes": 30}], "then": "stop"})

    assert shadow[1:] == [
        "step 1 of 1: a copy of 100 % of the traffic, until 30 min",
        "end without promotion: this rollout only observes",
    ]


SERVING_2 = {"served": {"version": "2", "digest": "sha256:2"}, "quarantined": {}}


def test_preview_explains_the_rollout() -> None:
    lines = ModelReleaseResource().explain(wanted(strategy=CANARY), SERVING_2)

    assert lines[0] == "plan: version 3 in place of version 2, canary"
    assert lines[2] == "  2. step 1 of 2: 5 % of the traffic, until 10 min"


def test_preview_says_that_a_quarantined_version_stays_away() -> None:
    (line,) = ModelReleaseResource().explain(wanted(), SERVING_2 | {"quarantined": {DIGEST: "7 % errors"}})

    assert "version 3" in line
    assert "quarantined and not rolled out again: 7 % errors" in line
    assert "./mlops release revert churn" in line


def test_preview_explains_nothing_when_the_version_is_served() -> None:
    assert ModelReleaseResource().explain(wanted(), {"served": {"version": "3", "digest": DIGEST}}) == []


def test_preview_before_training_names_no_version() -> None:
    lines = ModelReleaseResource().explain(wanted() | {"candidate": UNKNOWN, "version": UNKNOWN}, SERVING_2)

    assert lines[0] == "plan: the version that training makes in place of version 2, all-at-once"


def test_progress_is_one_line_with_both_arms() -> None:
    line = progress_of(
        {
            "state": "step",
            "step": 2,
            "steps": 3,
            "weight": 2500,
            "counts": {
                "candidate": {"requests": 1204, "errors": 3, "invalid": 1, "p99Ms": 9.12},
                "stable": {"requests": 3600, "errors": 0, "invalid": 0, "p99Ms": None},
            },
        }
    )

    assert line == (
        "step 2 of 3 · 25 % of the traffic · candidate 1,204 requests, 3 errors, 1 invalid, p99 9.12 ms"
        " · stable 3,600 requests, 0 errors"
    )


@pytest.mark.parametrize("listed", [{DIGEST: "errors"}, [{"digest": DIGEST, "reason": "errors"}]])
def test_quarantine_is_read_in_either_form(listed: object) -> None:
    assert quarantined({"quarantined": listed}) == {DIGEST: "errors"}


# --- with a controller ---------------------------------------------------------------------------------------------


class Controller:
    """A rollout controller that goes through a canary's states, one at each look, to the end that it is told."""

    def __init__(self, end: str = "promoted", served: dict[str, Any] | None = None) -> None:
        self.end = end
        self.served = served
        self.rollout: dict[str, Any] | None = None
        self.quarantined: dict[str, str] = {}
        self.number = 0
        self.commands: list[tuple[str, Any]] = []
        self.shadows: list[dict[str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "PUT" and path.endswith("/shadows"):
            self.shadows = [{part: one[part] for part in ("version", "sample")} for one in body["shadows"]]
            return 200, {}
        if method == "PUT":
            return self._release(body)
        if method == "DELETE":
            known, self.rollout, self.served = self.rollout, None, None
            return (200, {}) if known else (404, {"error": "no such model"})
        if method == "POST":
            self.commands.append((path.rsplit("/", 1)[-1], body))
            assert self.rollout is not None
            self.rollout |= {"state": "aborted", "reason": body["reason"]}
            return 200, {}
        if self.rollout is None and self.served is None:
            return 404, {"error": "no such model"}
        self._advance()
        return 200, {
            "model": "churn",
            "group": "shared",
            "served": self.served,
            "rollout": self.rollout,
            "quarantined": self.quarantined,
            "shadows": self.shadows,
        }

    def _release(self, body: Any) -> tuple[int, Any]:
        self.wanted = {"version": body["version"], "digest": body["digest"]}
        if body["digest"] in self.quarantined:
            return 422, {"error": "refused", "reasons": ["quarantined", "only a new approval lifts it"]}
        self.number += 1
        self.states = ["starting", "smoke", "step", "step", self.end]
        self.rollout = {"id": f"r{self.number}", "state": "starting", "reason": "", "messages": [], "counts": {}}
        return 202, {"rollout": {"id": self.rollout["id"], "state": "starting"}}

    def _advance(self) -> None:
        if self.rollout is None or self.rollout["state"] in ("promoted", "rolled-back", "aborted", "failed"):
            return
        state = self.states.pop(0) if len(self.states) > 1 else self.end
        if state != self.rollout["state"] or state == "step":
            messages = self.rollout["messages"]
            messages.append({"seq": len(messages) + 1, "at": "2026-11-20T09:00:00Z", "text": f"now {state}"})
        self.rollout["state"] = state
        if state == "promoted":
            self.served = self.wanted
        if state == "rolled-back":
            self.rollout |= {
                "reason": "errors: 20 % against 0.1 %",
                "counts": {"candidate": {"requests": 14, "errors": 3}, "stable": {"requests": 260, "errors": 0}},
            }
            self.quarantined[self.wanted["digest"]] = "errors: 20 % against 0.1 %"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_release, "POLL_SECONDS", 0.01)


def test_create_follows_the_rollout_to_its_promotion(
    told: Any, neighbour: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_PERSON", "asha@example.com")
    server = neighbour(Controller().answer)

    identity, outputs = ModelReleaseResource().create(told.call(), wanted(server.url, strategy=CANARY))

    assert identity == "churn"
    assert outputs == {
        "resolved": {"version": "3", "digest": DIGEST},
        "served": {"version": "3", "digest": DIGEST},
        "rollout": {"id": "r1", "state": "promoted", "reason": ""},
        "quarantined": {},
    }
    assert told.lasting == ["now smoke", "now step", "now step", "now promoted"]
    (put,) = [(path, body) for method, path, body in server.requests if method == "PUT"]
    assert put == (
        "/v1/models/churn/release",
        {
            "version": "3",
            "digest": DIGEST,
            "source": "models:/churn/3",
            "files": {"model.onnx": "b" * 64},
            "group": "shared",
            "strategy": CANARY,
            "manifest": None,
            "approval": None,
            "signature": {"principal": "ci@company"},
            "trainedAt": "2026-11-20T09:00:00Z",
            "requestedBy": "asha@example.com",
        },
    )
    assert {headers["authorization"] for headers in server.headers} == {"Bearer letmein"}


def test_manifest_is_handed_over_as_it_is(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(Controller().answer)

    ModelReleaseResource().create(told.call(), wanted(server.url, version="3", candidate=None, manifest=MANIFEST))

    (body,) = [body for method, _path, body in server.requests if method == "PUT"]
    assert body["manifest"] == MANIFEST
    assert body["approval"] is None


def test_shadows_are_asked_for_with_the_release_and_taken_away_again(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    resource, shadow = ModelReleaseResource(), {"version": "3", "sample": 20, "manifest": MANIFEST}

    resource.create(told.call(), wanted(server.url, shadows=[shadow]))
    (asked,) = [body["shadows"] for _method, path, body in server.requests if path.endswith("/shadows")]
    with_them = list(controller.shadows)
    resource.update(told.call(), wanted(server.url), wanted(server.url), {})

    about = {name: MANIFEST[name] for name in ("version", "digest", "source", "files")}
    assert asked == [about | {"sample": 20, "manifest": MANIFEST}]
    assert with_them == [{"version": "3", "sample": 20}]
    assert controller.shadows == []


@pytest.mark.parametrize(
    ("shadow", "problem"),
    [
        ({"version": "3"}, "shadow 3 of churn needs a `manifest`"),
        ({"version": "4", "manifest": MANIFEST}, "shadow 4: `manifest` is of version 3, but `version` is 4"),
        ({"version": "latest", "manifest": MANIFEST}, "must be a version number"),
        ({"version": "3", "sample": 101, "manifest": MANIFEST}, "sample"),
    ],
)
def test_shadow_that_is_not_sound_is_refused_by_a_preview(shadow: dict[str, Any], problem: str) -> None:
    given = {"model": "churn", "version": "3", "group": "shared", "candidate": CANDIDATE, "shadows": [shadow]}
    controller = {"url": "http://127.0.0.1:1", "token": "letmein"}
    _, problems = ModelReleaseResource().check(given | {"controller": controller})
    assert any(problem in one for one in problems), problems


def test_person_is_the_account_where_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_PERSON", raising=False)
    monkeypatch.setenv("LOGNAME", "asha")

    assert person().startswith("asha@")


def test_rollback_fails_with_its_reason_and_says_what_is_served(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(Controller("rolled-back", served={"version": "2", "digest": "sha256:2"}).answer)

    with pytest.raises(ResourceError) as failure:
        ModelReleaseResource().update(told.call(), wanted(server.url), wanted(server.url), {})

    text = str(failure.value)
    assert "version 3 was rolled back: errors: 20 % against 0.1 %" in text
    assert "candidate 14 requests, 3 errors" in text
    assert "Version 2 is still served, and version 3 is quarantined" in text
    assert "./mlops release revert churn" in text


def test_quarantined_version_is_not_asked_for_again(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller("rolled-back", served={"version": "2", "digest": "sha256:2"})
    server = neighbour(controller.answer)
    with pytest.raises(ResourceError, match="rolled back"):
        ModelReleaseResource().update(told.call(), wanted(server.url), {}, {})

    with pytest.raises(ResourceError, match="is quarantined and not rolled out again: errors: 20 %"):
        ModelReleaseResource().update(told.call(), wanted(server.url), {}, {})

    assert controller.number == 1


def test_whether_a_manifest_lifts_a_quarantine_is_the_controllers_word(
    told: Any, neighbour: Callable[..., Any]
) -> None:
    controller = Controller(served={"version": "2", "digest": "sha256:2"})
    controller.quarantined[DIGEST] = "errors"
    pinned = wanted(neighbour(controller.answer).url, version="3", candidate=None, manifest=MANIFEST)

    with pytest.raises(ResourceError, match="refuses version 3, 422: quarantined; only a new approval lifts it"):
        ModelReleaseResource().update(told.call(), pinned, {}, {})


def test_controller_without_its_database_is_waited_for(told: Any, neighbour: Callable[..., Any]) -> None:
    controller, away = Controller(), {"PUT": 1, "GET": 3}

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        away[method] -= 1
        if away[method] in (0, 1):
            return 503, {"error": "the controller's database does not answer"}
        return controller.answer(method, path, body)

    outputs = ModelReleaseResource().create(told.call(), wanted(neighbour(answer).url))[1]

    assert outputs["rollout"]["state"] == "promoted"


def test_without_wait_the_rollout_goes_on_alone(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(Controller().answer)

    outputs = ModelReleaseResource().create(told.call(), wanted(server.url, wait=False))[1]

    assert outputs["rollout"]["state"] == "starting"
    assert outputs["served"] is None


@pytest.mark.slow
def test_rollout_that_does_not_end_in_time_goes_on_and_the_next_up_follows_it(
    told: Any, neighbour: Callable[..., Any]
) -> None:
    class Paused(Controller):
        def _release(self, body: Any) -> tuple[int, Any]:
            answer = super()._release(body)
            self.states = ["paused"]  # at the first look, however few there are in the time
            return answer

    server = neighbour(Paused("paused").answer)
    resource = ModelReleaseResource()

    with pytest.raises(ResourceError, match=r"has not ended within \d+ s \(paused.*the next `up` follows it"):
        resource.create(told.call(), wanted(server.url, timeoutSeconds=1))
    seen = resource.read(told.call(), wanted(server.url), {})

    assert resource.diff(wanted(server.url), seen, wanted(server.url)) == Difference(update=("rollout",))


def test_other_release_that_takes_over_ends_the_wait(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller("step", served={"version": "2", "digest": "sha256:2"})

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        status, content = controller.answer(method, path, body)
        if method == "GET" and controller.rollout and len(controller.rollout["messages"]) > 2:
            controller.rollout["id"] = "r9"
        return status, content

    with pytest.raises(ResourceError, match=r"another release took over \(rollout r9\)\. Version 2 is still served"):
        ModelReleaseResource().update(told.call(), wanted(neighbour(answer).url), {}, {})


def test_promotion_counts_when_the_next_in_the_queue_has_begun_before_the_next_look(
    told: Any, neighbour: Callable[..., Any]
) -> None:
    controller = Controller()

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        status, content = controller.answer(method, path, body)
        if method == "GET" and controller.served:
            content |= {"rollout": {"id": "r9", "state": "starting"}}
        return status, content

    outputs = ModelReleaseResource().update(told.call(), wanted(neighbour(answer).url), {}, {})

    assert outputs["served"] == {"version": "3", "digest": DIGEST}
    assert outputs["rollout"]["id"] == "r9"


@pytest.mark.parametrize(("on_interrupt", "commands"), [("leave", []), ("abort", ["abort"])])
def test_interrupt_leaves_or_aborts_the_rollout_as_asked(
    on_interrupt: str, commands: list[str], neighbour: Callable[..., Any]
) -> None:
    controller = Controller("step")
    call = Call("churn", lambda text, brief: None)
    given = wanted(neighbour(controller.answer).url, onInterrupt=on_interrupt)
    said: list[str] = []

    # The first message of the rollout is where the person gives up.
    def report(text: str, brief: bool) -> None:
        said.append(text)
        if "step" in text:
            call.cancelled.set()

    call.report = report

    with pytest.raises(CancelledError):
        ModelReleaseResource().update(call, given, {}, {})

    assert [command for command, _body in controller.commands] == commands
    assert any("goes on: the next `up` follows it" in text for text in said) is (on_interrupt == "leave")


def test_refusal_is_told_with_the_controllers_reason(told: Any, neighbour: Callable[..., Any]) -> None:
    server = neighbour(lambda method, path, body: (409, {"error": "busy"}) if method == "PUT" else (404, {}))

    with pytest.raises(ResourceError, match="refuses version 3, 409: busy"):
        ModelReleaseResource().create(told.call(), wanted(server.url))


def test_read_records_what_is_served_and_says_when_it_is_not_what_was_asked_for(
    told: Any, neighbour: Callable[..., Any]
) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    state = ModelReleaseResource().create(told.call(), wanted(server.url))[1]
    controller.served = {"version": "2", "digest": "sha256:2", "files": {}}
    assert controller.rollout is not None
    controller.rollout |= {"state": "rolled-back", "reason": "accuracy fell"}
    told.lasting.clear()

    seen = ModelReleaseResource().read(told.call(), wanted(server.url), state)

    assert seen["served"] == {"version": "2", "digest": "sha256:2"}
    assert seen["resolved"] == {"version": "3", "digest": DIGEST}
    (line,) = told.lasting
    assert line.startswith("version 2 is served, not version 3 as stated: accuracy fell")


def test_read_keeps_what_was_known_when_nobody_answers(told: Any, free_port: int) -> None:
    state = {
        "served": {"version": "3"},
        "rollout": {"state": "promoted"},
        "resolved": {"version": "3"},
        "quarantined": {},
    }

    assert ModelReleaseResource().read(told.call(), wanted(f"http://127.0.0.1:{free_port}"), state) == state


def test_model_that_the_controller_lost_is_released_again(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    resource = ModelReleaseResource()
    state = resource.create(told.call(), wanted(server.url))[1]
    controller.rollout = controller.served = None

    seen = resource.read(told.call(), wanted(server.url), state)

    assert seen["served"] is None
    assert resource.diff(wanted(server.url), seen, wanted(server.url)) == Difference(update=("rollout",))


def test_delete_withdraws_and_does_not_mind_when_it_is_gone(told: Any, neighbour: Callable[..., Any]) -> None:
    controller = Controller()
    server = neighbour(controller.answer)
    ModelReleaseResource().create(told.call(), wanted(server.url))

    ModelReleaseResource().delete(told.call(), wanted(server.url), {})
    ModelReleaseResource().delete(told.call(), wanted(server.url), {})

    assert controller.rollout is None
