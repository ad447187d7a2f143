"""Training against a real MLflow server: what it leaves there, what it finds again, what clients can fetch."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from policies.releases.evaluation import Evaluation
from serving.runtime.artifact import verify
from serving.runtime.model import load
from tests.registry import registry_server
from training import snapshots

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDER = "training/examples/mortgage_approval"
USER, PASSWORD = "mlops", "a-password-of-tests"


@dataclass(frozen=True)
class Registry:
    """A running registry and the data folder beside it."""

    url: str
    data: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, auth=(USER, PASSWORD), timeout=60)

    def train(self, folder: str, *arguments: str) -> dict[str, Any]:
        result = self.data / "result.json"
        result.unlink(missing_ok=True)
        done = self.run(folder, result, *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    def run(
        self, folder: str, result: Path, *arguments: str, password: str = PASSWORD
    ) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            "MLOPS_DATA_DIR": str(self.data),
            "MLOPS_JOB_RESULT": str(result),
            "MLOPS_COMMIT": "a" * 40,
            "MLOPS_INGEST": "",
            "MLOPS_MATERIALIZE": "",
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": password,
        }
        command = [sys.executable, "-m", "training.pipelines.train", "--folder", folder, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    data = tmp_path_factory.mktemp("data")
    with registry_server(data, PASSWORD, MLOPS_REGISTRY_USERNAME=USER) as port:
        yield Registry(f"http://127.0.0.1:{port}", data)


@pytest.fixture(scope="module")
def candidate(registry: Registry) -> dict[str, Any]:
    return registry.train(FOLDER, "--seed=7")


def test_candidate_says_what_a_release_needs(registry: Registry, candidate: dict[str, Any]) -> None:
    assert set(candidate) == {
        *("model", "version", "digest", "source", "files", "run"),
        *("commit", "dataDigest", "seed", "passed", "evaluation"),
        *("intendedUse", "riskTier", "signature", "trainedAt", "trainedBy"),
    }
    assert (candidate["model"], candidate["version"], candidate["passed"]) == ("mortgage-approval", "1", True)
    assert Evaluation.model_validate(candidate["evaluation"]).digest == candidate["digest"]
    snapshots.read(registry.data / "snapshots", "mortgage-approval", candidate["dataDigest"])


def test_artifact_is_fetched_over_http_and_has_the_digest(
    registry: Registry, candidate: dict[str, Any], tmp_path: Path
) -> None:
    assert candidate["source"].startswith("mlflow-artifacts:/")
    base = "/api/2.0/mlflow-artifacts/artifacts/" + candidate["source"].removeprefix("mlflow-artifacts:/")
    with registry.client() as client:
        for name in candidate["files"]:
            (tmp_path / name).write_bytes(client.get(f"{base}/{name}").raise_for_status().content)
    verify(tmp_path, candidate["digest"], candidate["files"])
    load(tmp_path)
    assert httpx.get(f"{registry.url}{base}/model.onnx", timeout=60).status_code == 401


def test_run_is_tracked_with_all_that_made_it(registry: Registry, candidate: dict[str, Any]) -> None:
    with registry.client() as client:
        run = client.get("/api/2.0/mlflow/runs/get", params={"run_id": candidate["run"]}).json()["run"]
        listed = client.get("/api/2.0/mlflow/artifacts/list", params={"run_id": candidate["run"]}).json()["files"]
    parameters = {one["key"]: one["value"] for one in run["data"]["params"]}
    metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
    tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
    assert run["info"]["status"] == "FINISHED"
    assert (parameters["seed"], parameters["trees"]) == ("7", "60")
    assert metrics["rocAuc"] == pytest.approx(candidate["evaluation"]["metrics"]["rocAuc"]["value"])
    assert "fairness.afam.selectionRatio" in metrics
    assert tags["mlops.digest"] == candidate["digest"]
    assert tags["mlops.data_digest"] == candidate["dataDigest"]
    assert tags["mlflow.source.git.commit"] == "a" * 40
    assert run["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == candidate["dataDigest"][7:43]
    assert {one["path"] for one in listed} >= {"model", "evaluation.json", "evaluation_sample.json", "environment.json"}


def test_same_digest_gets_the_same_version(registry: Registry, candidate: dict[str, Any]) -> None:
    again = registry.train(FOLDER, "--seed=7")
    assert {name: again[name] for name in ("version", "digest", "run", "source")} == {
        name: candidate[name] for name in ("version", "digest", "run", "source")
    }


def test_failed_evaluation_is_registered_as_failed(registry: Registry, candidate: dict[str, Any]) -> None:
    # One tree that hardly learns: worse than the baseline's margin.
    failed = registry.train(FOLDER, "--seed=7", "--param=trees=1", "--param=depth=1", "--param=learning_rate=0.001")
    assert failed["passed"] is False
    assert failed["evaluation"]["reasons"]
    assert failed["version"] != candidate["version"]
    with registry.client() as client:
        asked = {"name": failed["model"], "version": failed["version"]}
        version = client.get("/api/2.0/mlflow/model-versions/get", params=asked).json()["model_version"]
    tags = {one["key"]: one["value"] for one in version["tags"]}
    assert (tags["mlops.passed"], tags["mlops.digest"]) == ("false", failed["digest"])


def test_mlflow_loads_and_runs_the_version(registry: Registry, candidate: dict[str, Any]) -> None:
    code = (
        "import mlflow, json; m = mlflow.pyfunc.load_model('models:/mortgage-approval/1');"
        "print(m.predict(m.input_example)[['label', 'probability']].shape, m.metadata.metadata['digest'])"
    )
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": registry.url,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"(5, 2) {candidate['digest']}"


def test_third_model_is_one_folder(registry: Registry, third_model: Path) -> None:
    candidate = registry.train(str(third_model), "--param=trees=20")
    assert (candidate["model"], candidate["version"], candidate["passed"]) == ("third-model", "1", True)
    assert (registry.data / "feature_store" / "online.db").is_file()


def test_wrong_password_is_an_error_without_traceback(registry: Registry, tmp_path: Path) -> None:
    done = registry.run(FOLDER, tmp_path / "result.json", password="wrong")
    assert done.returncode == 1
    assert f"registry {registry.url}" in done.stderr
    assert "is the password right?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "result.json").exists()
