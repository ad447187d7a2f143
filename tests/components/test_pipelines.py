"""Local pipelines: which jobs a model needs, what their results are keyed by, what a schedule submits."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components import code
from components.models import Model, states_online_features
from components.pipelines.local import SHARED_CODE, train_command
from components.platform import Platform, PlatformArgs
from components.site import Site
from components.testing import Recording

JOB, PROCESS = "blueprint:index:Job", "blueprint:index:Process"


@pytest.mark.parametrize(("folder", "expected"), [("flight", True), ("loan", False), ("churn", False)])
def test_online_features_are_read_off_the_source(project: Path, folder: str, expected: bool) -> None:
    assert states_online_features(str(project), f"training/examples/{folder}") is expected


def test_only_a_model_with_online_features_is_materialized(platform: Recording) -> None:
    assert [name for name in platform.of_type(JOB) if name.startswith("materialize")] == ["materialize-flight"]


def test_training_is_keyed_by_data_code_seed_parameters_and_features(platform: Recording) -> None:
    key = platform.of_type(JOB)["train-flight"].inputs["key"]

    assert set(key) == {"data", "code", "seed", "params", "features"}
    assert key["data"] == "sha256:ingest-flight"
    assert key["features"] == "sha256:materialize-flight"
    assert key["seed"] == "7"
    assert json.loads(key["params"]) == {"depth": 3, "fast": True}


def test_training_gets_the_results_of_the_jobs_before_it(platform: Recording) -> None:
    environment = platform.of_type(JOB)["train-flight"].inputs["environment"]

    assert json.loads(environment["MLOPS_INGEST"])["name"] == "ingest-flight"
    assert json.loads(environment["MLOPS_MATERIALIZE"])["name"] == "materialize-flight"
    assert platform.of_type(JOB)["train-loan"].inputs["environment"]["MLOPS_MATERIALIZE"] == ""


def test_password_of_the_registry_is_not_in_the_open_environment(platform: Recording) -> None:
    train = platform.of_type(JOB)["train-loan"]

    assert train.inputs["secretEnvironment"] == {"MLFLOW_TRACKING_PASSWORD": "TOKEN-registry-password"}
    assert "secretEnvironment.MLFLOW_TRACKING_PASSWORD" in train.secrets
    assert "runner.token" in train.secrets


def test_parameters_reach_the_command_as_people_write_them(site: Site, models: list[Model]) -> None:
    command = train_command(site, dataclasses.replace(models[0], params={"rate": 0.1, "fast": True, "name": "a b"}))

    assert command[-3:] == ["--param=fast=true", "--param=name=a b", "--param=rate=0.1"]


def test_scheduler_runs_only_when_a_model_has_a_schedule(
    platform_args: PlatformArgs, run: Callable[..., Recording]
) -> None:
    unscheduled = [dataclasses.replace(model, schedule=None) for model in platform_args.models]

    recording = run(lambda: Platform("platform", dataclasses.replace(platform_args, models=unscheduled)))

    assert "scheduler" not in recording.of_type(PROCESS)


def test_schedule_retrains_the_model_with_its_seed_and_no_secret_in_the_open(platform: Recording) -> None:
    scheduler = platform.of_type(PROCESS)["scheduler"]
    entry = json.loads(scheduler.inputs["files"]["schedule.json"])["entries"][0]

    assert (entry["model"], entry["cron"]) == ("loan", "0 3 * * *")
    assert entry["command"][1:] == [
        "-m",
        "training.pipelines.train",
        "--folder=training/examples/loan",
        "--seed=7",
    ]
    assert "TOKEN-" not in json.dumps(entry["environment"])
    assert entry["envFile"].endswith("/scheduler/secrets.env")
    assert scheduler.inputs["files"]["secrets.env"] == "MLFLOW_TRACKING_PASSWORD=TOKEN-registry-password\n"
    assert {"files.schedule.json", "files.secrets.env"} <= scheduler.secrets


def test_two_models_with_online_features_are_materialized_one_after_the_other(
    platform_args: PlatformArgs, run: Callable[..., Recording]
) -> None:
    flight = platform_args.models[0]
    pair = [flight, dataclasses.replace(flight, name="flight-two")]

    recording = run(lambda: Platform("platform", dataclasses.replace(platform_args, models=pair)))

    jobs = recording.of_type(JOB)
    assert recording.waits_for(jobs["materialize-flight-two"], jobs["materialize-flight"])


# --- digests of code --------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two models and shared code, whose files a test may change."""
    for file in (
        "training/train.py",
        "training/a/model.py",
        "training/a/deep/part.py",
        "training/b/model.py",
        "serving/runtime/x.py",
        "policies/releases/m.py",
        "requirements.lock",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    return tmp_path


def digest(tree: Path) -> str:
    code._digest.cache_clear()
    return code.job_digest(str(tree), "training/a", SHARED_CODE)


@pytest.mark.parametrize("file", ["training/train.py", "training/a/deep/part.py", "requirements.lock", "training/n.py"])
def test_digest_changes_with_what_the_job_runs(tree: Path, file: str) -> None:
    before = digest(tree)
    (tree / file).write_text("changed")

    assert digest(tree) != before


@pytest.mark.parametrize(
    "file", ["training/b/model.py", "training/__pycache__/x.pyc", "training/.swp", "serving/app.py", "README.md"]
)
def test_digest_stays_when_something_else_changes(tree: Path, file: str) -> None:
    before = digest(tree)
    (tree / file).parent.mkdir(exist_ok=True)
    (tree / file).write_text("changed")

    assert digest(tree) == before


def test_digest_changes_when_a_file_moves(tree: Path) -> None:
    before = digest(tree)
    (tree / "training/train.py").rename(tree / "training/fit.py")

    assert digest(tree) != before


def test_digest_does_not_depend_on_where_the_project_lies(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in [path for path in tree.rglob("*") if path.is_file()]:
        copy = elsewhere / file.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())

    assert digest(elsewhere) == digest(tree)


def test_a_missing_path_is_an_error(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        code.digest(str(tree), ["training/nothing.py"])


def test_results_are_handed_on_in_an_order_that_the_state_cannot_change(platform: Recording) -> None:
    text = platform.of_type(JOB)["train-flight"].inputs["environment"]["MLOPS_INGEST"]

    assert text == json.dumps(json.loads(text), sort_keys=True)
