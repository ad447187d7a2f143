"""Reading a model's folder, and the errors for one that is wrong."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.spec import HoldOut, ModelSpec, load_model

ROOT = Path(__file__).parents[2]
EXAMPLES = ["training/examples/flight_delay", "training/examples/mortgage_approval"]


@pytest.mark.parametrize("folder", EXAMPLES)
def test_shipped_models_are_read(folder: str) -> None:
    spec = load_model(ROOT / folder)
    assert spec.name == folder.rpartition("/")[2].replace("_", "-")
    assert set(spec.online_names) <= set(spec.feature_names)


def test_reading_a_model_loads_no_heavy_library() -> None:
    code = (
        "import sys; from training.spec import load_model;"
        + "".join(f"load_model({folder!r});" for folder in EXAMPLES)
        + "print([m for m in ('pandas', 'numpy', 'sklearn', 'mlflow', 'feast') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_protected_columns_of_mortgage_approval_are_no_features_and_are_never_captured() -> None:
    spec = load_model(ROOT / EXAMPLES[1])
    assert spec.protected == ("afam",)
    assert not {"afam", "single"} & set(spec.feature_names)
    assert {name: spec.capture[name] for name in ("afam", "single")} == {"afam": "drop", "single": "drop"}


def test_model_outside_of_the_project_is_read(third_model: Path) -> None:
    assert load_model(third_model).name == "third-model"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no model here"),
        ("MODEL = 1", "states no MODEL"),
        ("raise ValueError('boom')", "cannot be read: ValueError: boom"),
        ("import nothing_of_this_name", "cannot be read: ModuleNotFoundError"),
        ("def (", "cannot be read: SyntaxError"),
    ],
)
def test_folder_that_is_no_model_is_an_error_that_names_it(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "model.py").write_text(content)
    with pytest.raises(TrainingError, match=words) as error:
        load_model(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.fixture
def spec(third_model: Path) -> ModelSpec:
    return load_model(third_model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Third Model"}, "model name 'Third Model'"),
        ({"features": ()}, "features must be there"),
        ({"time": None, "hold_out": HoldOut("time")}, "to hold out by time"),
        ({"time": None, "hold_out": HoldOut("random")}, "joined by time"),
    ],
)
def test_spec_that_contradicts_itself_is_refused(spec: ModelSpec, change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        replace(spec, **change)


def test_view_with_a_feature_that_the_model_lacks_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="view shares has share_above, which are no features"):
        replace(spec, features=spec.features[:1])


@pytest.mark.parametrize(
    ("default", "text", "expected"),
    [(10, "20", 20), (0.1, "1", 1.0), (True, "false", False), ("a", "b=c", "b=c")],
)
def test_parameter_gets_its_defaults_type(spec: ModelSpec, default: Any, text: str, expected: Any) -> None:
    value = replace(spec, params={"p": default}).with_params([f"p={text}"])["p"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("trees", "expected name=value"),
        ("leaves=3", "no such hyperparameter; it has trees"),
        ("trees=many", "'many' is not a whole number"),
        ("trees=1.5", "'1.5' is not a whole number"),
    ],
)
def test_bad_parameter_is_refused(spec: ModelSpec, assignment: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        spec.with_params([assignment])
