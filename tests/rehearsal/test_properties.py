"""Property values by path."""

from typing import Any

import pytest

from infra.provider.codec import UNKNOWN, Secret
from infra.rehearsal.properties import at, differences, followed, mark_like, show, without_unknown


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "update")]),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, [("a.c", "add")]),
        ({"a": [1, 2]}, {"a": [1]}, [("a[1]", "delete")]),
        ({"a": [1]}, {"a": [1, 2]}, [("a[1]", "add")]),
        ({"a": 1}, {"a": True}, [("a", "update")]),
        ({"a": 1}, {"a": UNKNOWN}, [("a", "update")]),
        ({"a": Secret("x")}, {"a": "x"}, []),
        ({"a": None}, {}, []),
        ({"labels": {"app.io/name": "x"}}, {"labels": {}}, [('labels["app.io/name"]', "delete")]),
    ],
)
def test_differences_are_named_by_path(old: Any, new: Any, expected: list[tuple[str, str]]) -> None:
    assert [(show(path), change) for path, change in differences(old, new)] == expected


def test_unknown_values_are_left_out_and_named() -> None:
    value = {"a": [1, UNKNOWN, Secret(UNKNOWN)], "b": {"c": UNKNOWN, "d": Secret("x")}}
    assert without_unknown(value) == ({"a": [1], "b": {"d": "x"}}, [("a", 1), ("a", 2), ("b", "c")])


def test_secrets_stay_secret_at_their_place() -> None:
    marked = {"a": Secret("x"), "b": [{"c": Secret(1)}], "d": 1}
    assert mark_like(marked, {"a": "y", "b": [{"c": 2}, {"c": 3}], "d": 4}) == {
        "a": Secret("y"),
        "b": [{"c": Secret(2)}, {"c": 3}],
        "d": 4,
    }


def test_input_stays_as_written_when_the_api_says_the_same_as_before() -> None:
    assert followed({"cpu": "1000m"}, {"cpu": "1"}, {"cpu": "1"}) == {"cpu": "1000m"}


def test_input_follows_what_was_changed_by_hand() -> None:
    inputs = {"cpu": "1000m", "replicas": 2, "labels": {"a": "b"}, "token": Secret("x")}
    recorded = {"cpu": "1", "replicas": 2, "labels": {"a": "b"}, "token": "x", "uid": 1}
    found = {"cpu": "1", "replicas": 5, "labels": {}, "token": "y", "uid": 2}
    assert followed(inputs, recorded, found) == {"cpu": "1000m", "replicas": 5, "labels": {}, "token": Secret("y")}


def test_what_lies_at_a_path() -> None:
    value = {"a": [{"b": Secret(1)}], "c": UNKNOWN}
    assert at(value, ("a", 0, "b")) == 1
    assert at(value, ("a", 3, "b")) is None
    assert at(value, ("c", "d")) is UNKNOWN
