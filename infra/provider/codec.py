"""Property values as the engine sends them (protobuf `Struct`) to plain Python values and back.

Secrets arrive as objects with a signature and become `Secret`; values that are not known yet in a preview arrive as a
sentinel text and become `UNKNOWN`. Both survive the way back, so that what came in secret goes out secret.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

Properties = dict[str, Any]

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's mark of a secret
_OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_UNKNOWN_TEXT: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWN_TEXTS: Final = frozenset(
    {
        _UNKNOWN_TEXT,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


class Unknown:
    """The type of `UNKNOWN`, a value that a preview cannot know."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A secret value; its representation does not show it."""

    value: Any = field(repr=False)


def decode(struct: struct_pb2.Struct) -> Properties:
    """Return the properties of `struct` as Python values."""
    return {name: _decode(value) for name, value in struct.fields.items()}


def _decode(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _decode_object(value.struct_value)
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWN_TEXTS else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _decode_object(struct: struct_pb2.Struct) -> Any:
    content = decode(struct)
    match content.get(_SIGNATURE):
        case None:
            return content
        case s if s == _SECRET:
            return Secret(content.get("value"))
        case s if s == _OUTPUT:
            value = content.get("value", UNKNOWN)
            return Secret(value) if content.get("secret") else value
        case signature:
            raise ValueError(f"assets, archives and resources are no inputs of this provider (signature {signature})")


def encode(properties: Properties) -> struct_pb2.Struct:
    """Return `properties` as the engine expects them."""
    struct = struct_pb2.Struct()
    for name, value in properties.items():
        _encode(value, struct.fields[name])
    return struct


def _encode(value: Any, into: struct_pb2.Value) -> None:
    match value:
        case None:
            into.null_value = struct_pb2.NULL_VALUE
        case bool():
            into.bool_value = value
        case int() | float():
            into.number_value = value
        case str():
            into.string_value = value
        case Unknown():
            into.string_value = _UNKNOWN_TEXT
        case Secret():
            into.struct_value.CopyFrom(encode({_SIGNATURE: _SECRET, "value": value.value}))
        case dict():
            into.struct_value.CopyFrom(encode(value))
        case list() | tuple():
            into.list_value.SetInParent()
            for item in value:
                _encode(item, into.list_value.values.add())
        case _:
            raise TypeError(f"{type(value).__name__} is no property value")


def plain(value: Any) -> Any:
    """Return `value` without the marks of secrets, at any depth. For use, never for messages."""
    match value:
        case Secret():
            return plain(value.value)
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value


def is_known(value: Any) -> bool:
    """Return whether nothing in `value` is `UNKNOWN`."""
    match value:
        case Unknown():
            return False
        case Secret():
            return is_known(value.value)
        case dict():
            return all(is_known(item) for item in value.values())
        case list():
            return all(is_known(item) for item in value)
        case _:
            return True


def secret_texts(value: Any) -> Iterator[str]:
    """Yield every text inside a secret of `value`, for keeping them out of messages."""
    match value:
        case Secret():
            yield from _texts(value.value)
        case dict():
            for item in value.values():
                yield from secret_texts(item)
        case list():
            for item in value:
                yield from secret_texts(item)


def _texts(value: Any) -> Iterator[str]:
    match plain(value):
        case str() as text:
            yield text
        case dict() as items:
            for item in items.values():
                yield from _texts(item)
        case list() as items:
            for item in items:
                yield from _texts(item)
