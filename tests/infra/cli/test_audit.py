"""Questions to the ledger from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SERVED = {
    "model": "churn",
    "stable": {"version": "3", "digest": "sha256:3", "since": "2026-11-20T08:00:00Z", "entry": 7},
    "candidate": None,
    "approvers": [{"principal": "risk@local", "role": "model-risk"}],
    "evidence": [2, 5, 7],
    "measured": {"requests": 1200},
    "notes": ["a clock was put back"],
}


def test_whole_ledger_is_said_to_be(project: Any, controlled: Callable[..., Any]) -> None:
    report = {"ok": True, "entries": 12, "checkpoints": 3, "sealed": 11, "findings": []}
    server = controlled(lambda method, path, body: (200, report))

    assert (
        project.run("audit", "verify").text == "the ledger is whole: 12 entries, 3 checkpoints, sealed up to entry 11\n"
    )
    assert server.requests[0][:2] == ("POST", "/v1/audit/verify")


def test_ledger_that_was_changed_fails_with_what_is_wrong(project: Any, controlled: Callable[..., Any]) -> None:
    report = {"ok": False, "entries": 12, "findings": [{"message": "entry 5 was changed", "first": 5}]}
    controlled(lambda method, path, body: (200, report))

    ran = project.run("audit", "verify", "--json")

    assert ran.json == report
    assert ran.failure == "the ledger is not whole: entry 5 was changed"


def test_serving_names_version_approver_and_evidence(project: Any, controlled: Callable[..., Any]) -> None:
    server = controlled(lambda method, path, body: (200, SERVED))

    shown = project.run("audit", "serving", "churn", "--at", "2026-11-20T10:00+01:00").text

    for part in ("3, since 2026-11-20T08:00:00Z", "sha256:3", "risk@local (model-risk)", "entries 2, 5, 7", "1200"):
        assert part in shown
    assert "a clock was put back" in shown
    assert server.requests[0][1] == "/v1/audit/serving?model=churn&at=2026-11-20T09%3A00%3A00Z"


@pytest.mark.parametrize(("at", "said"), [("yesterday", "not a time"), ("2026-11-20T09:00", "needs a time zone")])
def test_time_that_is_not_clear_is_refused(at: str, said: str, project: Any) -> None:
    assert said in project.run("audit", "serving", "churn", "--at", at).failure


def test_export_is_the_controllers_as_it_is(project: Any, controlled: Callable[..., Any], tmp_path: Path) -> None:
    server = controlled(lambda method, path, body: (200, {"type": "ledger", "ledger": "l1"}))

    assert project.run("audit", "export", "--out", str(tmp_path / "ledger.jsonl")).failure == ""
    assert json.loads((tmp_path / "ledger.jsonl").read_text()) == {"type": "ledger", "ledger": "l1"}
    assert json.loads(project.run("audit", "export").text) == {"type": "ledger", "ledger": "l1"}
    assert server.requests[0][:2] == ("GET", "/v1/audit/export")
