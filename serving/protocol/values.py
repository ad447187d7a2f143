"""Check the values of one column against its datatype: fast for one row, and naming the row that is wrong."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.protocol.errors import bad, shorten
from serving.runtime.signature import DTYPES, Tensor

Check = Callable[[list[Any]], list[Any]]

_WANTED = {"f": "a number", "i": "a whole number", "u": "a whole number", "b": "true or false", "O": "a string"}


def compile_check(tensor: Tensor, *, nan: bool) -> Check:
    """Return the check of a flat list of JSON values for this tensor.

    The check returns the list to use (the same one where possible) and raises ProtocolError with the name of the input
    and the row. With `nan`, null and non-finite numbers are accepted in float inputs and become NaN.
    """
    kind = DTYPES[tensor.datatype].kind
    if kind == "f":
        return _floats(tensor, nan)
    if kind in "iu":
        return _integers(tensor)
    wanted = bool if kind == "b" else str

    def check(values: list[Any]) -> list[Any]:
        for value in values:
            if type(value) is not wanted:
                raise _wrong(tensor, values)
        return values

    return check


def check_array(tensor: Tensor, array: NDArray[Any], *, nan: bool) -> NDArray[Any]:
    """Check an array of the right dtype: float arrays must be finite unless `nan`."""
    if not nan and array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
        raise bad(f"input {tensor.name!r}, row {row}: the value is not finite (NaN or infinite)")
    return array


def _floats(tensor: Tensor, nan: bool) -> Check:
    limit = float(np.finfo(DTYPES[tensor.datatype]).max)

    def check(values: list[Any]) -> list[Any]:
        for value in values:
            kind = type(value)
            if (kind is not float and kind is not int) or not -limit <= value <= limit:
                return careful(values)
        return values

    def careful(values: list[Any]) -> list[Any]:
        result = []
        for row, value in enumerate(values):
            if value is None and nan:
                result.append(math.nan)
            elif type(value) not in (float, int):
                raise _wrong(tensor, values)
            elif nan and not math.isfinite(value):
                result.append(value)
            elif not -limit <= value <= limit:
                raise bad(f"input {tensor.name!r}, row {row}: {value} is out of the range of {tensor.datatype}")
            else:
                result.append(value)
        return result

    return check


def _integers(tensor: Tensor) -> Check:
    info = np.iinfo(DTYPES[tensor.datatype])
    low, high = int(info.min), int(info.max)

    def check(values: list[Any]) -> list[Any]:
        for row, value in enumerate(values):
            if type(value) is not int:
                raise _wrong(tensor, values)
            if not low <= value <= high:
                raise bad(f"input {tensor.name!r}, row {row}: {value} is out of the range of {tensor.datatype}")
        return values

    return check


def _wrong(tensor: Tensor, values: list[Any]) -> Exception:
    kind = DTYPES[tensor.datatype].kind
    allowed = {"f": (float, int), "b": (bool,), "O": (str,)}.get(kind, (int,))
    for row, value in enumerate(values):
        if type(value) not in allowed:
            shown = "null" if value is None else shorten(value)
            return bad(f"input {tensor.name!r}, row {row}: {shown} is not {_WANTED[kind]} ({tensor.datatype})")
    return bad(f"input {tensor.name!r}: a value is not {_WANTED[kind]} ({tensor.datatype})")
