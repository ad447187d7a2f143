"""A fit from end to end without servers: artifact, parity, evaluation, and the same digest every time."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.runtime.artifact import content_digest, file_hashes
from serving.runtime.model import load
from training import export
from training.dataset import Dataset, assemble, split
from training.errors import TrainingError
from training.fit import Fit, fit
from training.spec import ModelSpec, load_model

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 2, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def spec(third_model: Path) -> ModelSpec:
    return load_model(third_model)


@pytest.fixture
def data(spec: ModelSpec) -> Dataset:
    tables = {"points": spec.tables[0].read()}
    assert spec.online
    return split(spec, assemble(spec, tables, {view.name: view.build(tables) for view in spec.online.views}), 7)


def run(spec: ModelSpec, data: Dataset, directory: Path, seed: int = 7) -> Fit:
    directory.mkdir()
    return fit(spec, data, DIGEST, seed, spec.params, directory, NOW)


def test_artifact_is_what_the_runtime_serves(spec: ModelSpec, data: Dataset, tmp_path: Path) -> None:
    fitted = run(spec, data, tmp_path / "artifact")
    assert set(fitted.files) == {"model.onnx", "signature.json", "serving.json", "requirements.txt"}
    assert fitted.digest == content_digest(file_hashes(fitted.directory))
    model = load(fitted.directory)
    assert [tensor.to_json() for tensor in model.signature.inputs] == [
        {"name": "x", "datatype": "FP32", "shape": [-1]},
        {"name": "share_above", "datatype": "FP32", "shape": [-1]},
        {"name": "colour", "datatype": "BYTES", "shape": [-1]},
    ]
    assert model.contract.capture == {"colour": "hash"}
    assert model.contract.features
    assert dict(model.contract.features.entities) == {"colour": "BYTES"}
    answer = model.predict(
        {
            "x": np.array([3.0, -3.0, np.nan], dtype=np.float32),
            "share_above": np.array([0.5, np.nan, 0.5], dtype=np.float32),
            "colour": np.array(["red", "blue", "green"], dtype=object),
        }
    )
    assert answer["label"].tolist()[:2] == [1, 0]
    assert answer["probability"].shape == (3,)


def test_good_model_passes_and_carries_its_evidence(spec: ModelSpec, data: Dataset, tmp_path: Path) -> None:
    fitted = run(spec, data, tmp_path / "artifact")
    evaluation = fitted.evaluation
    assert evaluation.passed, evaluation.reasons
    assert evaluation.digest == fitted.digest
    assert evaluation.held_out.rows == len(data.held_out)
    assert {one.name for one in evaluation.robustness} == {"noise", "unseen categories", "missing values"}
    sample = json.loads(fitted.sample)
    assert evaluation.sample
    assert len(sample["outcome"]) == evaluation.sample.rows <= len(data.held_out)


def test_model_that_learned_nothing_fails_with_reasons(spec: ModelSpec, data: Dataset, tmp_path: Path) -> None:
    # Labels without any relation to the inputs.
    shuffled = data.training.assign(above=np.random.default_rng(1).permutation(data.training["above"]))
    evaluation = run(spec, Dataset(shuffled, data.held_out), tmp_path / "artifact").evaluation
    assert not evaluation.passed
    assert any(reason.startswith("rocAuc is ") for reason in evaluation.reasons)


@pytest.mark.slow
def test_another_seed_is_another_digest(spec: ModelSpec, data: Dataset, tmp_path: Path) -> None:
    assert run(spec, data, tmp_path / "a").digest == run(spec, data, tmp_path / "b").digest
    assert run(spec, data, tmp_path / "c", seed=8).digest != run(spec, data, tmp_path / "d").digest


def test_pipeline_that_onnx_cannot_express_is_an_error(spec: ModelSpec, data: Dataset, tmp_path: Path) -> None:
    def doubling(seed: int, params: Any) -> Any:
        from sklearn.compose import ColumnTransformer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import FunctionTransformer

        transform = ColumnTransformer([("x", FunctionTransformer(lambda values: values * 2), ["x"])])
        return Pipeline([("transform", transform), ("model", LogisticRegression())])

    with pytest.raises(TrainingError, match="third-model: its Pipeline cannot be exported to ONNX"):
        run(replace(spec, pipeline=doubling), data, tmp_path / "artifact")


def test_pipeline_that_ends_in_a_regression_is_an_error(spec: ModelSpec, data: Dataset, tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import Pipeline

    bare = replace(spec, features=spec.features[:1], online=None)
    line = Pipeline([("model", LinearRegression())])
    line.fit(export.inputs(bare, data.training).to_numpy(), data.training["above"])
    (tmp_path / "artifact").mkdir()
    with pytest.raises(TrainingError, match=r"cannot be exported|must end in a classifier"):
        export.export(bare, line, tmp_path / "artifact")


_TRAIN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from training.contracts import validate
from training.dataset import assemble, split
from training.fit import fit
from training.spec import load_model

spec = load_model("training/examples/mortgage_approval")
tables = {t.name: validate(t.read(), t.schema(), t.name, t.source) for t in spec.tables}
data = split(spec, assemble(spec, tables, {}), 7)
done = fit(spec, data, "sha256:" + "0" * 64, 7, spec.params, Path(sys.argv[1]), datetime.now(UTC))
assert done.evaluation.passed, done.evaluation.reasons
print(done.digest)
"""


@pytest.mark.slow
def test_digest_is_the_same_in_other_processes(tmp_path: Path) -> None:
    digests = set()
    for seed, threads in (("0", "1"), ("1", "2"), ("2", "4")):
        directory = tmp_path / seed
        directory.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", _TRAIN, str(directory)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.splitlines()[-1])
    assert len(digests) == 1
