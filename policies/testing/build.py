"""Plans in few words, for tests of rules. Each resource takes the way of the engine's own messages.

Inputs are put into the protobuf form in which the engine sends them (every number a float, unknown values as the
protocol's texts, secrets under its signature) and read by the very code that reads them in the pack, so that a rule
sees in a test what it sees in a preview. `tests/policies/testing/test_against_engine.py` holds both side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from policies.facts import GATE, Facts, facts_of
from policies.pack.wire import SECRET, SIGNATURE, UNKNOWN_TEXT, properties
from policies.plan import Operation, Plan, Resource, Secret, Step, Unknown
from policies.rule import World

PROJECT: Final = "mlops"
STACK: Final = "prod"
NOW: Final = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
"""The time in tests, where they state no other."""


@dataclass(frozen=True)
class Known:
    """A value that is known although the program makes it from other resources; see `made_from`."""

    value: Any
    origins: tuple[str, ...]


def unknown(*of: Resource) -> Unknown:
    """Return a value that the preview cannot know; it comes from the resources `of`."""
    return Unknown(tuple(one.urn for one in of))


def secret(value: Any) -> Secret:
    """Return a value as a secret."""
    return Secret(value)


def made_from(*of: Resource, value: Any) -> Known:
    """Return a value that is known by now and that the program takes from other resources, such as a bucket's name."""
    return Known(value, tuple(one.urn for one in of))


def resource(
    type: str,  # noqa: A002 - the engine's word
    name: str,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    parent: Resource | None = None,
    protect: bool = False,
    provider: str | None = None,
    depends_on: Sequence[Resource] = (),
    place: str = "",
    stack: str = STACK,
    **more: Any,
) -> Resource:
    """Return a resource as the pack would get it.

    Args:
        type: its type token.
        name: its name in the program.
        inputs: inputs by their names on the wire, for names that are no Python words; the others go by keyword.
        parent: its parent; the stack itself where none is named.
        protect: whether the engine refuses to delete it.
        provider: name of its provider; by default that of its package, none for a component (`package:module:Type` of
            this project).
        depends_on: what it waits for besides the resources that its inputs are made from.
        place: `file.py:line` that registers it.
        stack: name of the stack.
        **more: inputs. A resource as a value stands for something unknown that is made from it.
    """
    stated = {**(inputs or {}), **more}
    depends = {key: tuple(dict.fromkeys(_origins(value))) for key, value in stated.items()}
    depends = {key: urns for key, urns in depends.items() if urns}
    chain = "" if parent is None else f"{parent.urn.split('::')[2]}$"
    waits = [urn for urns in depends.values() for urn in urns] + [one.urn for one in depends_on]
    return Resource(
        urn=f"urn:pulumi:{stack}::{PROJECT}::{chain}{type}::{name}",
        type=type,
        inputs=properties(struct(stated), depends),
        parent=parent.urn if parent else _root(stack),
        provider=_provider(type, stack) if provider is None else provider,
        protect=protect,
        dependencies=tuple(sorted(set(waits))),
        property_dependencies=depends,
        place=place,
    )


def component(
    type: str,  # noqa: A002
    name: str,
    inputs: Mapping[str, Any] | None = None,
    /,
    **options: Any,
) -> Resource:
    """Return a component, which no provider makes; see `resource` for the arguments."""
    return resource(type, name, inputs, provider="", **options)


def gate(*, environment: Any = "prod", settings: Any = None, **inputs: Any) -> Resource:
    """Return the gate, which states the facts.

    Args:
        environment: kind of environment.
        settings: the settings in force; `{"aws.governance.budgetUsd": 900}` is short for the nested form.
        **inputs: other inputs of it.
    """
    taken_apart = nested(settings) if isinstance(settings, Mapping) else settings or {}
    stated = {
        "environment": environment, "stack": STACK, "client": "acme", "target": "aws",
        "settings": taken_apart, "commit": "0" * 40, "configuration": "sha256:" + "0" * 64,
    }  # fmt: skip
    return resource(GATE, "gate", {**stated, **inputs})


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose dotted keys are taken apart."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        *way, last = key.split(".")
        inner = found
        for name in way:
            inner = inner.setdefault(name, {})
        inner[last] = nested(value) if isinstance(value, Mapping) else value
    return found


def step(
    operation: Operation,
    old: Resource | None = None,
    new: Resource | None = None,
    *,
    changed: Sequence[str] = (),
    replaces: Sequence[str] = (),
) -> Step:
    """Return what a plan does to a resource; see `Step`."""
    one = new or old
    if one is None:
        raise ValueError("a step is over a resource: state `old`, `new` or both")
    return Step(operation=operation, urn=one.urn, type=one.type, old=old, new=new, changed=changed, replaces=replaces)


def world(
    *things: Resource | Step,
    now: datetime = NOW,
    environment: str = "prod",
    settings: Mapping[str, Any] | None = None,
    **facts: Any,
) -> World:
    """Return what a rule looks at.

    The plan holds the resources, those that the steps lead to, and a gate that states the facts, from which they are
    read as in a preview. With a step in it the plan has steps; without one it has none, as inside the engine.

    Args:
        *things: resources and steps.
        now: the time.
        environment: kind of environment.
        settings: see `gate`.
        **facts: other inputs of the gate.
    """
    steps = [one for one in things if isinstance(one, Step)]
    stated = [one for one in things if isinstance(one, Resource)]
    stated += [one.new for one in steps if one.new is not None and one.new not in stated]
    if not any(one.type == GATE for one in stated):
        stated.append(gate(environment=environment, settings=settings, **facts))
    plan = Plan(stack=STACK, resources=stated, steps=steps or None)
    found: Facts = facts_of(plan)
    return World(plan=plan, facts=found, now=now)


def struct(stated: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return inputs in the form in which the engine sends them."""
    return _value(stated).struct_value


def _value(value: Any) -> struct_pb2.Value:
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=float(value))
        case str():
            return struct_pb2.Value(string_value=value)
        case Unknown() | Resource():
            return struct_pb2.Value(string_value=UNKNOWN_TEXT)
        case Secret(inner):
            return _value({SIGNATURE: SECRET, "value": inner})
        case Known(inner):
            return _value(inner)
        case Mapping():
            fields = {name: _value(one) for name, one in value.items()}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
        case Sequence():
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_value(one) for one in value]))
    raise TypeError(f"{value!r} cannot be an input")


def _origins(value: Any) -> Iterator[str]:
    match value:
        case Unknown(origins) | Known(origins=origins):
            yield from origins
        case Resource(urn=urn):
            yield urn
        case Secret(inner):
            yield from _origins(inner)
        case Mapping():
            for one in value.values():
                yield from _origins(one)
        case str():
            return
        case Sequence():
            for one in value:
                yield from _origins(one)


def _root(stack: str) -> str:
    return f"urn:pulumi:{stack}::{PROJECT}::pulumi:pulumi:Stack::{PROJECT}-{stack}"


def _provider(type: str, stack: str) -> str:  # noqa: A002
    package = type.partition(":")[0]
    if package in (PROJECT, "pulumi"):
        return ""
    return f"urn:pulumi:{stack}::{PROJECT}::pulumi:providers:{package}::default"
