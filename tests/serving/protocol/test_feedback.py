import json
from typing import Any

import pytest

from serving.protocol import feedback
from serving.protocol.errors import ProtocolError
from serving.protocol.feedback import Label
from serving.runtime.contract import Contract, Truth
from serving.runtime.signature import Signature, Tensor

SIGNATURE = Signature(
    inputs=(Tensor("x", "FP32"),),
    outputs=(
        Tensor("label", "INT64"),
        Tensor("minutes", "FP32"),
        Tensor("kind", "BYTES"),
        Tensor("two", "FP32", (-1, 2)),
    ),
)


def decode(labels: Any, contract: Contract | None = None) -> feedback.Feedback:
    body = json.dumps({"labels": labels}).encode()
    return feedback.decode("m", SIGNATURE, contract or Contract(kind="onnx"), body)


def test_label_of_one_row_of_several_rows_and_of_one_among_several() -> None:
    given = decode([{"id": "a", "label": 1}, {"id": "b", "label": [0, None, 1]}, {"id": "c", "row": 4, "label": 0}])
    assert given.labels == (Label("a", 0, 1), Label("b", 0, 0), Label("b", 2, 1), Label("c", 4, 0))
    assert given.truth == Truth("label")


def test_contract_says_what_labels_are_about() -> None:
    assert decode([{"id": "a", "label": "red"}], Contract(kind="onnx", truth=Truth("kind"))).labels[0].value == "red"
    assert decode([{"id": "a", "label": 3}], Contract(kind="onnx", truth=Truth("minutes", 2.0))).truth.tolerance == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least one label"),
        ("x", "at least one label"),
        ([{"id": "a"}], r'labels\[0\]: expected {"id"'),
        ([{"id": "a", "label": 1, "colour": 2}], r"labels\[0\]: expected"),
        ([{"id": "a b", "label": 1}], r"labels\[0\].id: expected the x-request-id"),
        ([{"id": 7, "label": 1}], r"labels\[0\].id"),
        ([{"id": "a", "label": 1.5}], r"labels\[0\].label: 'label', row 0: 1.5 is not a whole number"),
        ([{"id": "a", "label": True}], "not a whole number"),
        ([{"id": "a", "label": [0, "x"]}], "'x' is not a whole number"),
        ([{"id": "a", "label": None}], "every label is null"),
        ([{"id": "a", "row": -1, "label": 1}], r"labels\[0\].row"),
        ([{"id": "a", "row": True, "label": 1}], r"labels\[0\].row"),
        ([{"id": "a", "row": 1, "label": [1]}], "one label, not a list"),
        ([{"id": "a", "label": 1}, {"id": "a", "label": 0}], "row 0 of 'a' is given twice"),
    ],
)
def test_malformed_labels_are_refused_with_the_entry(labels: Any, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        decode(labels)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "labels", [[{"id": "a", "label": [1] * 10_001}], [{"id": f"a{n}", "label": 1} for n in range(10_001)]]
)
def test_too_many_labels_are_refused(labels: Any) -> None:
    with pytest.raises(ProtocolError, match="more than 10000 labels") as caught:
        decode(labels)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (Contract(kind="onnx", truth=Truth("other")), "no output 'other'"),
        (Contract(kind="onnx", truth=Truth("minutes")), "must state `truth.tolerance`"),
        (Contract(kind="onnx", truth=Truth("two", 1.0)), "more than one value a row"),
        (Contract(kind="onnx", capture={"label": "hash"}), "does not keep output 'label'"),
        (Contract(kind="onnx", capture_default="drop"), "does not keep output 'label'"),
    ],
)
def test_labels_that_nothing_can_be_compared_with_are_refused(contract: Contract, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        decode([{"id": "a", "label": 1}], contract)
    assert caught.value.status == 409


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"labels": [{"id": "a", "label": 1}], "more": 1}', b'"x"'])
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="body"):
        feedback.decode("m", SIGNATURE, Contract(kind="onnx"), body)


@pytest.mark.parametrize(
    ("predicted", "label", "tolerance", "wrong"),
    [
        (1, 1, None, False), (1, 0, None, True), ("a", "b", None, True),
        (1.5, 2.0, 0.5, False), (1.4, 2.0, 0.5, True), (float("nan"), 2.0, 0.5, True), (None, 1, None, True),
    ],
)  # fmt: skip
def test_prediction_is_wrong_beyond_the_tolerance(predicted: Any, label: Any, tolerance: Any, wrong: bool) -> None:
    assert feedback.is_wrong(predicted, label, tolerance) is wrong


def test_contract_with_truth_survives_the_file_and_leaves_others_as_they_were() -> None:
    stated = Contract(kind="onnx", truth=Truth("minutes", 5.0))
    assert Contract.from_json(stated.to_json()) == stated
    assert "truth" not in Contract(kind="onnx").to_json()
