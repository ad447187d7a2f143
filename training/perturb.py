"""Worse inputs for the robustness part of an evaluation: noise, missing values, unseen categories, extremes.

Pure functions of rows, features and a seed; the caller asks the model what it makes of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.spec import Feature

Columns = Mapping[str, NDArray[Any]]

# Text that no contract allows: what a new carrier or a typing error looks like to the model.
UNSEEN = "\N{REPLACEMENT CHARACTER}unseen"


def noise(columns: Columns, features: Sequence[Feature], share: float, seed: int) -> dict[str, NDArray[Any]]:
    """Add normal noise to numbers, `share` of each column's standard deviation, kept within the feature's bounds.

    Whole numbers and categories stay as they are: a small error is no other grade.
    """
    generator = np.random.default_rng(seed)
    result = dict(columns)
    for feature in features:
        if feature.kind == "number":
            values = columns[feature.name].astype("float64")
            spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
            low = -np.inf if feature.low is None else np.fmin(feature.low, values)
            high = np.inf if feature.high is None else np.fmax(feature.high, values)
            noisy = np.clip(values + generator.normal(0.0, 1.0, len(values)) * spread * share, low, high)
            result[feature.name] = noisy.astype(columns[feature.name].dtype)
    return result


def missing(columns: Columns, features: Sequence[Feature], share: float, seed: int) -> dict[str, NDArray[Any]]:
    """Take away a share of all numbers (NaN): what a broken sensor or an empty field leaves."""
    generator = np.random.default_rng(seed)
    result = dict(columns)
    for feature in features:
        if feature.kind == "number":
            values = columns[feature.name].copy()
            values[generator.random(len(values)) < share] = np.nan
            result[feature.name] = values
    return result


def unseen(columns: Columns, features: Sequence[Feature], share: float, seed: int) -> dict[str, NDArray[Any]]:
    """Replace a share of all categories by text that was never there."""
    generator = np.random.default_rng(seed)
    result = dict(columns)
    for feature in features:
        if feature.kind == "category":
            values = columns[feature.name].copy()
            values[generator.random(len(values)) < share] = UNSEEN
            result[feature.name] = values
    return result


def extremes(columns: Columns, features: Sequence[Feature]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Yield rows with one input at an end of its range or a thousand times beyond, with what was done, by feature."""
    for feature in features:
        if feature.kind == "category":
            values: list[Any] = ["", UNSEEN, "x" * 10_000]
        else:
            low = 0.0 if feature.low is None else feature.low
            high = 1.0 if feature.high is None else feature.high
            values = [low, high, low - 1000 * (high - low + 1), high + 1000 * (high - low + 1)]
        for value in values:
            column = np.full(len(columns[feature.name]), value, dtype=columns[feature.name].dtype)
            shown = f"{value[:12]!r}" if isinstance(value, str) else f"{value:g}"
            yield f"{feature.name} = {shown}", {**columns, feature.name: column}
