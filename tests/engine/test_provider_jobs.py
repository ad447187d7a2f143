"""Jobs of the `blueprint` provider under the real engine."""

import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.blueprint import Job, JobArgs

pytestmark = [
    pytest.mark.engine,
    # The Automation API leaves the coroutine of a program behind whose `up` failed; it complains when it is collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNTING = (
    "import json, os, pathlib; runs = pathlib.Path(os.environ['RUNS']); runs.open('a').write('x');"
    "path = pathlib.Path(os.environ['MLOPS_JOB_RESULT']); new = path.with_suffix('.new');"
    "new.write_text(json.dumps({'runs': len(runs.read_text()), 'rate': 0.5})); new.rename(path)"
)


def count(project: Any, seed: str = "7", code: str = COUNTING, **more: Any) -> Job:
    args = JobArgs(
        name="count",
        home=project.home,
        key={"seed": seed},
        command=[sys.executable, "-c", code],
        directory=str(project.folder),
        environment={"RUNS": str(project.folder / "runs")},
        **more,
    )
    job = Job("count", args)
    pulumi.export("result", job.result)
    return job


def result(project: Any) -> Any:
    return project.stack().outputs()["result"].value


def test_job_runs_once_and_its_result_is_adopted_after_a_destroy(project: Any) -> None:
    project.program = lambda: count(project)

    first, again = project.up(), project.up()
    project.destroy()
    anew = project.up()

    assert first.changes == {"create": 2}, first.text
    assert again.changes == {"same": 2}, again.text
    assert anew.changes == {"create": 2}, anew.text
    assert (project.folder / "runs").read_text() == "x"
    assert result(project) == {"runs": 1, "rate": 0.5}


def test_job_runs_again_when_its_key_changes_but_not_when_its_surroundings_do(project: Any) -> None:
    project.program = lambda: count(project)
    project.up()

    project.program = lambda: count(project, timeout_seconds=60)
    surroundings = project.up()
    after_surroundings = (project.folder / "runs").read_text()
    project.program = lambda: count(project, seed="8")
    project.up()

    assert surroundings.changes == {"same": 1, "update": 1}, surroundings.text
    assert after_surroundings == "x"
    assert result(project) == {"runs": 2, "rate": 0.5}


def test_job_runs_again_when_its_recorded_result_is_gone(project: Any) -> None:
    project.program = lambda: count(project)
    project.up()
    for path in Path(project.home, "data", "jobs").rglob("result.json"):
        path.unlink()

    outcome = project.up()

    assert outcome.changes == {"same": 1, "update": 1}, outcome.text
    assert result(project) == {"runs": 2, "rate": 0.5}


def test_failed_job_shows_the_end_of_its_output(project: Any) -> None:
    project.program = lambda: count(
        project,
        code="import os; print('token', os.environ['T']); raise SystemExit('no such column: fare')",
        secret_environment={"T": "hunter2hunter2"},
    )

    outcome = project.failing_up()

    assert "no such column: fare" in outcome.text
    assert "ended with status 1" in outcome.text
    assert "hunter2hunter2" not in outcome.text
    launch_files = list(Path(project.home).rglob("launch.json"))
    assert launch_files == [], "a file with secrets was left"
