"""Ingest as a job: good data becomes a snapshot and a result, bad data an error and nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import snapshots
from training.contracts import DataContractError
from training.pipelines.ingest import ingest
from training.spec import load_model

ROOT = Path(__file__).parents[3]
MORTGAGE = ROOT / "training/examples/mortgage_approval"


def run(folder: Path, data: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "MLOPS_DATA_DIR": str(data), "MLOPS_JOB_RESULT": str(data / "jobs/ingest/result.json")}
    command = [sys.executable, "-m", "training.pipelines.ingest", "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the mortgage model, to spoil its data."""
    copy = tmp_path / "mortgage"
    copy.mkdir()
    for name in ("model.py", "hmda.csv"):
        (copy / name).write_text((MORTGAGE / name).read_text())
    return copy


@pytest.mark.slow
def test_good_data_becomes_a_snapshot_and_a_result(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data"
    done = run(folder, data)
    assert done.returncode == 0, done.stderr
    result = json.loads((data / "jobs/ingest/result.json").read_text())
    assert result["model"] == "mortgage-approval"
    assert result["rows"] == {"applications": 2380}
    stored = snapshots.read(data / "snapshots", "mortgage-approval", result["dataDigest"])
    assert len(stored["applications"]) == 2380
    assert str(stored["applications"]["pirat"].dtype) == "float64"
    assert "keeps its contract, 2380 rows" in done.stdout


@pytest.mark.parametrize(
    ("find", "put", "words"),
    [
        ("deny,pirat,", "deny,ratio,", "column 'pirat' is missing"),
        (
            "\nno,0.221,",
            "\nno,plenty,",
            "column 'pirat' must be a number; 1 of 2380 rows are not, for example 'plenty'",
        ),
        ("\nno,0.221,", "\nperhaps,0.221,", "column 'deny' must be one of 'no', 'yes'; 1 of 2380 rows"),
    ],
)
def test_bad_data_is_refused_and_nothing_is_stored(
    tmp_path: Path, folder: Path, find: str, put: str, words: str
) -> None:
    csv = folder / "hmda.csv"
    text = csv.read_text()
    assert find in text
    csv.write_text(text.replace(find, put, 1))
    with pytest.raises(DataContractError) as error:
        ingest(load_model(folder), tmp_path / "data")
    assert words in str(error.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_job_ends_with_an_error_without_traceback_when_the_file_is_empty(tmp_path: Path, folder: Path) -> None:
    (folder / "hmda.csv").write_text("")
    done = run(folder, tmp_path / "data")
    assert done.returncode == 1
    assert "hmda.csv: the file is empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
