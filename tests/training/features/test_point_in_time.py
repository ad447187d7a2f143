"""The point-in-time join: nothing from the future, the newest of the past."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.features.point_in_time import join_as_of


def moment(hour: int) -> pd.Timestamp:
    return pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(hours=hour)


VIEW = pd.DataFrame(
    {
        "key": ["a", "a", "b"],
        "event_timestamp": [moment(10), moment(20), moment(10)],
        "value": [1.0, 2.0, 3.0],
    }
)


@pytest.mark.parametrize(
    ("key", "hour", "expected"),
    [
        ("a", 9, None),
        ("a", 10, 1.0),
        ("a", 15, 1.0),
        ("a", 19, 1.0),
        ("a", 20, 2.0),
        ("a", 99, 2.0),
        ("b", 99, 3.0),
        ("c", 99, None),
    ],
)
def test_example_gets_the_newest_value_known_at_its_time(key: str, hour: int, expected: float | None) -> None:
    examples = pd.DataFrame({"key": [key], "at": [moment(hour)]})
    value = join_as_of(examples, VIEW, by="key", time="at", features=["value"])["value"].iloc[0]
    assert (np.isnan(value) and expected is None) or value == expected


def test_examples_keep_their_order_and_columns() -> None:
    examples = pd.DataFrame({"key": ["b", "a", "a"], "at": [moment(30), moment(25), moment(12)], "other": [1, 2, 3]})
    joined = join_as_of(examples, VIEW, by="key", time="at", features=["value"])
    assert joined[["key", "at", "other"]].equals(examples)
    assert joined["value"].tolist() == [3.0, 2.0, 1.0]


ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=1, max_size=20, unique=True)


@given(view=ROWS, examples=ROWS)
def test_join_is_what_looking_up_row_by_row_gives(view: list[tuple[str, int]], examples: list[tuple[str, int]]) -> None:
    rows = pd.DataFrame(
        {
            "key": [key for key, _ in view],
            "event_timestamp": [moment(hour) for _, hour in view],
            "value": [float(hour) for _, hour in view],
        }
    )
    asked = pd.DataFrame({"key": [key for key, _ in examples], "at": [moment(hour) for _, hour in examples]})
    joined = join_as_of(asked, rows, by="key", time="at", features=["value"])["value"].tolist()
    for (key, hour), value in zip(examples, joined, strict=True):
        known = [at for other, at in view if other == key and at <= hour]
        assert value == max(known) if known else np.isnan(value)
