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


def test_new_data_make_a_new_version_that_waits_for_a_release(scheduled: Platform) -> None:
    before = served(scheduled)
    data = scheduled.checkout.root / DATA
    rows = data.read_text("utf-8").splitlines(keepends=True)
    data.write_text("".join(rows[:-20]), encoding="utf-8")

    try:
        until(lambda: bool(results(scheduled)), "the training of a slot has ended")
    finally:
        data.write_text("".join(rows), encoding="utf-8")

    slot, made = next(iter(results(scheduled).items()))
    assert made["passed"] is True
    assert made["digest"] != before[MODEL]["digest"]
    assert int(made["version"]) > int(before[MODEL]["version"])
    assert submitted(scheduled).count(f"scheduled-{MODEL}-{slot}") == 1
    assert len(submitted(scheduled)) == len(set(submitted(scheduled)))
    assert served(scheduled) == before
