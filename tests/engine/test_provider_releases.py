"""Model releases under the real engine, with a rollout controller of the test's own."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from components.blueprint import Controller, ModelRelease, ModelReleaseArgs, Step, Strategy

pytestmark = [
    pytest.mark.engine,
    # The Automation API leaves the coroutine of a program behind whose `up` failed; it complains when it is collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Rollouts:
    """A rollout controller that promotes at once, but for version 2, which it rolls back."""

    def __init__(self) -> None:
        self.served: dict[str, Any] | None = None
        self.rollout: dict[str, Any] | None = None
        self.quarantined: dict[str, str] = {}

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "PUT":
            good = body["version"] != "2"
            self.served = {"version": body["version"], "digest": body["digest"]} if good else self.served
            messages = [{"seq": 1, "at": "", "text": f"version {body['version']} is loaded"}]
            state = (
                {"state": "promoted", "reason": ""}
                if good
                else {"state": "rolled-back", "reason": "replica 1: no memory"}
            )
            if not good:
                self.quarantined[body["digest"]] = "replica 1: no memory"
            self.rollout = {"id": f"r{body['version']}", "messages": messages, **state}
            return 202, {"rollout": {"id": self.rollout["id"], "state": "starting"}}
        if method == "DELETE":
            self.served = self.rollout = None
            return 200, {}
        seen = {"served": self.served, "rollout": self.rollout, "quarantined": self.quarantined}
        return (200, seen) if self.rollout else (404, {})


def release(version: str, url: str) -> None:
    candidate = {
        "model": "churn",
        "version": version,
        "digest": "sha256:" + version * 64,
        "source": f"models:/churn/{version}",
        "files": {"model.onnx": "0" * 64},
        "passed": True,
    }
    controller = Controller(url=url, token="letmein-letmein")
    args = ModelReleaseArgs(
        model="churn",
        version="latest",
        group="shared",
        controller=controller,
        candidate=candidate,
        strategy=Strategy(kind="canary", steps=[Step(weight=5, minutes=1), Step(weight=50, minutes=10)]),
    )
    pulumi.export("served", ModelRelease("churn", args).served)


def test_release_shows_its_steps_and_a_failed_one_leaves_the_old_version(
    project: Any, neighbour: Callable[..., Any]
) -> None:
    controller = Rollouts()
    server = neighbour(controller.answer)
    url = server.url
    project.program = lambda: release("1", url)
    first, again = project.up(), project.up()

    project.program = lambda: release("2", url)
    planned, failed = project.preview(), project.failing_up()
    warned, _kept = project.preview(), project.failing_up()
    project.program = lambda: release("1", url)
    unchanged = project.up()
    served = project.stack().outputs()["served"].value
    project.destroy()

    assert first.changes == {"create": 2}, first.text
    assert "version 1 is loaded" in first.text
    assert again.changes == {"same": 2}, again.text
    assert "plan: version 2 in place of version 1, canary" in planned.text
    assert "step 2 of 2: 50 % of the traffic, until 10 min" in planned.text
    assert "version 2 was rolled back: replica 1: no memory. Version 1 is still served" in failed.text
    assert "is quarantined and not rolled out again: replica 1: no memory" in warned.text
    assert [body["version"] for method, _path, body in server.requests if method == "PUT"] == ["1", "2"]
    assert unchanged.changes == {"same": 2}, unchanged.text
    assert served == {"version": "1", "digest": "sha256:" + "1" * 64}
    assert "letmein" not in project.state_text() + first.text + failed.text
    assert controller.served is None


def test_release_that_did_not_pass_is_refused_by_a_preview(project: Any) -> None:
    candidate = {"version": "1", "passed": False, "evaluation": {"reasons": ["AUC 0.51 is below 0.60"]}}
    controller = Controller(url="http://127.0.0.1:1", token="t")
    args = ModelReleaseArgs(model="churn", version="latest", group="shared", controller=controller, candidate=candidate)
    project.program = lambda: ModelRelease("churn", args)

    outcome = project.preview()

    assert outcome.failed
    assert "version 1 of churn did not pass its evaluation: AUC 0.51 is below 0.60" in outcome.text
