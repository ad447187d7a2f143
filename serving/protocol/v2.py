"""Open Inference Protocol V2: requests and responses of `infer`, metadata, and the binary tensor extension.

Names, datatypes and shapes must be those of the signature. A column may be sent as [n] or [n, 1], its data flat or
nested. With the header Inference-Header-Content-Length the JSON is that many bytes long and raw tensors follow it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.protocol import binary
from serving.protocol.errors import ProtocolError, bad, shorten
from serving.protocol.request import Column, Decoded, Encoded
from serving.protocol.values import Check, check_array, compile_check
from serving.runtime.contract import Contract
from serving.runtime.signature import Signature, Tensor

BINARY_HEADER = b"inference-header-content-length"
EXTENSIONS = ["binary_tensor_data", "model_repository"]


class Codec:
    """The compiled reader and writer of one model version. Safe to share: it keeps no state between requests."""

    def __init__(self, name: str, version: str, signature: Signature, contract: Contract, max_rows: int) -> None:
        self.name, self.version, self.signature = name, version, signature
        self.nan = contract.nan
        self.max_rows = min(max_rows, contract.max_rows or max_rows)
        self.lookup = contract.features
        self.checks: list[Check] = [compile_check(t, nan=contract.nan) for t in signature.inputs]
        self._inputs = {t.name: (i, t, self.checks[i]) for i, t in enumerate(signature.inputs)}
        self._outputs = {t.name: t for t in signature.outputs}
        self._entities: dict[str, tuple[Tensor, Check]] = {}
        if self.lookup:
            for entity, datatype in self.lookup.entities.items():
                tensor = Tensor(entity, datatype)
                self._entities[entity] = (tensor, compile_check(tensor, nan=False))

    def decode(self, body: bytes, json_length: int | None = None) -> Decoded:
        """Read and check the body of an `infer` request.

        Args:
            body: the whole body.
            json_length: the length of its JSON part in bytes where raw tensors follow it.

        Raises:
            ProtocolError: 400 with the name of the input and what is expected, 413 for too many rows.
        """
        raw: memoryview | None = None
        if json_length is not None:
            if not 0 < json_length <= len(body):
                raise bad(f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes")
            raw = memoryview(body)[json_length:]
            body = body[:json_length]
        data = parse_json(body, nan=self.nan)
        if type(data) is not dict:
            raise bad('the body must be a JSON object with "inputs"')
        entries = data.get("inputs")
        if type(entries) is not list or not entries:
            raise bad('"inputs" must be a list of at least one tensor')
        columns: list[Column | None] = [None] * len(self._inputs)
        entities: dict[str, list[Any]] = {}
        rows = -1
        offset = 0
        inputs = self._inputs
        for entry in entries:
            name = entry.get("name") if type(entry) is dict else None
            found = inputs.get(name) if type(name) is str else None
            if found is None:
                rows = self._other(entry, name, entities, rows)
                continue
            index, tensor, check = found
            if columns[index] is not None:
                raise bad(f"input {name!r} is given twice")
            count = self._shape(entry, tensor)
            if count != rows:
                if rows >= 0:
                    raise bad(f"input {name!r} has {count} rows where others have {rows}")
                if count > self.max_rows:
                    raise ProtocolError(413, f"{count} rows in one request; at most {self.max_rows} are allowed")
                rows = count
            values = entry.get("data")
            if type(values) is list:
                columns[index] = self._values(tensor, check, values, rows)
            else:
                array, offset = self._binary(entry, tensor, raw, offset, rows)
                columns[index] = array
        if raw is not None and offset != len(raw):
            raise bad(f"{len(raw) - offset} bytes of binary data belong to no input")
        if len(entries) - len(entities) != len(columns):
            self.check_complete(columns, entities)
        identifier = data.get("id")
        if identifier is not None and type(identifier) is not str:
            raise bad(f'"id" must be a string, got {shorten(identifier)}')
        wanted = data.get("outputs")
        parameters = data.get("parameters")
        outputs = None if wanted is None and not parameters else self._wanted(wanted, parameters)
        return Decoded(columns, rows, identifier, outputs, entities)

    def encode(self, request: Decoded, outputs: Mapping[str, NDArray[Any]]) -> Encoded:
        """Write the response with the outputs that the request asked for."""
        wanted = request.outputs
        blobs: list[bytes] = []
        entries: list[dict[str, Any]] = []
        for name, as_binary in wanted if wanted is not None else [(t.name, False) for t in self.signature.outputs]:
            tensor, array = self._outputs[name], outputs[name]
            entry: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": array.shape}
            if as_binary:
                blob = binary.write(tensor, array)
                blobs.append(blob)
                entry["parameters"] = {"binary_data_size": len(blob)}
            else:
                entry["data"] = to_json(array)
            entries.append(entry)
        answer: dict[str, Any] = {"model_name": self.name, "model_version": self.version, "outputs": entries}
        if request.id is not None:
            answer["id"] = request.id
        head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        if not blobs:
            return Encoded(head)
        return Encoded(b"".join([head, *blobs]), len(head))

    def check_complete(self, columns: Iterable[Column | None], entities: dict[str, list[Any]]) -> None:
        """Check that inputs which are missing come from the feature store by the given entities.

        An entity that is an input of the model as well (a carrier, say) is sent once: it is added to `entities` here.

        Raises:
            ProtocolError: 400 with the names of the inputs or entities that are missing.
        """
        given = {t.name: column for t, column in zip(self.signature.inputs, columns, strict=True)}
        missing = [name for name, column in given.items() if column is None]
        if missing and self.lookup:
            for name in self.lookup.entities:
                column = given.get(name)
                if column is not None and name not in entities:
                    entities[name] = list(column)
        looked_up = set(self.lookup.features) if self.lookup and entities else set()
        lacking = [name for name in missing if name not in looked_up]
        if lacking:
            hint = ""
            if self.lookup and set(lacking) & set(self.lookup.features):
                hint = f" (or send the entities {', '.join(self.lookup.entities)} and they are looked up)"
            raise bad(f"missing inputs: {', '.join(lacking)}{hint}")
        if missing and self.lookup:
            absent = [name for name in self.lookup.entities if name not in entities]
            if absent:
                raise bad(f"missing entities: {', '.join(absent)}")

    def entity(self, name: str) -> tuple[Tensor, Check] | None:
        """Return tensor and check of an entity key, or None where the model has none of this name."""
        return self._entities.get(name)

    def _other(self, entry: Any, name: Any, entities: dict[str, list[Any]], rows: int) -> int:
        """Read an entry that is not an input of the model: an entity key, or an error. Returns the number of rows."""
        if type(entry) is not dict or type(name) is not str:
            raise bad(f'each input needs a "name" (a string), got {shorten(entry)}')
        found = self._entities.get(name)
        if found is None:
            expected = ", ".join([*self._inputs, *self._entities])
            raise bad(f"unknown input {shorten(name)}; the model takes {expected}")
        tensor, check = found
        if name in entities:
            raise bad(f"input {name!r} is given twice")
        count = self._shape(entry, tensor)
        if rows >= 0 and count != rows:
            raise bad(f"input {name!r} has {count} rows where others have {rows}")
        if count > self.max_rows:
            raise ProtocolError(413, f"{count} rows in one request; at most {self.max_rows} are allowed")
        values = entry.get("data")
        if type(values) is not list:
            raise bad(f'input {name!r}: entity keys are sent as JSON in "data"')
        column = self._values(tensor, check, values, count)
        entities[name] = list(column)
        return count

    @staticmethod
    def _shape(entry: dict[str, Any], tensor: Tensor) -> int:
        """Check datatype and shape; return the number of rows."""
        datatype = entry.get("datatype")
        if datatype != tensor.datatype:
            raise bad(f"input {tensor.name!r}: datatype must be {tensor.datatype}, got {shorten(datatype)}")
        shape = entry.get("shape")
        if type(shape) is not list or not shape or type(shape[0]) is not int or shape[0] < 1:
            raise bad(f'input {tensor.name!r}: "shape" must be a list that starts with the rows, got {shorten(shape)}')
        tail = tensor.shape[1:]
        if len(shape) == 1 + len(tail):
            if not tail or tuple(shape[1:]) == tail:
                return shape[0]
        elif not tail and len(shape) == 2 and shape[1] == 1 and type(shape[1]) is int:
            return shape[0]
        expected = "[n] or [n, 1]" if not tail else str(["n", *tail]).replace("'", "")
        raise bad(f"input {tensor.name!r}: shape must be {expected}, got {shorten(shape)}")

    def _values(self, tensor: Tensor, check: Check, values: list[Any], rows: int) -> Column:
        """Check JSON data, flat or nested."""
        if len(tensor.shape) == 1 and len(values) == rows and type(values[0]) is not list:
            return check(values)
        width = int(np.prod(tensor.shape[1:], dtype=np.int64))
        flat = list(_flatten(values, 1 + max(1, len(tensor.shape))))
        if len(flat) != rows * width:
            raise bad(f"input {tensor.name!r}: {len(flat)} values in data, but its shape needs {rows * width}")
        flat = check(flat)
        if len(tensor.shape) == 1:
            return flat
        return np.array(flat, tensor.dtype).reshape(rows, *tensor.shape[1:])

    def _binary(
        self, entry: dict[str, Any], tensor: Tensor, raw: memoryview | None, offset: int, rows: int
    ) -> tuple[NDArray[Any], int]:
        """Read an input from the raw part; return it and the position after it."""
        parameters = entry.get("parameters")
        size = parameters.get("binary_data_size") if type(parameters) is dict else None
        if size is None or "data" in entry:
            raise bad(f'input {tensor.name!r}: "data" must be a list')
        if raw is None:
            raise bad(f"input {tensor.name!r}: binary data needs the header Inference-Header-Content-Length")
        if type(size) is not int or size < 0 or offset + size > len(raw):
            raise bad(f"input {tensor.name!r}: binary_data_size {shorten(size)} exceeds the data that was sent")
        width = int(np.prod(tensor.shape[1:], dtype=np.int64))
        array = binary.read(tensor, raw[offset : offset + size], rows * width)
        shaped = array.reshape(rows, *tensor.shape[1:])
        return check_array(tensor, shaped, nan=self.nan), offset + size

    def _wanted(self, entries: Any, parameters: Any) -> list[tuple[str, bool]]:
        if parameters is not None and type(parameters) is not dict:
            raise bad('"parameters" must be an object')
        default = _flag(parameters or {}, "binary_data_output", "parameters")
        if entries is None:
            return [(t.name, default) for t in self.signature.outputs]
        if type(entries) is not list:
            raise bad('"outputs" must be a list')
        wanted = []
        for entry in entries:
            name = entry.get("name") if type(entry) is dict else None
            if type(name) is not str or name not in self._outputs:
                raise bad(f"unknown output {shorten(name)}; the model gives {', '.join(self._outputs)}")
            options = entry.get("parameters") or {}
            if type(options) is not dict:
                raise bad(f"output {name!r}: parameters must be an object")
            if options.get("classification"):
                raise bad(f"output {name!r}: the classification extension is not supported")
            wanted.append((name, _flag(options, "binary_data", f"output {name!r}", default=default)))
        return wanted or [(t.name, default) for t in self.signature.outputs]


def parse_json(body: bytes, *, nan: bool = False) -> Any:
    """Parse JSON strictly; with `nan` also take the NaN and Infinity that Python clients write.

    Raises:
        ProtocolError: 400 that says where the text stops being JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    if b"NaN" in body or b"Infinity" in body:
        if nan:
            try:
                return json.loads(body)
            except (ValueError, RecursionError):
                raise bad("the body is not JSON") from None
        reason += "; NaN and Infinity are not JSON, and the model does not take them"
    raise bad(f"the body is not JSON: {reason}")


def to_json(array: NDArray[Any]) -> Any:
    """Return what orjson writes for an array: the array itself (shortest form of float32), a list for strings."""
    if array.dtype.kind in "OUS":
        return array.tolist()
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def server_metadata(name: str, version: str) -> dict[str, Any]:
    """Return the answer to GET /v2."""
    return {"name": name, "version": version, "extensions": EXTENSIONS}


def model_metadata(name: str, versions: list[str], platform: str, signature: Signature) -> dict[str, Any]:
    """Return the answer to GET /v2/models/<name>."""
    return {"name": name, "versions": versions, "platform": platform, **signature.to_json()}


def _flag(options: dict[str, Any], key: str, where: str, *, default: bool = False) -> bool:
    value = options.get(key, default)
    if type(value) is not bool:
        raise bad(f"{where}: {key} must be true or false, got {shorten(value)}")
    return value


def _flatten(values: list[Any], depth: int) -> Iterable[Any]:
    for value in values:
        if type(value) is list and depth > 1:
            yield from _flatten(value, depth - 1)
        else:
            yield value
