"""`mlops feedback` against a server of the test's own making, and the ids that `mlops predict` prints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.cli.context import Context


@pytest.fixture
def served(project: Any, neighbour: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Let a function be the stack's server of models."""

    def start(answer: Callable[[str, str, Any], tuple[int, Any]]) -> Any:
        server = project.server = neighbour(answer)
        monkeypatch.setattr(Context, "endpoint", lambda _self, _name: {"url": server.url, "token": "secret"})
        return project

    return start


class Taking:
    """A server that takes labels, up to a number of requests."""

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.parts: list[list[dict[str, Any]]] = []

    def __call__(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        assert (method, path) == ("POST", "/v2/models/churn/feedback")
        if len(self.parts) >= self.most:
            return 503, {"error": "the labels cannot be stored now"}
        self.parts.append(body["labels"])
        return 200, {"model_name": "churn", "accepted": len(body["labels"]), "known": 0}


@pytest.mark.parametrize(("typed", "label"), [("1", 1), ("red", "red"), ('"1"', "1"), ("[0, null, 1]", [0, None, 1])])
def test_one_label_is_sent(served: Callable[..., Any], typed: str, label: Any) -> None:
    server = Taking()
    ran = served(server).run("feedback", "churn", "--id", "a1", "--label", typed)
    assert ran.json == {"model": "churn", "accepted": 1, "known": 0}
    assert server.parts == [[{"id": "a1", "label": label}]]


def test_file_is_sent_in_parts(served: Callable[..., Any], tmp_path: Path) -> None:
    file, server = tmp_path / "labels.jsonl", Taking()
    lines = [json.dumps({"id": f"a{number}", "label": 1}) for number in range(1_500)]
    file.write_text("\n".join([*lines, "", json.dumps({"id": "wide", "label": [0] * 900})]))
    assert served(server).run("feedback", "churn", "--file", str(file)).json["accepted"] == 1_501
    assert [len(part) for part in server.parts] == [1_000, 500, 1]


def test_failure_half_way_is_a_failure(served: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(json.dumps({"id": f"a{number}", "label": 1}) for number in range(1_500)))
    ran = served(Taking(most=1)).run("feedback", "churn", "--file", str(file))
    assert "answered 503: the labels cannot be stored now" in ran.failure


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2 is not JSON"), ('{"id": "a"}', "line 2: expected"), ('{"id": "a", "label": 1, "x": 2}', "line 2")],
)
def test_line_that_is_no_label_is_named(served: Callable[..., Any], tmp_path: Path, line: str, message: str) -> None:
    file, server = tmp_path / "labels.jsonl", Taking()
    file.write_text(f'{{"id": "a", "label": 1}}\n{line}\n')
    assert message in served(server).run("feedback", "churn", "--file", str(file)).failure
    assert not server.parts


@pytest.mark.parametrize(
    "arguments", [(), ("--id", "a"), ("--label", "1"), ("--id", "a", "--label", "1", "--file", "x")]
)
def test_wrong_usage_is_told(served: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    assert "either --id and --label, or --file" in served(Taking()).run("feedback", "churn", *arguments).failure


def test_missing_file_is_told(served: Callable[..., Any]) -> None:
    assert "No such file" in served(Taking()).run("feedback", "churn", "--file", "/nowhere.jsonl").failure


def test_predict_prints_the_id_that_labels_are_sent_for(served: Callable[..., Any]) -> None:
    def answer(method: str, _path: str, body: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}]}
        return 200, {"model_name": "churn", "id": body["id"], "outputs": []}

    project = served(answer)
    ran = project.run("predict", "churn", "--json", '{"x": 1.0}')
    assert len(ran.json["id"]) == 32
    assert project.server.headers[-1]["x-request-id"] == ran.json["id"]
