"""Property values as the engine sends them to a pack (protobuf `Struct`), as values of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from policies.plan import Resource, Secret, Unknown

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's mark of a secret
_OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_TEXT: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_TEXTS: Final = frozenset(
    {
        UNKNOWN_TEXT,  # string
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
    }
)
"""Texts that stand for a value that is not known; the same in the engine's JSON."""


def properties(struct: Any, origins: Mapping[str, Sequence[str]] | None = None) -> Mapping[str, Any]:
    """Return the properties of a `Struct`, read-only: what one rule does cannot change what the next one sees.

    Args:
        struct: the message.
        origins: URNs that each property is made from, for what is not known in it.
    """
    origins = origins or {}
    return MappingProxyType(
        {name: _value(value, tuple(origins.get(name, ()))) for name, value in struct.fields.items()}
    )


def _value(value: Any, origins: tuple[str, ...]) -> Any:
    kind = value.WhichOneof("kind")  # in the order of how often each occurs
    if kind == "string_value":
        text = value.string_value
        return Unknown(origins) if text in UNKNOWN_TEXTS else text
    if kind == "struct_value":
        return _object({name: _value(one, origins) for name, one in value.struct_value.fields.items()}, origins)
    if kind == "list_value":
        return tuple([_value(one, origins) for one in value.list_value.values])
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    return None


def from_json(value: Any, origins: tuple[str, ...] = ()) -> Any:
    """Return a value of the engine's JSON (of a state or a preview) as a value of a plan."""
    match value:
        case str():
            return Unknown(origins) if value in UNKNOWN_TEXTS else value
        case Mapping():
            return _object({name: from_json(one, origins) for name, one in value.items()}, origins)
        case list():
            return tuple(from_json(one, origins) for one in value)
        case float() if value.is_integer():
            return int(value)
    return value


def _object(content: dict[str, Any], origins: tuple[str, ...]) -> Any:
    signature = content.get(SIGNATURE)
    if signature is None:
        return MappingProxyType(content)
    if signature == SECRET:
        return Secret(content.get("value", content.get("plaintext", Unknown(origins))))
    if signature == _OUTPUT:
        value = content.get("value", Unknown(origins))
        return Secret(value) if content.get("secret") else value
    # an asset or an archive
    return MappingProxyType({name: value for name, value in content.items() if name != SIGNATURE})


def resource_from_json(stated: Mapping[str, Any]) -> Resource:
    """Return a resource of the engine's JSON (of a state or a preview)."""
    depends = {name: tuple(urns or ()) for name, urns in (stated.get("propertyDependencies") or {}).items()}
    inputs = stated.get("inputs") or {}
    return Resource(
        urn=stated["urn"], type=stated["type"],
        inputs=MappingProxyType({name: from_json(value, depends.get(name, ())) for name, value in inputs.items()}),
        parent=stated.get("parent", ""), provider=(stated.get("provider") or "").rpartition("::")[0],
        protect=bool(stated.get("protect")), dependencies=tuple(stated.get("dependencies") or ()),
        property_dependencies=depends,
        place=(stated.get("sourcePosition") or "").removeprefix("project:///").replace("#", ":").partition(",")[0],
    )  # fmt: skip
