"""A stack of releases through its life: the real program, controller, API server and engine; replicas are played."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1000)]


def test_shipped_releases_are_rolled_out_refused_and_rolled_back() -> None:
    done = subprocess.run(
        [str(ROOT / "mlops"), "rehearse", "prod-releases", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")},
    )
    report = json.loads(done.stdout)

    assert [phase for phase in report["phases"] if not phase["ok"]] == []
    assert done.returncode == 0
    assert report["left"] == {}
    names = [phase["name"] for phase in report["phases"]]
    assert sum(name.startswith("refused: ") for name in names) == 6
    changed = {phase["name"].partition(":")[2].strip(): phase["changes"] for phase in report["phases"]}
    assert changed["the first releases"]["create"] == 6
    assert changed["the next versions, by canary"]["update"] == 2
    judged = next(phase for phase in report["phases"] if phase["name"] == "as stated, judged by the policies")
    assert "passed" in judged["detail"]
    assert "failed" not in judged["detail"]
