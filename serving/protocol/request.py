"""What is left of a request once it is checked: columns in the order of the signature."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

# A checked column: a flat list of Python values (from JSON), or an array (binary data, tensors of rank > 1).
Column = list[Any] | NDArray[Any]


@dataclass(slots=True)
class Decoded:
    """A checked request.

    `columns` is in the order of the signature's inputs; None stands for an input that the feature store gives by
    `entities` (entity name → one key a row). `outputs` names what was asked for, with True where it goes as binary
    data; None asks for all as JSON.
    """

    columns: list[Column | None]
    rows: int
    id: str | None = None
    outputs: list[tuple[str, bool]] | None = None
    entities: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Encoded:
    """A response body and, if binary data follows the JSON, the length of the JSON part."""

    body: bytes
    json_length: int | None = None
