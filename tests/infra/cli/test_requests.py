"""From what a person types to a V2 request."""

import pytest

from infra.cli.output import CommandFailed
from infra.cli.requests import inference_request

METADATA = {
    "inputs": [
        {"name": "amount", "datatype": "FP32", "shape": [-1]},
        {"name": "term", "datatype": "INT64", "shape": [-1]},
        {"name": "region", "datatype": "BYTES", "shape": [-1]},
    ]
}
RECORD = {"amount": 12.5, "term": 36, "region": "north"}


def test_one_record_becomes_one_row_per_tensor() -> None:
    request = inference_request("loan", METADATA, RECORD)
    assert request["inputs"] == [
        {"name": "amount", "datatype": "FP32", "shape": [1], "data": [12.5]},
        {"name": "term", "datatype": "INT64", "shape": [1], "data": [36]},
        {"name": "region", "datatype": "BYTES", "shape": [1], "data": ["north"]},
    ]


def test_a_list_of_records_becomes_columns() -> None:
    request = inference_request("loan", METADATA, [RECORD, {**RECORD, "term": 12}])
    assert request["inputs"][1] == {"name": "term", "datatype": "INT64", "shape": [2], "data": [36, 12]}


def test_a_v2_request_passes_unchanged() -> None:
    request = {"inputs": [{"name": "anything", "datatype": "FP32", "shape": [1], "data": [1]}], "id": "a"}
    assert inference_request("loan", METADATA, request) == request


def test_a_field_absent_everywhere_is_left_to_the_server() -> None:
    request = inference_request("loan", METADATA, {"amount": 1.0, "region": "south"})
    assert [tensor["name"] for tensor in request["inputs"]] == ["amount", "region"]


def test_an_entity_may_stand_for_features_that_are_looked_up() -> None:
    metadata = {**METADATA, "parameters": {"entities": {"customer": "INT64"}, "looked_up": ["amount"]}}
    request = inference_request("loan", metadata, {"term": 36, "region": "north", "customer": 7})
    assert request["inputs"][-1] == {"name": "customer", "datatype": "INT64", "shape": [1], "data": [7]}
    with pytest.raises(CommandFailed, match="unknown field 'customer'"):
        inference_request("loan", METADATA, {**RECORD, "customer": 7})


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({**RECORD, "amuont": 1}, "unknown field 'amuont'"),
        ({**RECORD, "amount": "much"}, "field 'amount' is 'much', its datatype is FP32"),
        ({**RECORD, "term": 1.5}, "field 'term' is 1.5, its datatype is INT64"),
        ({**RECORD, "term": True}, "field 'term' is True, its datatype is INT64"),
        ({**RECORD, "region": 3}, "field 'region' is 3, its datatype is BYTES"),
    ],
)
def test_a_bad_field_is_named_with_its_datatype(record: dict[str, object], said: str) -> None:
    with pytest.raises(CommandFailed, match="record 0") as caught:
        inference_request("loan", METADATA, record)
    assert said in str(caught.value)
    assert "amount (FP32)" in caught.value.hint


@pytest.mark.parametrize("payload", [[], 3, "text", [1, 2], None])
def test_a_payload_that_is_no_record_is_refused(payload: object) -> None:
    with pytest.raises(CommandFailed, match="allowed are one record"):
        inference_request("loan", METADATA, payload)
