"""What travels between a replica and a candidate comes out as it went in, and nonsense is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime.signature import DTYPES
from serving.shadows import pack_copy, unpack_copy
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
    for read in (unpack, split, unpack_copy):
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


def test_a_copy_holds_request_and_answer() -> None:
    outputs = {"probability": np.array([0.5], np.float32)}
    columns, rows, identifier, stable = unpack_copy(pack_copy({"hour": [9]}, 1, "x", outputs))
    assert (columns, rows, identifier) == ({"hour": [9]}, 1, "x")
    assert stable["probability"].dtype == np.float32
    with pytest.raises(WireError, match="no copy"):
        unpack_copy(pack({"n": 1, "i": "x"}, {"hour": [9]}))


def test_messages_are_joined_and_split() -> None:
    assert split(join([b"a", b"", b"ccc"])) == [b"a", b"", b"ccc"]
    assert split(b"") == []


def test_only_arrays_are_outputs() -> None:
    with pytest.raises(WireError, match="list where an array"):
        arrays({"x": [1]})
