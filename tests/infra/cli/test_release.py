"""Following and steering rollouts from the command line, against a controller of the test's own making."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.cli import release

DIGEST = "sha256:" + "a" * 64
ROLLOUT = {
    "id": "r7",
    "state": "step",
    "reason": "",
    "step": 1,
    "steps": 2,
    "weight": 500,
    "candidate": {"version": "3", "digest": DIGEST},
    "counts": {"candidate": {"requests": 12, "errors": 0}, "stable": {"requests": 230, "errors": 1}},
    "messages": [{"seq": 1, "at": "09:00", "text": "5 % of the traffic"}],
}


def model(**rollout: Any) -> dict[str, Any]:
    return {
        "model": "churn",
        "served": {"version": "2", "digest": "sha256:2"},
        "rollout": ROLLOUT | rollout,
        "quarantined": [],
    }


def test_status_shows_where_a_rollout_is(project: Any, controlled: Callable[..., Any]) -> None:
    server = controlled(lambda method, path, body: (200, model()))

    shown = project.run("release", "status")

    assert "step 1 of 2 · 5 % of the traffic · candidate 12 requests, 0 errors" in shown.text
    assert server.requests == [("GET", "/v1/models/churn", None)]
    assert server.headers[0]["authorization"] == "Bearer letmein"


def test_status_of_one_model_is_the_controllers_document(project: Any, controlled: Callable[..., Any]) -> None:
    controlled(lambda method, path, body: (200, model()))

    assert project.run("release", "status", "churn", "--json").json == model()


def test_status_names_what_is_quarantined(project: Any, controlled: Callable[..., Any]) -> None:
    document = model(state="rolled-back") | {"quarantined": [{"digest": DIGEST, "reason": "20 % errors"}]}
    controlled(lambda method, path, body: (200, document))

    assert f"churn: {DIGEST[:19]} is quarantined: 20 % errors" in project.run("release", "status").text


@pytest.mark.parametrize(("end", "failure"), [("promoted", ""), ("rolled-back", "ended rolled-back: 20 % errors")])
def test_watch_follows_to_the_end_and_fails_when_it_was_not_promoted(
    end: str, failure: str, project: Any, controlled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "_POLL_SECONDS", 0.01)
    looks = iter([model(), model(), model(state=end, reason="20 % errors")])
    controlled(lambda method, path, body: (200, next(looks)))

    ran = project.run("release", "watch", "churn", "--json")

    assert ran.json["rollout"]["state"] == end
    assert failure in ran.failure
    assert bool(ran.failure) is bool(failure)


@pytest.mark.parametrize("command", ["pause", "resume", "promote", "abort", "rollback"])
def test_steering_says_who_and_why(
    command: str, project: Any, controlled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_PERSON", "asha@example.com")
    server = controlled(lambda method, path, body: (200, model(state="paused")))

    ran = project.run("release", command, "churn", "--reason", "a hunch")

    assert ran.text == "churn: paused; version 2 is served\n"
    assert server.requests == [
        ("POST", f"/v1/models/churn/rollout/{command}", {"reason": "a hunch", "by": "asha@example.com"})
    ]


def test_what_cannot_be_done_now_is_told(project: Any, controlled: Callable[..., Any]) -> None:
    controlled(lambda method, path, body: (409, {"error": "nothing runs; possible now: rollback"}))

    assert project.run("release", "pause", "churn").failure == (
        "the rollout controller refuses, 409: nothing runs; possible now: rollback"
    )


def test_controller_that_does_not_answer_is_named(project: Any, free_port: int) -> None:
    project.controller(f"http://127.0.0.1:{free_port}")

    assert "the rollout controller of stack local does not answer" in project.run("release", "status").failure


def test_history_lists_what_the_ledger_says(project: Any, controlled: Callable[..., Any]) -> None:
    entry = {
        "seq": 8,
        "time": "2026-11-20T09:00:00.000000Z",
        "kind": "release-step",
        "person": "asha",
        "version": "3",
        "what": {"step": "started", "reason": "asked"},
    }
    server = controlled(lambda method, path, body: (200, {"model": "churn", "entries": [entry]}))

    shown = project.run("release", "history", "churn", "--limit", "5").text

    for part in ("8", "2026-11-20T09:00:00", "release-step", "asha", "asked"):
        assert part in shown
    assert server.requests[0][1] == "/v1/models/churn/history?limit=5"
    assert project.run("release", "history", "churn", "--json").json == [entry]
