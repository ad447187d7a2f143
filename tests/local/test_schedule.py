"""Retraining by schedule on a platform that is up: it registers what it made and changes nothing that is served."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.local.checkout import Platform
from tests.local.test_platform import served, until

pytestmark = pytest.mark.local

MODEL = "mortgage-approval"
DATA = "training/examples/mortgage_approval/hmda.csv"


@pytest.fixture
def scheduled(platform: Platform) -> Iterator[Platform]:
    """The platform with one model that is trained every minute."""
    file = platform.checkout.stack_file
    before = file.read_text("utf-8")
    document = yaml.safe_load(before)
    document["config"]["mlops:models"].setdefault(MODEL, {})["schedule"] = "* * * * *"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    platform.checkout.run("up", platform.checkout.stack)
    yield platform
    file.write_text(before, encoding="utf-8")


def results(platform: Platform) -> dict[str, dict[str, Any]]:
    """What the scheduled trainings left, by slot."""
    folder = platform.checkout.home / "data" / "jobs" / "scheduled" / MODEL
    return {path.parent.name: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/result.json"))}


def submitted(platform: Platform) -> list[str]:
    lines = Path(platform.checkout.home, "log", "scheduler.log").read_text("utf-8").splitlines()
    return [line.rpartition("submitted ")[2] for line in lines if "submitted " in line]


def replace(file: Path, text: str) -> None:
    """Write a file whole: a training may read it at any time."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def test_new_data_make_a_new_version_that_waits_for_a_release(scheduled: Platform) -> None:
    before = served(scheduled)
    data = scheduled.checkout.root / DATA
    rows = data.read_text("utf-8").splitlines(keepends=True)

    def new() -> dict[str, dict[str, Any]]:
        # A slot that began before the data changed makes what is served already.
        return {slot: one for slot, one in results(scheduled).items() if one["digest"] != before[MODEL]["digest"]}

    replace(data, "".join(rows[:-20]))
    try:
        until(lambda: bool(new()), "a slot has trained on the new data", seconds=480)
    finally:
        replace(data, "".join(rows))

    slot, made = next(iter(new().items()))
    assert made["passed"] is True
    assert int(made["version"]) > int(before[MODEL]["version"])
    assert submitted(scheduled).count(f"scheduled-{MODEL}-{slot}") == 1
    assert len(submitted(scheduled)) == len(set(submitted(scheduled)))
    assert served(scheduled) == before
