"""The steps of a training run on a cluster, one after the other: each is a program of the local run, in a process.

    python -m training.pipelines.steps FILE
        environment: MLOPS_RUN (name of the run), and what its steps need

What a step hands on lies in a bucket, below `<store>/<run>/<place>`: before it starts its inputs are fetched from
there, after it has ended its outputs are put there, its result last. A run that is started again under the same name,
after its node was taken away, therefore goes on behind the last step that has ended.

The file (JSON) has `store` (`s3://bucket/prefix`), `work` (folder that paths are below), `directory` (where commands
run) and `steps`, each with `name`, `command`, `environment`, `inputs` and `outputs`: pairs of a place and a path. The
last output of each is the folder of its result.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training.errors import TrainingError
from training.workspace import run, say

RESULT = "result.json"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Places = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its command, its variables, and pairs of a place in the store and a path below the work folder."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: Places
    outputs: Places


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: where its steps hand things over, where they work, and what they are."""

    store: str
    work: Path
    directory: Path
    steps: tuple[Step, ...]


class Store(Protocol):
    """Where steps hand things over; places are relative to the run."""

    def holds(self, place: str) -> bool:
        """Whether there is a file."""

    def put(self, folder: Path, place: str) -> None:
        """Copy all files of a folder to a place."""

    def fetch(self, place: str, folder: Path) -> int:
        """Copy all files of a place into a folder; returns how many."""


def parse(data: Any) -> Plan:
    """Check the file's content.

    Raises:
        TrainingError: naming the key and what is expected.
    """
    if not isinstance(data, Mapping):
        raise TrainingError("expected an object")
    store = data.get("store")
    if not isinstance(store, str) or not re.fullmatch(r"s3://[a-z0-9.-]+(/[A-Za-z0-9_.-]+)*", store):
        raise TrainingError(f"store: expected s3://bucket/prefix, got {store!r}")
    steps = data.get("steps")
    if not isinstance(steps, list) or not steps:
        raise TrainingError("steps: expected a list of at least one step")
    return Plan(
        store=store,
        work=_folder(data, "work"),
        directory=_folder(data, "directory"),
        steps=tuple(_step(one, f"steps[{index}]") for index, one in enumerate(steps)),
    )


def _folder(data: Mapping[str, Any], key: str) -> Path:
    value = data.get(key)
    if not isinstance(value, str) or not value.startswith("/"):
        raise TrainingError(f"{key}: expected an absolute path, got {value!r}")
    return Path(value)


def _step(value: Any, where: str) -> Step:
    if not isinstance(value, Mapping):
        raise TrainingError(f"{where}: expected an object")
    name, command, environment = value.get("name"), value.get("command"), value.get("environment")
    if not isinstance(name, str) or not name:
        raise TrainingError(f"{where}.name: expected the name of a step, got {name!r}")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise TrainingError(f"{where}.command: expected a list of texts")
    if not isinstance(environment, Mapping) or not all(isinstance(one, str) for one in environment.values()):
        raise TrainingError(f"{where}.environment: expected texts by name")
    outputs = _places(value, "outputs", where)
    if not outputs:
        raise TrainingError(f"{where}.outputs: expected at least the folder of its result")
    return Step(name, tuple(command), dict(environment), _places(value, "inputs", where), outputs)


def _places(value: Mapping[str, Any], key: str, where: str) -> Places:
    found = value.get(key) or []
    if not isinstance(found, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(_inside(part) for part in pair) for pair in found
    ):
        raise TrainingError(f"{where}.{key}: expected pairs of a place and a path below the work folder")
    return tuple((place, path) for place, path in found)


def _inside(part: Any) -> bool:
    """Whether a place or path leads below where it begins, and not to that itself: what is there is removed."""
    return (
        isinstance(part, str) and bool(part) and not part.startswith("/") and not {"", ".", ".."} & {*part.split("/")}
    )


def perform(plan: Plan, store: Store, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run the steps that have not ended yet.

    Args:
        plan: the run.
        store: where its steps hand things over.
        environment: variables of all steps.

    Returns:
        The result of the last step.

    Raises:
        TrainingError: a step failed, or what it needs is not there.
    """
    for step in plan.steps:
        place, _ = step.outputs[-1]
        if store.holds(f"{place}/{RESULT}"):
            say(f"{step.name}: has ended in an earlier attempt")
            continue
        _perform(plan, step, store, environment)
    place, path = plan.steps[-1].outputs[-1]
    file = plan.work / path / RESULT
    if not file.is_file():
        store.fetch(place, file.parent)
    try:
        result: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file}: no result of {plan.steps[-1].name}: {error}") from None
    return result


def _perform(plan: Plan, step: Step, store: Store, environment: Mapping[str, str]) -> None:
    for _, path in (*step.inputs, *step.outputs):
        shutil.rmtree(plan.work / path, ignore_errors=True)
    for place, path in step.inputs:
        if not store.fetch(place, plan.work / path):
            raise TrainingError(f"{step.name}: {plan.store} holds nothing of {place} for this run")
    for _, path in step.outputs:
        (plan.work / path).mkdir(parents=True, exist_ok=True)
    say(f"{step.name}: starts")
    ended = subprocess.run(
        step.command, cwd=plan.directory, env={**environment, **step.environment}, check=False
    ).returncode
    if ended != 0:
        raise TrainingError(f"{step.name}: ended with status {ended}")
    for place, path in step.outputs:
        store.put(plan.work / path, place)
    say(f"{step.name}: has ended")


class Bucket:
    """A run's part of a bucket of S3."""

    def __init__(self, store: str, run_name: str) -> None:
        import boto3  # only where steps run on AWS

        self._bucket, _, prefix = store.removeprefix("s3://").partition("/")
        self._root = "/".join(part for part in (prefix, run_name) if part)
        self._s3 = boto3.client("s3")

    def holds(self, place: str) -> bool:
        """Whether there is a file."""
        # Not a HeadObject: without the right to list all of the bucket, S3 answers that with 403 instead of 404.
        key = f"{self._root}/{place}"
        return key in set(self._keys(key))

    def put(self, folder: Path, place: str) -> None:
        """Copy all files of a folder to a place."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                key = f"{self._root}/{place}/{file.relative_to(folder).as_posix()}"
                self._s3.upload_file(str(file), self._bucket, key)

    def fetch(self, place: str, folder: Path) -> int:
        """Copy all files of a place into a folder; returns how many."""
        count = 0
        root = f"{self._root}/{place}/"
        for key in self._keys(root):
            target = folder / key.removeprefix(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(self._bucket, key, str(target))
            count += 1
        return count

    def _keys(self, prefix: str) -> Iterator[str]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from (found["Key"] for found in page.get("Contents", ()))


def run_name() -> str:
    """Return the name of the run (`MLOPS_RUN`).

    Raises:
        TrainingError: it is not set, or no name: two runs would mix their data.
    """
    name = os.environ.get("MLOPS_RUN", "")
    if not _NAME.fullmatch(name):
        raise TrainingError(f"MLOPS_RUN: expected the name of this run (a-z, 0-9 and dashes, 63 at most), got {name!r}")
    return name


def main() -> None:
    """Run the steps of a file."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.steps", description="Run a training run.")
    parser.add_argument("file", help="JSON file with the steps")
    options = parser.parse_args()
    try:
        plan = parse(json.loads(Path(options.file).read_bytes()))
    except (OSError, ValueError, TrainingError) as error:
        raise TrainingError(f"{options.file}: {error}") from error
    name = run_name()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        result = perform(plan, Bucket(plan.store, name), os.environ)
    except (BotoCoreError, ClientError) as error:
        raise TrainingError(f"{plan.store}: {error}") from error
    verdict = "passed" if result.get("passed") else "did not pass"
    say(f"{result.get('model')}: version {result.get('version')} ({result.get('digest')}) {verdict} its evaluation")


if __name__ == "__main__":
    run(main)
