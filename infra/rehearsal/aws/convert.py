"""Values between Pulumi's words and the AWS API's: `subnetIds` and `SubnetIds`, tags as a map and as a list of pairs.

Names are matched by letters alone, without case and plural, since Pulumi writes Terraform's singular blocks as plurals.
What has no counterpart is an error: a property must never be lost on its way to the API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.provider.codec import UNKNOWN, Secret
from infra.rehearsal.aws.schema import Type

Renames = Mapping[str, str]
"""From a property's name to the API's name of it, where letters do not tell; `""` drops the property."""


class NoPlaceError(LookupError):
    """The API's call has no member for a property."""


def key(name: str) -> str:
    """Return the form of a name by which both vocabularies are compared."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain.endswith("ies"):
        return plain[:-3] + "y"
    return plain.removesuffix("s")


def member_for(name: str, members: Mapping[str, Any], renames: Renames) -> str | None:
    """Return which of `members` a property is, exact letters before plurals, or None."""
    wanted = renames.get(name, name)
    if wanted in members:
        return wanted
    same = [member for member in members if member.lower() == wanted.lower()]
    near = [member for member in members if key(member) == key(wanted)]
    return next(iter(same or near), None)


def to_api(value: Any, shape: Any, renames: Renames, path: str = "") -> Any:
    """Return `value` as the API's `shape` (a botocore shape) wants it; unknown values stay unknown.

    Raises:
        NoPlaceError: A property has no member in the shape.
    """
    if isinstance(value, Secret):
        return to_api(value.value, shape, renames, path)
    if value is UNKNOWN or value is None:
        return value
    match shape.type_name:
        case "structure":
            return _structure(value, shape, renames, path)
        case "list":
            if isinstance(value, dict) and _is_pair(shape.member):
                name, held = _pair(shape.member)
                return [{name: key_, held: str(item)} for key_, item in value.items()]
            items = value if isinstance(value, list) else [value]
            return [to_api(item, shape.member, renames, f"{path}[{index}]") for index, item in enumerate(items)]
        case "map" if isinstance(value, dict):
            return {name: to_api(item, shape.value, renames, f"{path}.{name}") for name, item in value.items()}
        case "integer" | "long":
            return int(value)
        case "float" | "double":
            return float(value)
        case "boolean":
            return value if isinstance(value, bool) else str(value).lower() == "true"
        case "string" if isinstance(value, bool):
            return str(value).lower()
        case "string" if isinstance(value, dict | list):
            return json.dumps(value)
        case "string":
            return str(value)
        case _:
            return value


def _structure(value: Any, shape: Any, renames: Renames, path: str) -> Any:
    if isinstance(value, list):  # a block that may be stated once
        if len(value) != 1:
            raise NoPlaceError(f"{path}: exactly one block is allowed, not {len(value)}")
        value = value[0]
    if not isinstance(value, dict):
        raise NoPlaceError(f"{path}: the API wants an object ({', '.join(shape.members)})")
    found: dict[str, Any] = {}
    for name, item in value.items():
        if item is None or renames.get(name) == "":
            continue
        member = member_for(name, shape.members, renames)
        if member is None:
            raise NoPlaceError(f"{path}.{name}: the API's {shape.name} has only {', '.join(sorted(shape.members))}")
        found[member] = to_api(item, shape.members[member], renames, f"{path}.{name}")
    return found


def _is_pair(shape: Any) -> bool:
    return shape.type_name == "structure" and _pair(shape) is not None


def _pair(shape: Any) -> Any:
    """Return the names of key and value in a structure that is a pair (`Key`/`Value`, `TagKey`/`TagValue`, …)."""
    names = list(shape.members)
    held = [name for name in names if name.lower() in ("key", "tagkey", "name", "parametername")]
    value = [name for name in names if name.lower() in ("value", "tagvalue", "parametervalue")]
    return (held[0], value[0]) if held and value else None


def pairs_to_map(pairs: Any) -> dict[str, str]:
    """Return tags in any of the API's forms as a map."""
    if isinstance(pairs, Mapping):
        return {str(name): str(value) for name, value in pairs.items()}
    found = {}
    for pair in pairs or []:
        lowered = {name.lower(): value for name, value in pair.items()}
        found[str(lowered.get("key", lowered.get("tagkey")))] = str(lowered.get("value", lowered.get("tagvalue", "")))
    return found


def from_api(value: Any, wanted: Type, renames: Renames) -> Any:
    """Return a value of the API as an output of type `wanted`; None where they do not fit."""
    if value is None:
        return None
    match wanted.shape:
        case "object" | "list" if isinstance(value, list) != (wanted.shape == "list"):
            if wanted.shape == "list":
                return from_api([value], wanted, renames)
            return from_api(value[0], wanted, renames) if value else None
        case "object" if isinstance(value, Mapping):
            found = {}
            for name, each in wanted.fields.items():
                member = member_for(name, value, renames)
                item = from_api(value[member], each.type, renames) if member is not None else None
                if item is not None:
                    found[name] = item
            return found
        case "list" if wanted.item is not None:
            items = [from_api(item, wanted.item, renames) for item in value]
            return [item for item in items if item is not None]
        case "map" if isinstance(value, Mapping):
            return {str(name): item if isinstance(item, str) else str(item) for name, item in value.items()}
        case "string" if isinstance(value, Mapping | list):
            return json.dumps(value, separators=(",", ":"))
        case "string":
            return str(value).lower() if isinstance(value, bool) else _text(value)
        case "integer" if isinstance(value, int | float | str) and re.fullmatch(r"-?\d+(\.0)?", str(value)):
            return int(float(value))
        case "number" if isinstance(value, int | float):
            return value
        case "boolean":
            return str(value).lower() == "true"
    return None


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def seen(stated: Any, world: Any, renames: Renames) -> Any:
    """Return `stated` with whatever differs in `world` exchanged.

    Only what is stated is compared: the API fills in defaults of its own. Where it does not tell a value (or tells it
    in no comparable form), the stated one stays.
    """
    if world is None:
        return stated
    match stated:
        case Secret():
            inner = seen(stated.value, world, renames)
            return stated if inner == stated.value else Secret(inner)
        case dict() if isinstance(world, Mapping):
            return {name: seen(item, _member(name, world, renames), renames) for name, item in stated.items()}
        case dict() if isinstance(world, list) and len(world) == 1 and isinstance(world[0], Mapping):
            return seen(stated, world[0], renames)
        case list() if isinstance(world, list):
            return _seen_list(stated, world, renames)
        case list() if len(stated) == 1:
            return [seen(stated[0], world, renames)]
        case bool() if isinstance(world, bool | str):
            actual = str(world).lower() in ("true", "enabled")
            return stated if actual == stated else actual
        case int() | float() if isinstance(world, int | float | str) and not isinstance(world, bool):
            return stated if str(world) == str(stated) or _number(world) == float(stated) else _number(world)
        case str():
            return _seen_text(stated, world)
    return stated


def _member(name: str, world: Mapping[str, Any], renames: Renames) -> Any:
    member = member_for(name, world, renames)
    return None if member is None else world[member]


def _seen_list(stated: list[Any], world: list[Any], renames: Renames) -> list[Any]:
    if len(stated) == len(world):
        if all(isinstance(item, str | int) for item in (*stated, *world)):  # most of the API's lists are sets
            return stated if sorted(map(str, stated)) == sorted(map(str, world)) else world
        left = list(world)
        found = []
        for item in stated:
            same = next((other for other in left if seen(item, other, renames) == item), left[0])
            left.remove(same)
            found.append(seen(item, same, renames))
        return found
    if all(isinstance(item, str | int) for item in world):
        return list(world)
    return stated[: len(world)] if len(world) < len(stated) else [*stated, *world[len(stated) :]]


def _seen_text(stated: str, world: Any) -> Any:
    if isinstance(world, Mapping | list):
        try:
            return stated if json.loads(stated) == world else json.dumps(world)
        except ValueError:
            return stated
    actual = str(world).lower() if isinstance(world, bool) else _text(world)
    if actual == stated:
        return stated
    try:
        return stated if isinstance(was := json.loads(stated), dict | list) and was == json.loads(actual) else actual
    except ValueError:
        return actual


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
