from collections.abc import Callable
from typing import Any

import pytest

from infra.provider import process
from infra.provider.codec import UNKNOWN, Properties, Secret
from infra.provider.process import Found, ProcessResource
from infra.provider.resource import Call, Difference

Inputs = Callable[..., Properties]
RUNNING = {"status": "running", "pid": 7}


def test_nothing_changes_when_inputs_are_the_same_and_the_process_runs(process_inputs: Inputs) -> None:
    assert not ProcessResource().diff(process_inputs(), RUNNING, process_inputs())


@pytest.mark.parametrize("status", ["stopped", "changed", "unhealthy", "starting", None])
def test_update_when_the_process_was_not_found_running(process_inputs: Inputs, status: str | None) -> None:
    difference = ProcessResource().diff(process_inputs(), {"status": status}, process_inputs())

    assert difference == Difference(update=("status",))


@pytest.mark.parametrize("first", ["starting", "unhealthy"])
def test_one_late_answer_is_no_change(
    process_inputs: Inputs, told: Any, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    looks = iter([Found(first, 7), Found("running", 7)])
    monkeypatch.setattr(process, "look", lambda _inputs: next(looks))
    monkeypatch.setattr(Call, "sleep", lambda *_: None)

    assert ProcessResource().read(told.call(), process_inputs(), {}) == RUNNING


@pytest.mark.parametrize(
    "different",
    [
        {"command": ["sleep", "601"]},
        {"environment": {"A": "1"}},
        {"secretEnvironment": {"A": "1"}},
        {"files": {"a.yaml": "1"}},
        {"ports": {"http": 5000}},
        {"triggers": {"code": "1"}},
        {"restart": {"always": False}},
        {"stopTimeoutSeconds": 20},
        {"health": {"tcp": 5000}},
    ],
)
def test_update_names_the_input_that_changed(process_inputs: Inputs, different: dict[str, Any]) -> None:
    difference = ProcessResource().diff(process_inputs(), RUNNING, process_inputs(**different))

    assert difference == Difference(update=tuple(different))


def test_update_when_an_input_is_not_known_yet(process_inputs: Inputs) -> None:
    wanted = process_inputs() | {"triggers": UNKNOWN}

    assert ProcessResource().diff(process_inputs(), RUNNING, wanted) == Difference(update=("triggers",))


@pytest.mark.parametrize("different", [{"name": "other"}, {"home": "/elsewhere"}])
def test_another_name_or_home_is_another_process(process_inputs: Inputs, different: dict[str, Any]) -> None:
    difference = ProcessResource().diff(process_inputs(), RUNNING, process_inputs(**different))

    assert difference == Difference(replace=tuple(different))


def test_secrets_are_marked_however_they_came_in() -> None:
    given = {"name": "a", "home": "/h", "command": ["x"], "directory": "/", "secretEnvironment": {"A": "1"}}

    inputs, problems = ProcessResource().check(given | {"files": {"f": "2"}})

    assert problems == []
    assert inputs["secretEnvironment"] == {"A": Secret("1")}
    assert inputs["files"] == {"f": Secret("2")}


@pytest.mark.parametrize(
    ("different", "problem"),
    [
        ({"command": []}, "`command` is empty"),
        ({"health": {}}, "`health` needs exactly one of"),
        ({"health": {"http": "http://a/", "tcp": 5}}, "`health` needs exactly one of"),
        ({"files": {"../up": ""}}, "`files` has the key '../up'"),
        ({"environment": {"MLOPS_PROCESS": "x"}}, "`environment.MLOPS_PROCESS` is the provider's own mark"),
    ],
)
def test_inputs_that_do_not_fit_together_are_refused(different: dict[str, Any], problem: str) -> None:
    given = {"name": "a", "home": "/h", "command": ["x"], "directory": "/"} | different

    _inputs, problems = ProcessResource().check(given)

    assert [reason[: len(problem)] for reason in problems] == [problem]
