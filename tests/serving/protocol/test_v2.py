import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol.errors import ProtocolError
from serving.protocol.v2 import Codec
from serving.runtime.contract import Contract, FeatureLookup
from serving.runtime.signature import Signature, Tensor

SIGNATURE = Signature(
    (Tensor("distance", "FP32"), Tensor("hour", "INT64"), Tensor("carrier", "BYTES"), Tensor("late", "BOOL")),
    (Tensor("label", "INT64"), Tensor("probability", "FP32"), Tensor("name", "BYTES")),
)
OUTPUTS: dict[str, np.ndarray[Any, Any]] = {
    "label": np.array([1, 0]),
    "probability": np.array([0.1, 0.25], np.float32),
    "name": np.array(["a", "ü"], object),
}


def codec(*, max_rows: int = 10, **contract: Any) -> Codec:
    return Codec("flight", "3", SIGNATURE, Contract("onnx", **contract), max_rows)


def request(**changes: Any) -> dict[str, Any]:
    """A valid request of two rows; `distance={...}` changes keys of an input, None removes it."""
    data = {"distance": [100.5, 7], "hour": [9, 17], "carrier": ["AA", "ü"], "late": [True, False]}
    kinds = {"distance": "FP32", "hour": "INT64", "carrier": "BYTES", "late": "BOOL"}
    inputs: list[dict[str, Any]] = []
    for name, values in data.items():
        change = changes.get(name, {})
        if change is not None:
            inputs.append({"name": name, "datatype": kinds[name], "shape": [2], "data": values} | change)
    rest = {key: value for key, value in changes.items() if key not in data}
    return {"inputs": inputs} | rest


def decode(body: Any, **options: Any) -> Any:
    return codec(**options).decode(json.dumps(body).encode())


def refused(body: Any, **options: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode(body, **options)
    return caught.value


def test_columns_come_in_the_order_of_the_signature() -> None:
    body = request(id="abc")
    body["inputs"].reverse()
    found = decode(body)
    assert found.columns == [[100.5, 7], [9, 17], ["AA", "ü"], [True, False]]
    assert (found.rows, found.id, found.outputs) == (2, "abc", None)


@pytest.mark.parametrize(("shape", "data"), [([2, 1], [1, 2]), ([2, 1], [[1], [2]]), ([2], [[1], [2]])])
def test_columns_may_be_flat_or_nested(shape: list[int], data: list[Any]) -> None:
    assert decode(request(hour={"shape": shape, "data": data})).columns[1] == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": None}, "missing inputs: distance"),
        ({"distance": {"name": "dist"}}, "unknown input 'dist'; the model takes distance, hour, carrier, late"),
        ({"hour": {"name": "distance", "datatype": "FP32"}}, "input 'distance' is given twice"),
        ({"hour": {"datatype": "FP32"}}, "input 'hour': datatype must be INT64, got 'FP32'"),
        ({"hour": {"shape": [3]}}, "input 'hour' has 3 rows where others have 2"),
        ({"hour": {"shape": [2, 2]}}, r"input 'hour': shape must be [n] or [n, 1], got [2, 2]"),
        ({"hour": {"shape": "2"}}, "input 'hour': \"shape\" must be a list"),
        ({"hour": {"shape": [True]}}, "input 'hour': \"shape\" must be a list"),
        ({"hour": {"shape": [-1]}}, "input 'hour': \"shape\" must be a list"),
        ({"hour": {"data": [9]}}, "input 'hour': 1 values in data, but its shape needs 2"),
        ({"hour": {"data": [9, 1.5]}}, "input 'hour', row 1: 1.5 is not a whole number (INT64)"),
        ({"hour": {"data": [9, True]}}, "input 'hour', row 1: True is not a whole number (INT64)"),
        ({"hour": {"data": [9, 2**63]}}, "input 'hour', row 1: 9223372036854775808 is out of the range of INT64"),
        ({"hour": {"data": None}}, "input 'hour': \"data\" must be a list"),
        ({"distance": {"data": ["x", 1]}}, "input 'distance', row 0: 'x' is not a number (FP32)"),
        ({"distance": {"data": [1, None]}}, "input 'distance', row 1: null is not a number (FP32)"),
        ({"distance": {"data": [1, 1e39]}}, "input 'distance', row 1: 1e+39 is out of the range of FP32"),
        ({"distance": {"data": [1, [2, 3]]}}, "input 'distance', row 1: [2, 3] is not a number (FP32)"),
        ({"carrier": {"data": ["AA", 1]}}, "input 'carrier', row 1: 1 is not a string (BYTES)"),
        ({"late": {"data": [True, 0]}}, "input 'late', row 1: 0 is not true or false (BOOL)"),
        ({"id": 7}, '"id" must be a string, got 7'),
        ({"outputs": [{"name": "x"}]}, "unknown output 'x'; the model gives label, probability, name"),
        ({"outputs": 1}, '"outputs" must be a list'),
        ({"parameters": [1]}, '"parameters" must be an object'),
    ],
)
def test_error_names_the_input_and_what_is_expected(change: dict[str, Any], message: str) -> None:
    error = refused(request(**change))
    assert error.status == 400
    assert message in error.message


@pytest.mark.parametrize(
    "body", [[], "x", None, 5, {}, {"inputs": {}}, {"inputs": []}, {"inputs": [1]}, {"inputs": [[]]}]
)
def test_bodies_of_another_form_are_refused(body: Any) -> None:
    assert refused(body).status == 400


def test_rows_beyond_the_limit_are_refused_with_413() -> None:
    error = refused(request(), max_rows=1)
    assert error.status == 413
    assert "2 rows in one request; at most 1 are allowed" in error.message


def test_limit_of_the_model_holds_below_that_of_the_platform() -> None:
    assert codec(max_rows=100).max_rows == 100
    assert Codec("m", "1", SIGNATURE, Contract("onnx", max_rows=5), 100).max_rows == 5


def test_nan_is_no_json_and_the_message_says_so() -> None:
    with pytest.raises(ProtocolError, match="NaN and Infinity are not JSON") as caught:
        codec().decode(b'{"inputs": [NaN]}')
    assert caught.value.status == 400


def test_null_and_nan_are_taken_where_the_model_allows_them() -> None:
    column = decode(request(distance={"data": [1.0, None]}), nan=True).columns[0]
    assert column[0] == 1.0
    assert np.isnan(column[1])
    assert np.isnan(decode(request(distance={"data": [1.0, float("nan")]}), nan=True).columns[0][1])
    assert "row 1: null is not a whole number" in refused(request(hour={"data": [1, None]}), nan=True).message


def test_response_names_model_version_and_request() -> None:
    coder = codec()
    answer = json.loads(coder.encode(coder.decode(json.dumps(request(id="r1")).encode()), OUTPUTS).body)
    assert answer == {
        "model_name": "flight",
        "model_version": "3",
        "id": "r1",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {"name": "probability", "datatype": "FP32", "shape": [2], "data": [0.1, 0.25]},
            {"name": "name", "datatype": "BYTES", "shape": [2], "data": ["a", "ü"]},
        ],
    }


def test_response_has_only_the_outputs_that_were_asked_for() -> None:
    coder = codec()
    body = request(outputs=[{"name": "probability"}])
    answer = json.loads(coder.encode(coder.decode(json.dumps(body).encode()), OUTPUTS).body)
    assert [output["name"] for output in answer["outputs"]] == ["probability"]


def binary_body(blobs: dict[str, bytes], **parameters: Any) -> tuple[bytes, int]:
    body = request(**parameters)
    for entry in body["inputs"]:
        if entry["name"] in blobs:
            del entry["data"]
            entry["parameters"] = {"binary_data_size": len(blobs[entry["name"]])}
    head = json.dumps(body).encode()
    return head + b"".join(blobs[e["name"]] for e in body["inputs"] if e["name"] in blobs), len(head)


BLOBS = {
    "distance": np.array([1.5, 2], "<f4").tobytes(),
    "hour": np.array([3, 4], "<i8").tobytes(),
    "carrier": b"\x02\x00\x00\x00AA\x02\x00\x00\x00\xc3\xbc",
    "late": b"\x01\x00",
}


def test_binary_tensors_are_read_and_written() -> None:
    coder = codec()
    body, length = binary_body(BLOBS, parameters={"binary_data_output": True})
    found = coder.decode(body, length)
    assert [np.asarray(column).tolist() for column in found.columns] == [[1.5, 2], [3, 4], ["AA", "ü"], [True, False]]
    encoded = coder.encode(found, OUTPUTS)
    assert encoded.json_length is not None
    head = json.loads(encoded.body[: encoded.json_length])
    sizes = [output["parameters"]["binary_data_size"] for output in head["outputs"]]
    raw = encoded.body[encoded.json_length :]
    assert sizes == [16, 8, 4 + 1 + 4 + 2]
    assert len(raw) == sum(sizes)
    assert np.frombuffer(raw[:16], "<i8").tolist() == [1, 0]
    assert raw[24:] == b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xbc"


@pytest.mark.parametrize(
    ("name", "blob", "message"),
    [
        ("hour", b"\x00" * 15, "input 'hour': 15 bytes of binary data, but its shape needs 16"),
        ("carrier", b"\x02\x00\x00\x00A", "input 'carrier': its binary data ends inside of element 0"),
        ("carrier", b"\x01\x00\x00\x00A", "input 'carrier': its binary data does not hold exactly 2 elements"),
        ("carrier", b"\x01\x00\x00\x00A\x01\x00\x00\x00\xff", "input 'carrier': element 1 is not UTF-8"),
        ("distance", np.array([1, np.nan], "<f4").tobytes(), "input 'distance', row 1: the value is not finite"),
    ],
)
def test_wrong_binary_data_names_the_input(name: str, blob: bytes, message: str) -> None:
    body, length = binary_body(BLOBS | {name: blob})
    with pytest.raises(ProtocolError) as caught:
        codec().decode(body, length)
    assert message in caught.value.message


def test_binary_sizes_must_fit_the_body() -> None:
    body, length = binary_body(BLOBS)
    with pytest.raises(ProtocolError, match="belong to no input"):
        codec().decode(body + b"\x00", length)
    with pytest.raises(ProtocolError, match="exceeds the data that was sent"):
        codec().decode(body[:-1], length)
    with pytest.raises(ProtocolError, match="but the body has"):
        codec().decode(body, len(body) + 1)
    with pytest.raises(ProtocolError, match="needs the header Inference-Header-Content-Length"):
        codec().decode(body[:length])


def test_entities_stand_for_the_features_that_are_looked_up() -> None:
    lookup = FeatureLookup("routes", {"route": "BYTES"}, {"distance": "routes:distance"})
    route = {"name": "route", "datatype": "BYTES", "shape": [2], "data": ["JFK-LAX", "EWR-SFO"]}
    body = request(distance=None)
    body["inputs"].append(route)
    found = decode(body, features=lookup)
    assert found.columns[0] is None
    assert found.entities == {"route": ["JFK-LAX", "EWR-SFO"]}
    assert "or send the entities route" in refused(request(distance=None), features=lookup).message
    body = request(hour=None)
    body["inputs"].append(route)
    assert refused(body, features=lookup).message == "missing inputs: hour"
    body["inputs"][-1] = route | {"data": ["JFK-LAX", 7]}
    assert "input 'route', row 1: 7 is not a string" in refused(body, features=lookup).message


def test_an_entity_that_is_an_input_too_is_sent_once() -> None:
    lookup = FeatureLookup("routes", {"carrier": "BYTES"}, {"distance": "routes:distance"})
    found = decode(request(distance=None), features=lookup)
    assert found.columns[2] == ["AA", "ü"]
    assert found.entities == {"carrier": ["AA", "ü"]}
    assert decode(request(), features=lookup).entities == {}


def test_tensors_of_higher_rank_keep_their_shape() -> None:
    shape = [2, 3]
    signature = Signature((Tensor("x", "FP32", (-1, 3)),), (Tensor("y", "FP32", (-1, 2)),))
    coder = Codec("m", "1", signature, Contract("onnx"), 10)

    def read(data: Any, shape: list[int]) -> Any:
        entry = {"name": "x", "datatype": "FP32", "shape": shape, "data": data}
        return coder.decode(json.dumps({"inputs": [entry]}).encode())

    for data in ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]):
        assert np.asarray(read(data, shape).columns[0]).tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ProtocolError, match=r"shape must be \[n, 3\]"):
        read([1, 2], [2])
    y = np.array([[1, 2], [3, 4]], np.float32)
    answer = json.loads(coder.encode(read([1, 2, 3, 4, 5, 6], shape), {"y": y}).body)
    assert answer["outputs"][0]["shape"] == [2, 2]
    assert answer["outputs"][0]["data"] == [[1, 2], [3, 4]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "datatype", "shape", "data", "parameters", "id", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["inputs", "outputs", "id", "parameters"]), json_values, max_size=4),
    st.sampled_from(["distance", "hour", "carrier", "late"]),
    st.sampled_from(["datatype", "shape", "data", "parameters", "name"]),
    json_values,
    st.booleans(),
)
def test_no_body_whatever_raises_anything_but_a_protocol_error(
    junk: dict[str, Any], name: str, key: str, value: Any, nan: bool
) -> None:
    for body in (junk, request(**{name: {key: value}}), request() | {"outputs": junk.get("outputs", [])}):
        for length in (None, 10):
            with contextlib.suppress(ProtocolError):
                found = codec(nan=nan).decode(json.dumps(body).encode(), length)
                assert all(column is not None and len(column) == found.rows for column in found.columns)
