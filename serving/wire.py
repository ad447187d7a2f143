"""How requests, copies and answers are written between a replica and a candidate: a short JSON head and raw numbers.

Both ends run the same code, but do not trust each other alike: a candidate runs a model that nobody has tried, so that
nothing of what it sends may be executed. That rules pickle out. JSON alone has no NaN, which is what a broken model
says; so arrays travel as they lie in memory, and lists as JSON where JSON can hold them.

    message:  4 bytes of length, the head, then the arrays one after the other
    head:     {"f": fields, "g": [{name: list | {"d": dtype, "s": shape, "l": whether it was a list}}, …]}
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.protocol.request import Column
from serving.runtime.signature import DTYPES

Columns = Mapping[str, Column]

_LENGTH = struct.Struct("<I")
_WIRE = {dtype.newbyteorder("<").str: dtype for dtype in DTYPES.values() if dtype.kind != "O"}
_CODES = {dtype: code for code, dtype in _WIRE.items()}
_STRINGS = "O"


class WireError(ValueError):
    """A message is malformed, or holds what cannot be sent."""


def pack(fields: Mapping[str, Any], *groups: Columns) -> bytes:
    """Write a message.

    Args:
        fields: what JSON can hold.
        groups: columns or outputs by name.

    Raises:
        WireError: a value is of a kind that the protocol of predictions does not have.
    """
    raw: list[bytes] = []
    described = [{name: _described(name, column, raw) for name, column in group.items()} for group in groups]
    try:
        head = orjson.dumps({"f": fields, "g": described})
    except (TypeError, ValueError) as error:
        raise WireError(f"cannot be sent: {error}") from None
    return b"".join((_LENGTH.pack(len(head)), head, *raw))


def unpack(message: bytes) -> tuple[dict[str, Any], list[dict[str, Column]]]:
    """Read a message: its fields and groups.

    Raises:
        WireError: it is malformed.
    """
    try:
        (length,) = _LENGTH.unpack_from(message)
        position = _LENGTH.size + length
        head = orjson.loads(message[_LENGTH.size : position])
        groups: list[dict[str, Column]] = []
        for described in head["g"]:
            group: dict[str, Column] = {}
            for name, one in described.items():
                if type(one) is list:
                    group[name] = one
                else:
                    group[name], position = _read(one, message, position)
            groups.append(group)
        fields: dict[str, Any] = dict(head["f"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WireError(f"malformed message: {type(error).__name__}") from None
    if position != len(message):
        raise WireError(f"malformed message: {len(message) - position} bytes belong to no array")
    return fields, groups


def join(messages: Sequence[bytes]) -> bytes:
    """Put messages into one."""
    return b"".join(part for message in messages for part in (_LENGTH.pack(len(message)), message))


def split(joined: bytes) -> list[bytes]:
    """Take apart what `join` made.

    Raises:
        WireError: it is malformed.
    """
    messages, position = [], 0
    while position < len(joined):
        start = position + _LENGTH.size
        if start > len(joined):
            raise WireError("malformed message: it ends inside of a length")
        position = start + int.from_bytes(joined[start - _LENGTH.size : start], "little")
        if position > len(joined):
            raise WireError("malformed message: it ends inside of a part")
        messages.append(joined[start:position])
    return messages


def arrays(group: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Return a group that holds arrays only.

    Raises:
        WireError: one of them is a list.
    """
    found = {name: one for name, one in group.items() if isinstance(one, np.ndarray)}
    if len(found) != len(group):
        raise WireError("malformed message: a list where an array is due")
    return found


def _described(name: str, column: Column, raw: list[bytes]) -> Any:
    """Describe a column in the head; what JSON cannot hold goes into `raw`."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "O":
            return {"d": _STRINGS, "s": column.shape, "v": column.reshape(-1).tolist()}
        code = _CODES.get(column.dtype)
        if code is None:
            raise WireError(f"{name!r} cannot be sent: values of type {column.dtype}")
        raw.append(column.astype(code, copy=False).tobytes())
        return {"d": code, "s": column.shape}
    # JSON would make null of NaN and infinity. A sum is finite only where all of its parts are, and costs little.
    if column and type(column[0]) is not str and not math.isfinite(sum(column)):
        raw.append(np.array(column, "<f8").tobytes())
        return {"d": "<f8", "s": (len(column),), "l": True}
    return column


def _read(described: dict[str, Any], message: bytes, position: int) -> tuple[Column, int]:
    """Read an array; return it and the position after it."""
    shape = tuple(described["s"])
    if any(type(size) is not int or size < 0 for size in shape):
        raise WireError("malformed message: a shape of something else than sizes")
    if described["d"] == _STRINGS:
        values = described["v"]
        if any(type(value) is not str for value in values):
            raise WireError("malformed message: strings that are none")
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings.reshape(shape), position
    code = described["d"]
    dtype, count = _WIRE[code], math.prod(shape)
    end = position + count * dtype.itemsize
    if end > len(message):
        raise WireError("malformed message: it ends inside of an array")
    read = np.frombuffer(message, code, count, position).astype(dtype).reshape(shape)
    return (read.tolist() if described.get("l") else read), end
