"""The tensors that a model takes and gives: `signature.json` of an artifact.

Datatypes are those of the Open Inference Protocol. The first dimension is the number of rows and is written -1.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = "signature.json"

# Datatype of the protocol → numpy's. BYTES holds Python str in memory: that is what ONNX Runtime takes.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}


class SignatureError(Exception):
    """signature.json is malformed; the message names the entry."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named input or output.

    `shape` starts with -1 (rows); `(-1,)` is a column and is accepted as [n] and as [n, 1].
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of its values."""
        return DTYPES[self.datatype]

    def to_json(self) -> dict[str, Any]:
        """Return it as signature.json and the protocol's metadata write it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, in order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content of signature.json."""
        return {"inputs": [t.to_json() for t in self.inputs], "outputs": [t.to_json() for t in self.outputs]}

    def write(self, directory: str | Path) -> None:
        """Write signature.json, the same bytes for the same signature."""
        text = json.dumps(self.to_json(), indent=2) + "\n"
        (Path(directory) / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def from_json(cls, data: Any) -> "Signature":
        """Check and build it.

        Raises:
            SignatureError: with the entry and what is allowed.
        """
        if not isinstance(data, Mapping):
            raise SignatureError('expected an object with "inputs" and "outputs"')
        return cls(_tensors(data, "inputs"), _tensors(data, "outputs"))

    @classmethod
    def read(cls, directory: str | Path) -> "Signature":
        """Read signature.json of a model folder.

        Raises:
            SignatureError: the file is missing or malformed.
        """
        path = Path(directory) / FILE
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, SignatureError) as error:
            raise SignatureError(f"{path}: {error}") from error


def _tensors(data: Mapping[str, Any], side: str) -> tuple[Tensor, ...]:
    entries = data.get(side)
    if not isinstance(entries, list) or not entries:
        raise SignatureError(f"{side}: expected a list of at least one tensor")
    tensors = tuple(_tensor(entry, f"{side}[{i}]") for i, entry in enumerate(entries))
    names = [tensor.name for tensor in tensors]
    for name in names:
        if names.count(name) > 1:
            raise SignatureError(f"{side}: the name {name!r} is used twice")
    return tensors


def _tensor(entry: Any, where: str) -> Tensor:
    if not isinstance(entry, Mapping):
        raise SignatureError(f'{where}: expected {{"name", "datatype", "shape"}}')
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape", [-1])
    if not isinstance(name, str) or not name:
        raise SignatureError(f"{where}.name: expected a non-empty string, got {name!r}")
    if datatype not in DTYPES:
        raise SignatureError(f"{where}.datatype: {datatype!r} is not one of {', '.join(DTYPES)}")
    if (
        not isinstance(shape, list)
        or not shape
        or shape[0] != -1
        or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in shape[1:])
    ):
        raise SignatureError(f"{where}.shape: expected [-1] or [-1, size, …], got {shape!r}")
    return Tensor(name, str(datatype), tuple(shape))
