import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol import invocations
from serving.protocol.errors import ProtocolError
from serving.protocol.v2 import Codec
from serving.runtime.contract import Contract
from serving.runtime.signature import Signature, Tensor

SIGNATURE = Signature(
    (Tensor("distance", "FP32"), Tensor("carrier", "BYTES")), (Tensor("label", "INT64"), Tensor("probability", "FP32"))
)
CODEC = Codec("flight", "1", SIGNATURE, Contract("onnx"), 10)
A, B = ["AA", 1.5], ["UA", 2]
COLUMNS = [[1.5, 2], ["AA", "UA"]]


def decode(body: Any) -> Any:
    return invocations.decode(CODEC, json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["carrier", "distance"], "data": [["AA", 1.5], ["UA", 2]]}},
        {"dataframe_split": {"index": [0, 1], "columns": ["y", "carrier", "distance"], "data": [[0, *A], [1, *B]]}},
        {"dataframe_records": [{"distance": 1.5, "carrier": "AA"}, {"carrier": "UA", "distance": 2}]},
        {"instances": [{"distance": 1.5, "carrier": "AA"}, {"carrier": "UA", "distance": 2}]},
        {"instances": [[1.5, "AA"], [2, "UA"]]},
        {"inputs": {"distance": [1.5, 2], "carrier": ["AA", "UA"]}},
        {"inputs": {"distance": [[1.5], [2]], "carrier": [["AA"], ["UA"]]}},
        {"inputs": [{"distance": 1.5, "carrier": "AA"}, {"carrier": "UA", "distance": 2}], "params": {}},
    ],
)  # fmt: skip
def test_each_of_mlflows_payloads_gives_the_same_columns(body: Any) -> None:
    found = decode(body)
    assert found.columns == COLUMNS
    assert found.rows == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "exactly one of dataframe_split, dataframe_records, instances, inputs; it has none"),
        ({"instances": [], "inputs": []}, "it has instances, inputs"),
        ([], "must be a JSON object"),
        ({"dataframe_split": {"columns": ["a"]}}, 'must be {"columns": [names], "data": [rows]}'),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "row 0: expected a list of 1 values"),
        ({"dataframe_records": []}, "must be a list of at least one row"),
        ({"dataframe_records": [[1]]}, "row 0: expected an object"),
        ({"dataframe_records": [{"distance": 1}, {"carrier": "A"}]}, "row 0: has no 'carrier'"),
        ({"dataframe_records": [{"distance": 1}]}, "missing inputs: carrier"),
        ({"dataframe_records": [{"distance": "x", "carrier": "A"}]}, "input 'distance', row 0: 'x' is not a number"),
        ({"inputs": {"distance": [1, 2], "carrier": ["A"]}}, "column 'carrier' has 1 rows where others have 2"),
        ({"inputs": {}}, "inputs has no rows"),
        ({"instances": [[1]]}, "row 0: expected an object or a list of 2 values"),
        ({"instances": [1]}, "row 0: expected an object or a list of 2 values"),
        ({"instances": [[1, "A"]], "params": {"t": 1}}, "params: the model takes none"),
    ],
)
def test_error_says_what_is_wrong_and_where(body: Any, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(body)
    assert caught.value.status == 400
    assert message in caught.value.message


def test_rows_beyond_the_limit_are_refused_with_413() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode({"instances": [[1, "A"]] * 11})
    assert caught.value.status == 413


def test_bare_values_are_the_rows_of_the_only_input() -> None:
    codec = Codec("m", "1", Signature((Tensor("x", "FP32"),), (Tensor("y", "FP32"),)), Contract("onnx"), 10)
    assert invocations.decode(codec, b'{"instances": [1, 2]}').columns == [[1, 2]]


def test_answer_is_one_object_per_row() -> None:
    outputs = {"label": np.array([1, 0]), "probability": np.array([0.1, 0.25], np.float32)}
    answer = json.loads(invocations.encode(CODEC, outputs).body)
    assert answer == {"predictions": [{"label": 1, "probability": 0.1}, {"label": 0, "probability": 0.25}]}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["columns", "data", "distance", "carrier", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]), values)
def test_no_body_whatever_raises_anything_but_a_protocol_error(form: str, value: Any) -> None:
    with contextlib.suppress(ProtocolError):
        found = decode({form: value})
        assert all(len(column) == found.rows for column in found.columns)
