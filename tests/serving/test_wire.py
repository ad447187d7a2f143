"""What travels between a replica and a candidate comes out as it went in, and nonsense is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime.signature import DTYPES
from serving.shadows import Copy, pack_copies, unpack_copies
from serving.wire import WireError, arrays, join, pack, split, unpack


def one(sent: Any) -> Any:
    """Send a column and return what arrives."""
    _, (columns,) = unpack(pack({}, {"x": sent}))
    return columns["x"]


def test_fields_and_columns_come_out_as_they_went_in() -> None:
    columns: dict[str, Any] = {"hour": [9, 2**62], "distance": [1.5, -0.0], "carrier": ["AA", "ü\0"], "empty": []}
    fields, groups = unpack(pack({"n": 2, "i": "x", "s": None}, columns))
    assert (fields, groups) == ({"n": 2, "i": "x", "s": None}, [columns])


@given(st.lists(st.floats(width=64), min_size=1))
def test_numbers_that_json_does_not_have_arrive(values: list[float]) -> None:
    read = one(values)
    assert isinstance(read, list)
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(values, read, strict=True))


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BYTES"])
@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3)])
def test_arrays_keep_type_and_shape(datatype: str, shape: tuple[int, ...]) -> None:
    sent = np.arange(math.prod(shape)).reshape(shape).astype(DTYPES[datatype])
    read = one(sent)
    assert isinstance(read, np.ndarray)
    assert (read.dtype, read.shape) == (sent.dtype, sent.shape)
    assert np.array_equal(read, sent)
    assert read.flags.writeable  # a model may work in place


def test_arrays_of_strings_and_what_is_no_number_arrive() -> None:
    strings = np.array([["a", ""], ["ü", "b"]], object)
    broken = np.array([np.nan, np.inf, 1.0], np.float32)
    read, floats = one(strings), one(broken)
    assert isinstance(read, np.ndarray)
    assert read.dtype == object
    assert np.array_equal(read, strings)
    assert np.array_equal(floats, broken, equal_nan=True)


@pytest.mark.parametrize(
    "column",
    [
        np.array([1 + 2j]),
        np.array(["2026-01-01"], "datetime64[D]"),
        np.array([b"raw"], object),
        np.array([{1: object()}], object),
        ["\ud800"],
    ],
)
def test_what_the_protocol_does_not_have_cannot_be_sent(column: Any) -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        pack({}, {"x": column})


def test_strings_must_be_strings() -> None:
    with pytest.raises(WireError):
        unpack(pack({}, {"x": np.array([{"a": 1}], object)}))


@given(st.binary(max_size=64))
def test_nonsense_is_refused(message: bytes) -> None:
    for read in (unpack, split, unpack_copies):
        try:
            read(message)
        except WireError:
            continue


@given(st.data())
def test_a_message_that_was_damaged_is_refused_or_read_as_another(data: st.DataObject) -> None:
    message = bytearray(pack({"n": 1}, {"x": [1.0]}, {"y": np.array([1.0, 2.0])}))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))])
    for damaged in (bytes(message), cut, bytes(message) + b"x"):
        try:
            unpack(damaged)
        except WireError:
            continue


def test_surplus_bytes_are_refused() -> None:
    with pytest.raises(WireError, match="belong to no array"):
        unpack(pack({}, {"x": [1]}) + b"x")


def test_copies_arrive_as_they_were_whatever_their_columns_are_made_of() -> None:
    def answer(*values: float) -> dict[str, Any]:
        return {"probability": np.array(values, np.float32)}

    copies = [
        Copy({"hour": [9], "late": [0.5]}, 1, "one", answer(0.5)),
        Copy({"hour": [10, 11], "late": [math.nan, 1.0]}, 2, "two", answer(0.25, 0.75)),
        Copy({"hour": np.array([12]), "late": [1.5]}, 1, "binary", answer(0.1)),
        Copy({"hour": [13], "late": np.ones((1, 3), np.float32)}, 1, "wide", answer(0.2)),
    ]
    for sent, read in zip(copies, unpack_copies(pack_copies(copies)), strict=True):
        assert (read.rows, read.id) == (sent.rows, sent.id)
        for group, other in ((sent.columns, read.columns), (sent.outputs, read.outputs)):
            assert {name: type(column) for name, column in group.items()} == {n: type(c) for n, c in other.items()}
            for name, column in group.items():
                np.testing.assert_array_equal(np.asarray(other[name]), np.asarray(column))
                assert np.asarray(other[name]).dtype == np.asarray(column).dtype


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({"n": [1], "i": ["x"]}, [{"hour": [9]}]),
        ({"n": 1, "i": "x"}, [{"hour": [9]}, {}]),
        ({"n": [1, 1], "i": ["x"]}, [{"hour": [9]}, {}]),
        ({"n": [0], "i": ["x"]}, [{"hour": []}, {}]),
        ({"n": [1], "i": [7]}, [{"hour": [9]}, {}]),
        ({"n": [1, 1], "i": ["x", "y"]}, [{"hour": [9]}, {}]),
        ({"n": [1], "i": ["x"]}, [{"hour": np.array(9)}, {}]),
        ({"n": [1], "i": ["x"]}, [{"hour": [9]}, {"label": [1]}]),
    ],
)
def test_a_bundle_that_does_not_add_up_is_refused(fields: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    with pytest.raises(WireError, match="malformed message"):
        unpack_copies(join([pack(fields, *groups)]))


def test_messages_are_joined_and_split() -> None:
    assert split(join([b"a", b"", b"ccc"])) == [b"a", b"", b"ccc"]
    assert split(b"") == []


def test_only_arrays_are_outputs() -> None:
    with pytest.raises(WireError, match="list where an array"):
        arrays({"x": [1]})
