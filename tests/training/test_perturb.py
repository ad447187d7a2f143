"""Worse inputs: what is changed, what is not, and that the seed decides."""

from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from training import perturb
from training.spec import Feature

FEATURES = (
    Feature("x", "number", "", 0, 1),
    Feature("n", "integer", "", 1, 5),
    Feature("c", "category", ""),
)
COLUMNS: dict[str, Any] = {
    "x": np.linspace(0, 1, 1000, dtype=np.float32),
    "n": np.ones(1000, dtype=np.int64),
    "c": np.array(["a"] * 1000, dtype=object),
}


def test_noise_changes_numbers_within_their_bounds_only() -> None:
    noisy = perturb.noise(COLUMNS, FEATURES, 0.1, 7)
    assert noisy["x"].dtype == np.float32
    assert (noisy["x"] != COLUMNS["x"]).mean() > 0.9
    assert noisy["x"].min() >= 0
    assert noisy["x"].max() <= 1
    assert_array_equal(noisy["n"], COLUMNS["n"])
    assert_array_equal(noisy["c"], COLUMNS["c"])


def test_noise_leaves_missing_values_missing() -> None:
    holes = {**COLUMNS, "x": np.where(COLUMNS["x"] < 0.5, np.nan, COLUMNS["x"]).astype(np.float32)}
    assert_array_equal(np.isnan(perturb.noise(holes, FEATURES, 0.1, 7)["x"]), np.isnan(holes["x"]))


def test_noise_is_the_same_for_the_same_seed() -> None:
    first, second = (perturb.noise(COLUMNS, FEATURES, 0.1, 7)["x"] for _ in range(2))
    assert_array_equal(first, second)
    assert (perturb.noise(COLUMNS, FEATURES, 0.1, 8)["x"] != first).any()


def test_missing_takes_the_share_of_numbers_away() -> None:
    assert 0.2 < np.isnan(perturb.missing(COLUMNS, FEATURES, 0.3, 7)["x"]).mean() < 0.4
    assert not np.isnan(COLUMNS["x"]).any()


def test_unseen_replaces_the_share_of_categories() -> None:
    assert 0.2 < (perturb.unseen(COLUMNS, FEATURES, 0.3, 7)["c"] == perturb.UNSEEN).mean() < 0.4


def test_extremes_try_both_ends_and_beyond_of_every_input() -> None:
    tried = dict(perturb.extremes(COLUMNS, FEATURES))
    assert {name.split(" = ")[0] for name in tried} == {"x", "n", "c"}
    assert {float(rows["x"][0]) for name, rows in tried.items() if name.startswith("x")} == {0.0, 1.0, -2000.0, 2001.0}
    assert all(rows["n"].dtype == np.int64 for rows in tried.values())
