"""Steps of a run: each gets what the one before has put, and an attempt goes on behind what has ended."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.pipelines.steps import Bucket, Plan, parse, perform, run_name

WRITE = """
import json, os, pathlib
work = pathlib.Path(os.environ["WORK"])
(work / "data/deep").mkdir(parents=True)
(work / "data/deep/rows.txt").write_text(os.environ["ROWS"])
(work / "result/result.json").write_text(json.dumps({"rows": 3}))
"""
READ = """
import json, os, pathlib
work = pathlib.Path(os.environ["WORK"])
rows = (work / "data/deep/rows.txt").read_text()
given = json.loads((work / "write/result.json").read_text())
(work / "result/result.json").write_text(json.dumps({"model": "m", "rows": rows, "given": given, "here": os.getcwd()}))
"""


class Folder:
    """A store that is a folder; counts what was put."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.placed: list[str] = []

    def holds(self, place: str) -> bool:
        return (self.root / place).is_file()

    def put(self, folder: Path, place: str) -> None:
        self.placed.append(place)
        shutil.copytree(folder, self.root / place, dirs_exist_ok=True)

    def fetch(self, place: str, folder: Path) -> int:
        if not (self.root / place).is_dir():
            return 0
        shutil.copytree(self.root / place, folder, dirs_exist_ok=True)
        return 1


def step(name: str, code: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "command": [sys.executable, "-c", code],
        "environment": {"ROWS": "three"},
        "inputs": [],
        "outputs": [["data", "data"], [name, "result"]],
        **changes,
    }


def document(tmp_path: Path, *steps: dict[str, Any]) -> dict[str, Any]:
    for folder in ("work", "code"):
        (tmp_path / folder).mkdir(exist_ok=True)
    return {
        "store": "s3://acme-data/pipelines/m",
        "work": str(tmp_path / "work"),
        "directory": str(tmp_path / "code"),
        "steps": list(steps),
    }


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    reads = step("read", READ, inputs=[["data", "data"], ["write", "write"]], outputs=[["read", "result"]])
    return parse(document(tmp_path, step("write", WRITE), reads))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "WORK": str(tmp_path / "work")}


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "store")


def test_each_step_gets_what_the_one_before_has_put(
    plan: Plan, store: Folder, environment: dict[str, str], tmp_path: Path
) -> None:
    result = perform(plan, store, environment)

    assert result == {"model": "m", "rows": "three", "given": {"rows": 3}, "here": str(tmp_path / "code")}
    assert store.placed == ["data", "write", "read"]


def test_what_has_ended_is_not_done_again_on_another_node(
    plan: Plan, store: Folder, environment: dict[str, str], tmp_path: Path
) -> None:
    first = Plan(plan.store, plan.work, plan.directory, plan.steps[:1])
    perform(first, store, environment)
    shutil.rmtree(tmp_path / "work")
    store.placed.clear()

    assert perform(plan, store, environment)["rows"] == "three"
    assert store.placed == ["read"]


def test_a_run_that_has_ended_gives_its_result_again(
    plan: Plan, store: Folder, environment: dict[str, str], tmp_path: Path
) -> None:
    first = perform(plan, store, environment)
    shutil.rmtree(tmp_path / "work")

    assert perform(plan, store, environment) == first


def test_a_step_that_fails_puts_nothing_and_ends_the_run(
    tmp_path: Path, store: Folder, environment: dict[str, str]
) -> None:
    broken = parse(document(tmp_path, step("write", WRITE + "\nraise SystemExit(4)"), step("after", WRITE)))

    with pytest.raises(TrainingError, match="write: ended with status 4"):
        perform(broken, store, environment)
    assert store.placed == []


def test_what_an_attempt_left_on_the_disk_is_no_output_of_the_next(
    tmp_path: Path, store: Folder, environment: dict[str, str]
) -> None:
    left = tmp_path / "work" / "result" / "result.json"
    left.parent.mkdir(parents=True)
    left.write_text('{"of": "an earlier step"}')
    nothing = parse(document(tmp_path, step("idle", "pass")))

    with pytest.raises(TrainingError, match="no result of idle"):
        perform(nothing, store, environment)


def test_an_input_that_nobody_has_put_is_named(tmp_path: Path, store: Folder, environment: dict[str, str]) -> None:
    lonely = parse(document(tmp_path, step("read", READ, inputs=[["snapshots", "data"]])))

    with pytest.raises(TrainingError, match="holds nothing of snapshots for this run"):
        perform(lonely, store, environment)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"store": "/disk"}, "store: expected s3://bucket/prefix"),
        ({"work": "work"}, "work: expected an absolute path"),
        ({"steps": []}, "steps: expected a list of at least one"),
        ({"steps": [{}]}, r"steps\[0\].name"),
        ({"steps": [step("a", "", command="python")]}, r"steps\[0\].command: expected a list of texts"),
        ({"steps": [step("a", "", environment={"A": 1})]}, r"steps\[0\].environment: expected texts"),
        ({"steps": [step("a", "", outputs=[])]}, r"steps\[0\].outputs: expected at least the folder of its result"),
        ({"steps": [step("a", "", inputs=[["data", "../etc"]])]}, r"steps\[0\].inputs: expected pairs"),
        ({"steps": [step("a", "", inputs=[["data", "/etc"]])]}, r"steps\[0\].inputs: expected pairs"),
        ({"steps": [step("a", "", inputs=[["data", "."]])]}, r"steps\[0\].inputs: expected pairs"),
        ({"steps": [step("a", "", inputs=[["data"]])]}, r"steps\[0\].inputs: expected pairs"),
    ],
)
def test_a_bad_file_is_refused_with_the_key(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        parse(document(tmp_path, step("a", "")) | change)


@pytest.mark.parametrize("name", ["", "a/b", "A", "-a"])
def test_a_run_without_a_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("MLOPS_RUN", name)

    with pytest.raises(TrainingError, match="MLOPS_RUN: expected the name of this run"):
        run_name()


@pytest.mark.slow
def test_a_bucket_keeps_the_places_of_runs_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "rows.txt").write_text("three")
    (tmp_path / "out" / "result.json").write_text("{}")
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="acme-data", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        one, other = (Bucket("s3://acme-data/pipelines/m", name) for name in ("ray-1", "ray-12"))
        one.put(tmp_path / "out", "write")

        assert one.holds("write/result.json")
        assert not one.holds("write/result")
        assert not other.holds("write/result.json")
        assert other.fetch("write", tmp_path / "none") == 0
        assert one.fetch("write", tmp_path / "in") == 2
        found = s3.list_objects_v2(Bucket="acme-data")["Contents"]
    assert (tmp_path / "in" / "deep" / "rows.txt").read_text() == "three"
    assert [one["Key"] for one in found] == [
        "pipelines/m/ray-1/write/deep/rows.txt",
        "pipelines/m/ray-1/write/result.json",
    ]


def test_the_file_may_be_what_json_gives(tmp_path: Path) -> None:
    text = json.dumps(document(tmp_path, step("write", WRITE)))

    assert [one.outputs for one in parse(json.loads(text)).steps] == [(("data", "data"), ("write", "result"))]
