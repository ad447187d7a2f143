"""Which rows a model learns from and which it is judged by."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from training.dataset import assemble, split
from training.errors import TrainingError
from training.spec import HoldOut, ModelSpec, load_model


@pytest.fixture
def spec(third_model: Path) -> ModelSpec:
    return load_model(third_model)


@pytest.fixture
def frame(spec: ModelSpec) -> pd.DataFrame:
    tables = {"points": spec.tables[0].read()}
    assert spec.online
    return assemble(spec, tables, {view.name: view.build(tables) for view in spec.online.views})


def test_rows_held_out_by_time_are_all_later_than_the_others(spec: ModelSpec, frame: pd.DataFrame) -> None:
    data = split(spec, frame, 7)
    start = datetime(2026, 1, 20, tzinfo=UTC)
    assert data.training["at"].max() < start <= data.held_out["at"].min()
    assert len(data.training) + len(data.held_out) == len(frame)


def test_rows_held_out_at_random_keep_the_share_of_each_class(spec: ModelSpec, frame: pd.DataFrame) -> None:
    data = split(replace(spec, hold_out=HoldOut("random", share=0.25)), frame, 7)
    assert len(data.held_out) == pytest.approx(len(frame) * 0.25, abs=2)
    assert data.held_out["above"].mean() == pytest.approx(frame["above"].mean(), abs=0.01)
    assert not set(data.held_out["at"]) & set(data.training["at"])


def test_split_follows_the_seed(spec: ModelSpec, frame: pd.DataFrame) -> None:
    random = replace(spec, hold_out=HoldOut("random", share=0.25))
    pd.testing.assert_frame_equal(split(random, frame, 7).held_out, split(random, frame, 7).held_out)
    assert set(split(random, frame, 7).held_out["at"]) != set(split(random, frame, 8).held_out["at"])


def test_training_rows_are_sampled_down_to_the_limit(spec: ModelSpec, frame: pd.DataFrame) -> None:
    data = split(replace(spec, training_rows=100), frame, 7)
    assert len(data.training) == 100
    assert data.training["at"].is_monotonic_increasing


def test_one_class_only_is_an_error(spec: ModelSpec, frame: pd.DataFrame) -> None:
    later = replace(spec, hold_out=HoldOut("time", start=datetime(2030, 1, 1, tzinfo=UTC)))
    with pytest.raises(TrainingError, match=r"the held-out rows \(0\) hold only one class"):
        split(later, frame, 7)


def test_missing_view_is_an_error(spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="materialize it first"):
        assemble(spec, {"points": spec.tables[0].read()}, {})


def test_frame_without_a_feature_is_an_error(spec: ModelSpec) -> None:
    bare = replace(spec, online=None)
    with pytest.raises(TrainingError, match="lacks the columns share_above"):
        assemble(bare, {"points": spec.tables[0].read()}, {})


def test_target_other_than_zero_and_one_is_an_error(spec: ModelSpec) -> None:
    points = spec.tables[0].read().assign(above=2, share_above=0.0)
    with pytest.raises(TrainingError, match=r"must hold 0 and 1, it holds \[2\]"):
        assemble(replace(spec, online=None), {"points": points}, {})
