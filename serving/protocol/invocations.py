"""MLflow's scoring payloads: dataframe_split, dataframe_records, instances, inputs → columns; predictions as records.

As in MLflow, columns that the model does not take are ignored. Datatypes come from the signature.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.protocol.errors import ProtocolError, bad, shorten
from serving.protocol.request import Column, Decoded, Encoded
from serving.protocol.v2 import Codec, parse_json, to_json

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def decode(codec: Codec, body: bytes) -> Decoded:
    """Read and check the body of a request to /invocations.

    Raises:
        ProtocolError: 400 with the column and what is expected, 413 for too many rows.
    """
    data = parse_json(body, nan=codec.nan)
    if type(data) is not dict:
        raise bad(f"the body must be a JSON object with one of {', '.join(_FORMS)}")
    forms = [form for form in _FORMS if form in data]
    if len(forms) != 1:
        raise bad(f"the body must have exactly one of {', '.join(_FORMS)}; it has {', '.join(forms) or 'none'}")
    if data.get("params"):
        raise bad("params: the model takes none")
    form = forms[0]
    table = data[form]
    if form == "dataframe_split":
        columns = _split(table)
    elif form == "inputs" and type(table) is dict:
        columns = {name: value if type(value) is list else [value] for name, value in table.items()}
    else:
        columns = _records(codec, table, form)
    return _checked(codec, columns, form)


def encode(codec: Codec, outputs: Mapping[str, NDArray[Any]]) -> Encoded:
    """Write predictions as MLflow writes a data frame: a list of one object per row."""
    names = [tensor.name for tensor in codec.signature.outputs]
    columns = [outputs[name].tolist() if outputs[name].dtype.kind != "f" else to_json(outputs[name]) for name in names]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return Encoded(orjson.dumps({"predictions": rows}, option=orjson.OPT_SERIALIZE_NUMPY))


def _split(table: Any) -> dict[str, list[Any]]:
    columns = table.get("columns") if type(table) is dict else None
    data = table.get("data") if type(table) is dict else None
    if type(columns) is not list or type(data) is not list or not all(type(name) is str for name in columns):
        raise bad('dataframe_split must be {"columns": [names], "data": [rows]}')
    for number, row in enumerate(data):
        if type(row) is not list or len(row) != len(columns):
            raise bad(f"dataframe_split.data, row {number}: expected a list of {len(columns)} values")
    return {name: [row[i] for row in data] for i, name in enumerate(columns)}


def _records(codec: Codec, table: Any, form: str) -> dict[str, list[Any]]:
    """Read a list of rows: objects by name, lists in the signature's order, or bare values of the only input."""
    if type(table) is not list or not table:
        raise bad(f"{form} must be a list of at least one row")
    inputs = [tensor.name for tensor in codec.signature.inputs]
    if type(table[0]) is dict:
        names: dict[str, None] = {}
        for row in table:
            names.update(dict.fromkeys(row if type(row) is dict else ()))
        for number, row in enumerate(table):
            absent = [name for name in names if type(row) is not dict or name not in row]
            if absent:
                raise bad(f"{form}, row {number}: has no {absent[0]!r}")
        return {name: [row[name] for row in table] for name in names}
    if form == "dataframe_records":
        raise bad("dataframe_records, row 0: expected an object")
    if len(inputs) == 1 and len(codec.signature.inputs[0].shape) == 1 and type(table[0]) is not list:
        return {inputs[0]: table}
    if len(inputs) == 1 and len(codec.signature.inputs[0].shape) > 1:
        return {inputs[0]: table}
    for number, row in enumerate(table):
        if type(row) is not list or len(row) != len(inputs):
            raise bad(f"{form}, row {number}: expected an object or a list of {len(inputs)} values")
    return {name: [row[i] for row in table] for i, name in enumerate(inputs)}


def _checked(codec: Codec, given: Mapping[str, list[Any]], form: str) -> Decoded:
    rows = max((len(values) for values in given.values()), default=0)
    if rows < 1:
        raise bad(f"{form} has no rows")
    if rows > codec.max_rows:
        raise ProtocolError(413, f"{rows} rows in one request; at most {codec.max_rows} are allowed")
    for name, values in given.items():
        if len(values) != rows:
            raise bad(f"{form}: column {shorten(name)} has {len(values)} rows where others have {rows}")
    columns: list[Column | None] = []
    for tensor, check in zip(codec.signature.inputs, codec.checks, strict=True):
        if tensor.name not in given:
            columns.append(None)
        elif len(tensor.shape) > 1:
            columns.append(_tensor(given[tensor.name], tensor.name, tensor.shape[1:], check, tensor.dtype))
        else:
            cells = given[tensor.name]
            columns.append(check([cell[0] if type(cell) is list and len(cell) == 1 else cell for cell in cells]))
    entities = {}
    for name, values in given.items():
        found = codec.entity(name)
        if found is not None:
            entities[name] = found[1](values)
    if any(column is None for column in columns):
        codec.check_complete(columns, entities)
    return Decoded(columns, rows, entities=entities)


def _tensor(values: list[Any], name: str, tail: tuple[int, ...], check: Any, dtype: Any) -> NDArray[Any]:
    flat: list[Any] = values
    for size in tail:
        if not all(type(value) is list and len(value) == size for value in flat):
            raise bad(f"input {name!r}: each row must have the shape {list(tail)}")
        flat = [item for value in flat for item in value]
    return np.array(check(flat), dtype).reshape(len(values), *tail)
