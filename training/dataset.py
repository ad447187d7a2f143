"""From raw tables to the rows that a model learns from and the rows that it is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.errors import TrainingError
from training.features.point_in_time import join_as_of
from training.spec import ModelSpec, Tables

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to learn from and rows held out, each with features, target, time and protected columns."""

    training: "pd.DataFrame"
    held_out: "pd.DataFrame"


def assemble(spec: ModelSpec, tables: Tables, views: "Mapping[str, pd.DataFrame]") -> "pd.DataFrame":
    """Build the frame of a model: one row an example, online features joined as they were known at its time.

    Args:
        spec: the model.
        tables: its raw tables.
        views: the rows of its feature views by name, as the feature store holds them.

    Raises:
        TrainingError: a column that the spec names is missing, the target is not 0 and 1, or a view has no rows here.
    """
    frame = spec.frame(tables).reset_index(drop=True)
    if spec.online and spec.time:
        for view in spec.online.views:
            if view.name not in views:
                raise TrainingError(f"model {spec.name}: feature view {view.name} is not there; materialize it first")
            frame = join_as_of(frame, views[view.name], by=view.entity, time=spec.time, features=view.features)
    needed = [*spec.feature_names, spec.target, *spec.protected, *([spec.time] if spec.time else [])]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise TrainingError(f"model {spec.name}: its frame lacks the columns {', '.join(missing)}")
    classes = set(frame[spec.target].unique().tolist())
    if classes != {0, 1}:
        raise TrainingError(f"model {spec.name}: target {spec.target} must hold 0 and 1, it holds {sorted(classes)}")
    for feature in spec.features:
        if feature.kind == "category" and frame[feature.name].isna().any():
            # ONNX has no missing text: an empty category is the same on both sides.
            frame[feature.name] = frame[feature.name].fillna("")
    return frame


def split(spec: ModelSpec, frame: "pd.DataFrame", seed: int) -> Dataset:
    """Hold rows out, by time where there is time, and sample the others down to the spec's limit.

    Raises:
        TrainingError: one side would be without rows or without one of the classes.
    """
    import numpy as np

    if spec.hold_out.kind == "time":
        later = (frame[spec.time] >= spec.hold_out.start).to_numpy()
    else:
        # Shares are drawn within each class, so that a rare one is on both sides.
        later = np.zeros(len(frame), dtype=bool)
        generator = np.random.default_rng(seed)
        for value in (0, 1):
            rows = np.flatnonzero(frame[spec.target].to_numpy() == value)
            later[generator.permutation(rows)[: round(len(rows) * spec.hold_out.share)]] = True
    training, held_out = frame[~later], frame[later]
    if spec.training_rows is not None and len(training) > spec.training_rows:
        chosen = np.random.default_rng(seed).choice(len(training), spec.training_rows, replace=False)
        training = training.iloc[np.sort(chosen)]
    for name, part in (("training", training), ("held-out", held_out)):
        if part[spec.target].nunique() < 2:
            raise TrainingError(
                f"model {spec.name}: the {name} rows ({len(part)}) hold only one class of {spec.target}"
            )
    return Dataset(training.reset_index(drop=True), held_out.reset_index(drop=True))
