"""Raw tensors of the binary extension: little-endian values, and strings as a 4-byte length followed by the bytes."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.protocol.errors import bad
from serving.runtime.signature import Tensor


def read(tensor: Tensor, raw: memoryview, count: int) -> NDArray[Any]:
    """Read `count` values of a tensor.

    Raises:
        ProtocolError: with the input's name, when the size is not that of `count` values or a string is not UTF-8.
    """
    if tensor.datatype == "BYTES":
        return _read_strings(tensor, raw, count)
    wire = tensor.dtype.newbyteorder("<")
    if len(raw) != count * wire.itemsize:
        raise bad(
            f"input {tensor.name!r}: {len(raw)} bytes of binary data, but its shape needs {count * wire.itemsize}"
        )
    if tensor.datatype == "BOOL":
        return np.frombuffer(raw, np.uint8).astype(np.bool_)
    return np.frombuffer(raw, wire).astype(tensor.dtype)


def write(tensor: Tensor, array: NDArray[Any]) -> bytes:
    """Return the raw form of an output."""
    if tensor.datatype == "BYTES":
        parts = []
        for value in array.reshape(-1).tolist():
            text = value.encode() if isinstance(value, str) else bytes(value)
            parts += [struct.pack("<I", len(text)), text]
        return b"".join(parts)
    return array.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()


def _read_strings(tensor: Tensor, raw: memoryview, count: int) -> NDArray[Any]:
    values: list[str] = []
    position, size = 0, len(raw)
    while position < size and len(values) < count:
        end = position + 4
        if end <= size:
            end += int.from_bytes(raw[position:end], "little")
        if end > size:
            raise bad(f"input {tensor.name!r}: its binary data ends inside of element {len(values)}")
        try:
            values.append(str(raw[position + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise bad(f"input {tensor.name!r}: element {len(values)} is not UTF-8") from None
        position = end
    if position != size or len(values) != count:
        raise bad(f"input {tensor.name!r}: its binary data does not hold exactly {count} elements")
    array = np.empty(count, object)
    array[:] = values
    return array
