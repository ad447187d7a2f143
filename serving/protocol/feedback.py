"""Labels that arrive later, by prediction id: the body of `/v2/models/<m>/feedback`.

    {"labels": [{"id": "<x-request-id of the answer>", "label": 1},
                {"id": "…", "label": [0, null, 1]},            one per row of the request; null: not known
                {"id": "…", "row": 2, "label": 0}]}            one row of a request of several

A label has the datatype of the output that it is about. The body is checked as a whole before any of it counts.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import orjson

from serving.protocol.errors import ProtocolError, bad, shorten
from serving.protocol.values import Check, compile_check
from serving.runtime.contract import Contract, Truth
from serving.runtime.signature import Signature, Tensor

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""What a request id may look like: it goes into logs, files and headers."""
MAX_LABELS = 10_000
"""Labels in one request: as many as a request for predictions has rows."""
MAX_BODY = 1024 * 1024
"""Bytes of one request."""

_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Label:
    """The true value of one row of one request."""

    id: str
    row: int
    value: Any


@dataclass(frozen=True, slots=True)
class Feedback:
    """The labels of one request, and what they are to be compared with."""

    labels: tuple[Label, ...]
    truth: Truth


def decode(name: str, signature: Signature, contract: Contract, body: bytes) -> Feedback:
    """Read and check the body of a feedback request.

    Args:
        name: the model, for messages.
        signature: its inputs and outputs.
        contract: how it is served.
        body: the whole body.

    Raises:
        ProtocolError: 400 with the entry and what is expected, 409 where this model's labels can be compared with
            nothing, 413 for too many labels.
    """
    truth, tensor = _output(name, signature, contract)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad(f"the body is not JSON: {error}") from None
    entries = data.get("labels") if type(data) is dict else None
    if type(entries) is not list or not entries or data.keys() != {"labels"}:
        raise bad('the body must be {"labels": [{"id": "…", "label": …}, …]} with at least one label')
    check = compile_check(tensor, nan=False)
    labels: dict[tuple[str, int], Label] = {}
    for number, entry in enumerate(entries):
        for label in _entry(f"labels[{number}]", entry, check):
            key = (label.id, label.row)
            if key in labels and labels[key].value != label.value:
                raise bad(f"labels[{number}]: row {label.row} of {label.id!r} is given twice with different labels")
            labels[key] = label
        if len(labels) > MAX_LABELS:
            raise ProtocolError(413, f"more than {MAX_LABELS} labels in one request")
    if not labels:
        raise bad("every label is null: there is nothing to take")
    return Feedback(tuple(labels.values()), truth)


def _output(name: str, signature: Signature, contract: Contract) -> tuple[Truth, Tensor]:
    """Return what labels of a model are about."""
    truth = contract.truth or Truth(_LABEL)
    tensor = next((one for one in signature.outputs if one.name == truth.output), None)
    if tensor is None:
        raise ProtocolError(
            409, f"model {name!r} has no output {truth.output!r}: its contract must say in `truth` what labels mean"
        )
    if len(tensor.shape) != 1:
        raise ProtocolError(409, f"model {name!r}: output {truth.output!r} has more than one value a row")
    if tensor.dtype.kind == "f" and truth.tolerance is None:
        raise ProtocolError(
            409, f"model {name!r}: output {truth.output!r} is a number; its contract must state `truth.tolerance`"
        )
    if contract.capture.get(truth.output, contract.capture_default) != "keep":
        raise ProtocolError(
            409, f"model {name!r}: its contract does not keep output {truth.output!r}, so that no label can be compared"
        )
    return truth, tensor


def _entry(where: str, entry: Any, check: Check) -> list[Label]:
    if type(entry) is not dict or "label" not in entry or not entry.keys() <= {"id", "label", "row"}:
        raise bad(f'{where}: expected {{"id": …, "label": …}}, and "row" for one row of several; got {shorten(entry)}')
    identifier, row, given = entry.get("id"), entry.get("row", 0), entry["label"]
    if type(identifier) is not str or not REQUEST_ID.fullmatch(identifier):
        raise bad(f"{where}.id: expected the x-request-id of a prediction, got {shorten(identifier)}")
    if type(row) is not int or not 0 <= row < MAX_LABELS:
        raise bad(f"{where}.row: expected a whole number from 0, got {shorten(row)}")
    if type(given) is list and "row" in entry:
        raise bad(f"{where}: with a row there is one label, not a list")
    values = given if type(given) is list else [given]
    if len(values) > MAX_LABELS:
        raise ProtocolError(413, f"{where}: more than {MAX_LABELS} labels in one request")
    known = [(row + index, value) for index, value in enumerate(values) if value is not None]
    try:
        checked = check([value for _, value in known])
    except ProtocolError as error:
        raise bad(f"{where}.label: {error.message.removeprefix('input ')}") from None
    return [Label(identifier, index, value) for (index, _), value in zip(known, checked, strict=True)]


def is_wrong(predicted: Any, label: Any, tolerance: float | None) -> bool:
    """Say whether a prediction differs from its label by more than the owner tolerates."""
    if tolerance is None:
        return bool(predicted != label)
    difference = abs(float(predicted) - float(label))
    return math.isnan(difference) or difference > tolerance
