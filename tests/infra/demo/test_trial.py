"""What a trial makes of the controller's view and of the users' answers; and how it is shown."""

import io
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from infra.cli.output import CommandFailed
from infra.demo import report, trial
from infra.demo.chart import Chart, sparkline
from infra.demo.trial import Outcome, Sample
from infra.demo.users import Answered

DIGEST = "sha256:" + "b" * 64


class FakeManifest:
    """What a trial needs of a manifest."""

    model, version, digest, source = "m", "2", DIGEST, "s"
    files: ClassVar[dict[str, str]] = {}

    def to_json(self) -> dict[str, Any]:
        return {}


class FakeUsers:
    """Answers that came at given times."""

    def __init__(self) -> None:
        self.answers: list[Answered] = []

    @property
    def failed(self) -> list[Answered]:
        return [one for one in self.answers if one.problem]


class FakeControl:
    """A controller whose rollout goes on with every look; users are asked in between."""

    def __init__(self, users: FakeUsers, looks: list[tuple[str, str, list[Answered]]]) -> None:
        self._users, self._looks, self._messages = users, looks, list[dict[str, Any]]()

    def ask(self, method: str, path: str, body: Any = None, **_query: Any) -> Any:
        assert (method, path, body["version"]) == ("PUT", "/v1/models/m/release", "2")
        return {"rollout": {"id": "r"}}

    def model(self, _name: str) -> dict[str, Any]:
        phase, state, answers = self._looks.pop(0)
        self._users.answers += answers
        at = 1000.0 + len(self._messages) * 10
        self._messages.append({"seq": len(self._messages) + 1, "at": at, "text": f"m 2: {phase}: why"})
        counts = {"candidate": {"requests": 9, "errors": 2, "invalid": 1}}
        rollout = {
            "id": "r", "state": state, "phase": phase, "reason": "why", "messages": self._messages, "counts": counts,
        }  # fmt: skip
        return {"rollout": rollout, "quarantined": [{"digest": DIGEST}]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.demo.trial.time.sleep", lambda _seconds: None)


def outcome(looks: list[tuple[str, str, list[Answered]]], seen: list[Sample] | None = None) -> Outcome:
    users = FakeUsers()
    users.answers.append(Answered(1.0, "1", "before the trial"))
    return trial.run(
        FakeControl(users, looks),  # type: ignore[arg-type]
        users,  # type: ignore[arg-type]
        FakeManifest(),  # type: ignore[arg-type]
        fault="errors",
        group="shared",
        look=lambda sample, _document: (seen if seen is not None else []).append(sample),
    )


def rolled_back(problem: str = "") -> Outcome:
    return outcome(
        [
            ("analysing", "step", [Answered(1001.0, "1"), Answered(1002.0, "2")]),
            ("rolling-back", "step", [Answered(1010.4, "2", problem), Answered(1012.0, "1")]),
            ("rolled-back", "rolled-back", [Answered(1021.0, "1")]),
        ]
    )


def test_rollback_is_measured_from_what_the_controller_said_and_users_got() -> None:
    found = rolled_back()

    assert (found.state, found.quarantined) == ("rolled-back", True)
    assert (found.user_requests, found.user_failures, found.candidate_requests) == (5, 0, 9)
    assert (found.seconds_to_decision, found.seconds_to_stable) == (10.0, 10.0)
    assert found.seconds_to_last_answer == 0.4


def test_failed_request_of_a_user_is_told() -> None:
    found = rolled_back("status 500: broken")

    assert found.user_failures == 1
    assert found.problems == ("status 500: broken",)


def test_candidate_that_never_answered_has_nothing_to_be_taken_back() -> None:
    found = outcome([("starting", "starting", [Answered(1001.0, "1")]), ("rolled-back", "failed", [])])

    assert (found.state, found.seconds_to_stable, found.seconds_to_last_answer) == ("failed", 0.0, None)


def test_samples_show_share_and_failures() -> None:
    seen: list[Sample] = []
    outcome(
        [
            ("analysing", "step", [Answered(1001.0, "1"), Answered(1002.0, "2")]),
            ("rolled-back", "rolled-back", [Answered(1021.0, "1", "gone")]),
        ],
        seen,
    )

    assert [(one.phase, one.share, one.user_failures) for one in seen] == [("analysing", 0.5, 0), ("rolled-back", 0, 1)]
    assert seen[0].candidate_failures == 3


def test_stable_that_fails_alone_is_no_trial() -> None:
    users = FakeUsers()
    users.answers.append(Answered(1.0, "", "status 500"))

    with pytest.raises(CommandFailed, match="before anything was released: status 500"):
        trial.warm(users, 0)  # type: ignore[arg-type]


def test_json_names_are_those_of_the_wire() -> None:
    document = rolled_back().to_json()

    assert document["userFailures"] == 0
    assert document["secondsToStable"] == 10.0
    assert "samples" not in document


def test_sparkline_shows_the_smallest_value_above_nothing() -> None:
    assert sparkline([0, 0.01, 1, 2], 1) == " ▁██"
    assert sparkline([0.0], 0) == " "


@pytest.mark.parametrize("terminal", [True, False])
def test_chart_shows_the_phase_in_a_terminal_and_elsewhere(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, highlight=False, width=100)
    message = {"seq": 1, "text": "m 2: analysing: step 1"}
    with Chart(console, "errors") as chart:
        chart.look(Sample(1.0, "analysing", 0.2, 150.0, 30, 4, 0), {"rollout": {"messages": [message]}})
        chart.look(Sample(1.2, "analysing", 0.2, 150.0, 30, 4, 0), {"rollout": {"messages": [message]}})
    shown = console.file.getvalue()  # type: ignore[attr-defined]

    assert "analysing" in shown
    assert shown.count("m 2: analysing: step 1") == 1
    assert ("\x1b[" in shown) is terminal
    assert "4 candidate failures" in shown or terminal


@pytest.mark.slow
def test_report_holds_the_chart_and_the_figures(tmp_path: Path) -> None:
    files = report.write(tmp_path / "new", [rolled_back()])

    page = files[0].read_text("utf-8")
    assert [file.name for file in files] == ["release-demo.html", "release-demo-errors.png"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in page
    assert "10.00" in page
    assert "why" in page
