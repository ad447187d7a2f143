"""What a model is to the platform: a frozen `ModelSpec`, stated as `MODEL` in the `model.py` of the model's folder.

The spec is all that is particular to a model. Reading its folder must be cheap: builders that need pandas,
scikit-learn or pandera are functions, called only by the pipeline that needs them.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from training.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

Tables = Mapping[str, "pd.DataFrame"]
ParamValue = int | float | str | bool
Capture = Literal["keep", "drop", "hash"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DATATYPES = {"number": "FP32", "integer": "INT64", "category": "BYTES"}


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model.

    `low` and `high` bound what can happen to a number (both inclusive): the evaluation tries both ends and far beyond.
    `capture` is what the serving side writes to disk of it: the value, nothing, or a keyed hash that still shows drift
    between categories.
    """

    name: str
    kind: Literal["number", "integer", "category"]
    description: str
    low: float | None = None
    high: float | None = None
    capture: Capture = "keep"

    @property
    def datatype(self) -> str:
        """The Open Inference Protocol datatype of the input."""
        return _DATATYPES[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """One raw table: how to read it, and the pandera schema that it must keep at the door.

    `source` names the origin for people and error messages.
    """

    name: str
    source: str
    read: "Callable[[], pd.DataFrame]"
    schema: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Features of one entity over time.

    `build` gives the columns `entity`, `event_timestamp` (UTC; from when on the values were known) and one float column
    per feature, at most one row per entity and time.
    """

    name: str
    entity: str
    features: tuple[str, ...]
    description: str
    build: "Callable[[Tables], pd.DataFrame]"


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """The features that the feature store serves: requests may send the entities instead of these inputs.

    `required` says whether a request whose entity is unknown is refused, or goes on with a missing value.
    """

    service: str
    views: tuple[FeatureView, ...]
    required: bool = False


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Which rows training never sees: those at or after `start` where there is time, otherwise a seeded share."""

    kind: Literal["time", "random"]
    start: datetime | None = None
    share: float = 0.3


@dataclass(frozen=True, slots=True)
class Limits:
    """What the evaluation must show for the model to pass. The limit itself passes.

    `at_least` and `at_most` are by metric (rocAuc, averagePrecision, accuracy, f1, logLoss, brier).
    `gain_over_baseline` is in rocAuc. `fairness` is by gap; `selectionRatio` must be at least, the others at most that.
    A group with fewer than `group_rows` held-out rows cannot be judged, and then the check fails.
    `robustness_loss` is in rocAuc, `latency_p99_ms` in milliseconds a row, `parity` is the largest difference between a
    probability of the exported and of the fitted model.
    """

    at_least: Mapping[str, float]
    at_most: Mapping[str, float] = field(default_factory=dict)
    gain_over_baseline: float = 0.0
    fairness: Mapping[str, float] = field(default_factory=dict)
    group_rows: int = 50
    robustness_loss: float = 0.1
    latency_p99_ms: float = 20.0
    parity: float = 1e-4


@dataclass(frozen=True, slots=True)
class SimpleModel:
    """The baseline: a simple model on the same features that the real one must beat."""

    name: str
    description: str
    pipeline: Callable[[int], Any]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """All that is particular to a model.

    Attributes:
        name: the registered name, part of URLs (lower case, digits, dashes).
        description: what it predicts, for people.
        intended_use: what it may be used for; goes to the release manifest.
        risk_tier: how much harm a wrong model can do; policies ask more of a higher one.
        tables: the raw tables.
        features: the inputs, in order; those of `online` among them.
        target: column of the frame with 0 and 1.
        positive: what 1 means.
        frame: raw tables → one row an example: features (without online ones), target, time, entities, protected
            columns, in an order that depends on the tables only.
        pipeline: (seed, params) → unfitted scikit-learn Pipeline that ends in a classifier; its transform is exported
            with it.
        params: the hyperparameters with their defaults; a stack may override them.
        baseline: what it must beat.
        hold_out: how the evaluation rows are kept apart.
        limits: when it passes.
        protected: columns of the frame that fairness is measured by.
        time: column of the frame with the moment of the prediction, UTC.
        online: features served by the feature store.
        training_rows: the most rows to fit on; more are sampled down with the seed.
        capture: rules for captured fields besides the features, for example entities.
    """

    name: str
    description: str
    intended_use: str
    risk_tier: Literal["low", "medium", "high"]
    tables: tuple[Table, ...]
    features: tuple[Feature, ...]
    target: str
    positive: str
    frame: "Callable[[Tables], pd.DataFrame]"
    pipeline: Callable[[int, Mapping[str, ParamValue]], Any]
    baseline: SimpleModel
    hold_out: HoldOut
    limits: Limits
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    protected: tuple[str, ...] = ()
    time: str | None = None
    online: OnlineFeatures | None = None
    training_rows: int | None = None
    capture: Mapping[str, Capture] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TrainingError(f"model name {self.name!r}: use a-z, 0-9 and dashes, a letter first, 63 at most")
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            raise TrainingError(f"model {self.name}: features must be there and differ; twice: {', '.join(twice)}")
        if self.hold_out.kind == "time" and (self.time is None or self.hold_out.start is None):
            raise TrainingError(f"model {self.name}: to hold out by time, state `time` and `hold_out.start`")
        if self.online:
            self._check_online(self.online, names)

    def _check_online(self, online: OnlineFeatures, names: list[str]) -> None:
        if self.time is None:
            raise TrainingError(f"model {self.name}: online features are joined by time, state `time`")
        for view in online.views:
            unknown = [name for name in view.features if name not in names]
            if unknown:
                raise TrainingError(
                    f"model {self.name}: view {view.name} has {', '.join(unknown)}, which are no features of the model"
                )

    @property
    def feature_names(self) -> list[str]:
        """The names of all inputs, in order."""
        return [feature.name for feature in self.features]

    @property
    def online_names(self) -> list[str]:
        """The names of the inputs that come from the feature store."""
        return [name for view in self.online.views for name in view.features] if self.online else []

    def with_params(self, assignments: list[str]) -> dict[str, ParamValue]:
        """Return the hyperparameters with `name=value` assignments applied, each of its default's type.

        Raises:
            TrainingError: an assignment is malformed, names no hyperparameter or has a value of another type.
        """
        params = dict(self.params)
        for assignment in assignments:
            name, sign, text = assignment.partition("=")
            if not sign:
                raise TrainingError(f"--param {assignment!r}: expected name=value")
            if name not in params:
                known = ", ".join(sorted(params)) or "none"
                raise TrainingError(f"--param {name}: model {self.name} has no such hyperparameter; it has {known}")
            params[name] = _parse(self.name, name, text, params[name])
        return params


def _parse(model: str, name: str, text: str, default: ParamValue) -> ParamValue:
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
        raise TrainingError(
            f"--param {name}: {text!r} is not {expected} (model {model}, default {default!r})"
        ) from None


def load_model(folder: str | Path) -> ModelSpec:
    """Read the model of a folder.

    Args:
        folder: a folder with a `model.py`, relative to the working directory or absolute.

    Raises:
        TrainingError: the folder or its `model.py` is missing, cannot be read, or states no `MODEL`.
    """
    path = Path(folder) / "model.py"
    if not path.is_file():
        raise TrainingError(f"{folder}: no model here; a model is a folder with a model.py that states MODEL")
    try:
        module = _import(path)
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    model = getattr(module, "MODEL", None)
    if not isinstance(model, ModelSpec):
        raise TrainingError(f"{path}: states no MODEL of type training.spec.ModelSpec")
    return model


def _import(path: Path) -> ModuleType:
    root = Path(__file__).resolve().parent.parent
    resolved = path.resolve()
    if resolved.is_relative_to(root):
        parts = resolved.relative_to(root).with_suffix("").parts
        if all(part.isidentifier() for part in parts):
            return importlib.import_module(".".join(parts))
    # A folder of a client outside of this project, or one whose name is no identifier.
    name = "mlops_model_" + re.sub(r"\W", "_", str(resolved.parent))
    spec = importlib.util.spec_from_file_location(name, resolved, submodule_search_locations=[str(resolved.parent)])
    if spec is None or spec.loader is None:
        raise TrainingError(f"{path}: Python cannot import it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
