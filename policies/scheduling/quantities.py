"""Quantities as Kubernetes writes them: `500m` CPUs, `1.5Gi` of memory (API reference, "Quantity")."""

from __future__ import annotations

import re
from typing import Final

_SUFFIXES: Final = {
    "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip
_TEXT: Final = re.compile(r"^(\d+(?:\.\d+)?)([a-zA-Z]{0,2})$")


def quantity(stated: object) -> float:
    """Return a quantity in its base unit: CPUs, bytes, or pieces.

    Raises:
        ValueError: it is none.
    """
    match = _TEXT.match(str(stated))
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"{stated!r} is no quantity of Kubernetes, such as 500m or 1.5Gi")
    return float(match[1]) * _SUFFIXES[match[2]]


def mib(stated: object) -> float:
    """Return a quantity of memory in MiB.

    Raises:
        ValueError: it is none.
    """
    return quantity(stated) / 2**20
