"""What Pulumi's AWS SDK says of a resource type: its inputs, required ones, nested fields, outputs.

The provider's own schema comes with its binary only. The Python SDK is made from the same schema, so its argument and
output classes are read instead.
"""

from __future__ import annotations

import collections.abc
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pulumi import Output, _types

from infra.provider.codec import UNKNOWN, Secret
from infra.provider.inputs import unknown

Shape = Literal["string", "integer", "number", "boolean", "list", "map", "object", "any"]
_SCALARS: Mapping[Any, Shape] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class Type:
    """The type of a value: `item` is that of a list's items or a map's values, `fields` those of an object."""

    shape: Shape
    item: Type | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)


@dataclass(frozen=True)
class Field:
    """A property: its type, and whether it must be stated (of an input) or always has a value (of an output)."""

    type: Type
    always: bool


@dataclass(frozen=True)
class Resource:
    """A resource type: `inputs` and `outputs` by their names on the wire."""

    token: str
    inputs: Mapping[str, Field]
    outputs: Mapping[str, Field]


class NoSuchTypeError(LookupError):
    """The SDK has no such resource type."""


@functools.cache
def resource(token: str) -> Resource:
    """Return what the SDK says of `token`, for example `aws:sqs/queue:Queue`.

    Raises:
        NoSuchTypeError: It has no such type.
    """
    module, name = _module_of(token), token.rpartition(":")[2]
    arguments = getattr(module, f"{name}InitArgs", None) or getattr(module, f"{name}Args", None)
    kind = getattr(module, name, None)
    if arguments is None or kind is None:
        raise NoSuchTypeError(f"{token} is no resource type of the installed pulumi_aws")
    return Resource(token, _input_fields(arguments), _output_fields(kind))


@functools.cache
def provider_inputs() -> Mapping[str, Field]:
    """Return the settings of the provider itself."""
    return _input_fields(importlib.import_module("pulumi_aws.provider").ProviderArgs)


@functools.cache
def function_names(token: str) -> frozenset[str]:
    """Return the names of an invoke's results, for example those of `aws:index/getCallerIdentity:getCallerIdentity`."""
    module, name = _module_of(token), token.rpartition(":")[2]
    result = getattr(module, f"{name[0].upper()}{name[1:]}Result", None)
    if result is None:
        raise NoSuchTypeError(f"{token} is no function of the installed pulumi_aws")
    return frozenset(wire for _, wire, _ in _types._py_properties(result))


def _module_of(token: str) -> types.ModuleType:
    try:
        _, path, name = token.split(":")
        folder, _, _ = path.partition("/")
        prefix = "pulumi_aws" if folder == "index" else f"pulumi_aws.{folder}"
        # The package loads when it is first asked for anything. Were that the import of a module of it, the package
        # would take over the names of that one before it has any, and lack them from then on.
        hasattr(importlib.import_module(prefix), name)
        return importlib.import_module(f"{prefix}.{_snake(path.rpartition('/')[2] or name)}")
    except (ImportError, ValueError) as error:
        raise NoSuchTypeError(f"{token} is no type of the installed pulumi_aws") from error


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@functools.cache
def _input_fields(cls: type) -> Mapping[str, Field]:
    wire = _types.input_type_py_to_pulumi_names(cls)
    stated = inspect.signature(cls).parameters
    scope = {**vars(importlib.import_module(cls.__module__)), "Output": Output, "T": Any}
    hints = typing.get_type_hints(vars(cls)["__init__"], scope)
    return {
        wire[name]: Field(_type(hints.get(name, Any)), parameter.default is inspect.Parameter.empty)
        for name, parameter in stated.items()
        if name in wire
    }


@functools.cache
def _output_fields(cls: type) -> Mapping[str, Field]:
    scope = vars(importlib.import_module(cls.__module__))
    scope = {**scope, **vars(typing), "outputs": _outputs_near(cls)}
    fields = {}
    for _, wire, getter in _types._py_properties(cls):
        hint = typing.get_type_hints(getter.fget, scope).get("return", Any)
        hint = _without_output(hint)
        fields[wire] = Field(_type(hint), not _optional(hint))
    return fields


def _outputs_near(cls: type) -> Any:
    package = cls.__module__.rpartition(".")[0]
    try:
        return importlib.import_module(f"{package}.outputs")
    except ImportError:
        return None


def _without_output(hint: Any) -> Any:
    return typing.get_args(hint)[0] if _is_output(hint) else hint


def _is_output(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    return origin is not None and origin.__name__ == "Output"


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _type(hint: Any) -> Type:
    """Read a type hint; what may be a text or an object (policies) is `any`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = [
            choice
            for choice in typing.get_args(hint)
            if choice is not type(None)
            and not _is_output(choice)
            and typing.get_origin(choice) is not collections.abc.Awaitable
            and not (isinstance(choice, type) and typing.is_typeddict(choice))
        ]
        found = [one for one in map(_type, choices) if one.shape != "any"]  # an enumeration is a text besides
        return found[0] if found and len({one.shape for one in found}) == 1 else Type("any")
    if hint in _SCALARS:
        return Type(_SCALARS[hint])
    arguments, origin = typing.get_args(hint), typing.get_origin(hint)
    if origin in (collections.abc.Sequence, list):
        return Type("list", item=_type(arguments[0]))
    if origin in (collections.abc.Mapping, dict):
        return Type("map", item=_type(arguments[1]))
    if isinstance(hint, type) and _types.is_input_type(hint):
        return Type("object", fields=_input_fields(hint))
    if isinstance(hint, type) and _types.is_output_type(hint):
        return Type("object", fields=_output_fields(hint))
    return Type("any")


def problems(fields: Mapping[str, Field], given: Mapping[str, Any], path: str = "") -> list[str]:
    """Return what is wrong with `given`: unknown, missing and mistyped properties, at any depth. Never shows values."""
    found = unknown(fields, given, path)
    for name, wanted in fields.items():
        value = given.get(name)
        if value is None:
            if wanted.always:
                found.append(f"`{path}{name}` is missing")
        else:
            found += _mistyped(wanted.type, value, f"{path}{name}")
    return found


def _mistyped(wanted: Type, value: Any, path: str) -> list[str]:
    if isinstance(value, Secret):
        return _mistyped(wanted, value.value, path)
    if value is UNKNOWN or wanted.shape == "any" or value is None:
        return []
    match wanted.shape, value:
        case "list", list():
            return [
                problem
                for index, item in enumerate(value)
                for problem in _mistyped(wanted.item or Type("any"), item, f"{path}[{index}]")
            ]
        case "map", dict():
            return [
                problem
                for name, item in value.items()
                for problem in _mistyped(wanted.item or Type("any"), item, f"{path}.{name}")
            ]
        case "object", dict():
            return problems(wanted.fields, value, f"{path}.")
        case "string", str() | int() | float():  # the engine turns numbers and booleans into text, as Terraform does
            return []
        case "integer", int() if not isinstance(value, bool):
            return []
        case "integer" | "number", str() if re.fullmatch(r"-?\d+(\.\d+)?", value):
            return []
        case "number", int() | float() if not isinstance(value, bool):
            return []
        case "boolean", bool() | "true" | "false":
            return []
    return [f"`{path}` must be {wanted.shape}, not {_shape_of(value)}"]


def _shape_of(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
