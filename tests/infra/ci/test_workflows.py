"""The workflows: least rights, everything pinned, nothing of a change run where there is something to take."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.engine.tools import find

PROJECT = Path(__file__).parents[3]
FOLDER = PROJECT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))

every = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def _read(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return found


def _steps(name: str) -> list[dict[str, Any]]:
    return [step for job in _read(name)["jobs"].values() for step in job.get("steps", [])]


def test_the_workflows_are_there() -> None:
    assert {file.stem for file in FILES} == {"review", "report", "deploy", "deploy-stack", "images"}


@every
def test_every_action_is_pinned_to_a_commit_and_says_its_version(file: Path) -> None:
    for line in file.read_text().splitlines():
        if "uses:" in line and "./.github/" not in line:
            assert re.search(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@every
def test_nothing_is_allowed_unless_a_job_says_so(file: Path) -> None:
    assert _read(file.stem)["permissions"] == {}


@every
def test_no_expression_stands_in_a_script(file: Path) -> None:
    """What a stranger can name (a branch, a title) would be run as part of it."""
    for step in _steps(file.stem):
        assert "${{" not in step.get("run", ""), step


@every
def test_no_workflow_runs_a_strangers_code_with_rights(file: Path) -> None:
    assert "pull_request_target" not in file.read_text()


@every
def test_every_job_ends_by_itself(file: Path) -> None:
    for job in _read(file.stem)["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] > 0


def test_a_review_holds_no_credentials_and_may_write_nothing() -> None:
    text = (FOLDER / "review.yml").read_text()
    assert "secrets." not in text
    assert "id-token" not in text
    assert [job["permissions"] for job in _read("review")["jobs"].values()] == [{"contents": "read"}] * 2
    assert all(
        step["with"]["persist-credentials"] is False
        for step in _steps("review")
        if step.get("uses", "").startswith("actions/checkout@")
    )


def test_a_review_writes_outside_the_checkout_so_that_it_stays_the_commit() -> None:
    (step,) = [one for one in _steps("review") if "mlops review" in one.get("run", "")]
    assert step["env"]["OUT"].startswith("${{ runner.temp }}")
    assert set(re.findall(r"--(\w+)", step["run"])) == {"base", "markdown", "sarif", "junit", "json"}


def test_the_report_runs_the_default_branch_and_nothing_of_the_change() -> None:
    checkouts = [one for one in _steps("report") if one.get("uses", "").startswith("actions/checkout@")]
    assert [one["with"]["ref"] for one in checkouts] == ["${{ github.event.repository.default_branch }}"]
    scripts = " ".join(one.get("run", "") for one in _steps("report"))
    assert re.findall(r"python3 (\S+)", scripts) == ["infra/ci/comment.py"]
    assert "mlops " not in scripts


def test_a_deployment_is_of_the_commit_that_was_pushed_and_behind_an_environment() -> None:
    job = _read("deploy-stack")["jobs"]["deploy"]
    assert job["environment"] == "${{ inputs.stack }}"
    assert job["steps"][0]["with"]["ref"] == "${{ github.sha }}"
    scripts = [one.get("run", "") for one in job["steps"]]
    judged = next(index for index, run in enumerate(scripts) if "gate check" in run)
    deployed = next(index for index, run in enumerate(scripts) if "mlops up" in run)
    assert judged < deployed


def test_only_the_step_that_signs_sees_the_key() -> None:
    steps = _read("deploy-stack")["jobs"]["deploy"]["steps"]
    assert ["GATE_KEY" in str(one) for one in steps].count(True) == 1


def test_the_stacks_are_deployed_one_after_the_other_and_each_can_be_alone() -> None:
    deploy = _read("deploy")
    jobs = deploy["jobs"]
    assert list(jobs) == deploy[True]["workflow_dispatch"]["inputs"]["stack"]["options"]  # YAML reads `on` as true
    assert [job.get("needs") for job in jobs.values()] == [None, *list(jobs)[:-1]]
    stacks = {file.stem.removeprefix("Pulumi.") for file in (PROJECT / "stacks").glob("Pulumi.*.yaml")}
    assert set(jobs) == stacks - {"local"}


def test_images_are_built_on_a_base_that_is_pinned_and_pushed_from_main_alone() -> None:
    jobs = _read("images")["jobs"]
    assert jobs["build"]["steps"][-1]["with"]["push"] is False
    assert jobs["push"]["if"] == "github.event_name == 'push'"
    assert jobs["push"]["environment"] == "images"
    for job in jobs.values():
        assert any("sha256:[0-9a-f]{64}" in step.get("run", "") for step in job["steps"])
        assert job["strategy"]["matrix"]["image"] == ["serving", "training"]


def test_the_pipeline_for_gitlab_is_valid_and_pinned_as_well() -> None:
    stated = yaml.safe_load((PROJECT / "docs" / "how-to" / "gitlab-ci.yml").read_text())
    jobs = {name: job for name, job in stated.items() if isinstance(job, dict) and "stage" in job}
    assert {job["stage"] for job in jobs.values()} == set(stated["stages"])
    assert "mlops review" in str(jobs["review"]["script"])
    assert "id_tokens" not in jobs["review"]
    assert "comment.py gitlab" in str(jobs["report"]["script"])
    assert stated[".deploy"]["environment"]["name"] == "$STACK"
    deploys = [job for name, job in jobs.items() if name.startswith("deploy")]
    assert all(job["extends"] == ".deploy" for job in deploys)
    assert [job["variables"]["STACK"] for job in deploys] == list(_read("deploy")["jobs"])


def test_actionlint_finds_nothing() -> None:
    found = find("actionlint")
    if found is None:
        pytest.skip("actionlint is not there; `./mlops test` builds it")
    done = subprocess.run(
        [found.program, "-no-color", "-shellcheck=", "-pyflakes="],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)
