"""A good plan with one edit in it, as a person's change of the program or its settings would plan it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from policies.facts import GATE
from policies.plan import Operation, Plan, Resource, Secret, Step


@dataclass(frozen=True)
class Bad:
    """A bad change.

    Attributes:
        name: what is bad, in a word or two.
        person: what a person would have done.
        rule: the one rule that is meant to stop it.
        edit: makes it in a draft.
    """

    name: str
    person: str
    rule: str
    edit: Callable[[Draft], object]


class Draft:
    """A plan that can be changed.

    Resources are named by the end of their type and by their name: `("rds/instance:Instance", "database")`.
    Paths are texts such as `spec.template.spec.containers.0.image`; a step that holds dots is put in a tuple.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._resources = {one.urn: one for one in plan.resources}
        self._steps = {one.urn: one for one in plan.steps or ()}

    def plan(self) -> Plan:
        """Return the plan as it is now."""
        steps = [
            replace(one, new=self._resources[urn]) if urn in self._resources else one
            for urn, one in self._steps.items()
        ]
        return Plan(stack=self._plan.stack, resources=list(self._resources.values()), steps=steps)

    def one(self, kind: str, name: str) -> Resource:
        """Return a resource.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = [one for one in self._resources.values() if one.type.endswith(kind) and one.name == name]
        if len(found) != 1:
            names = sorted(one.name for one in self._resources.values() if one.type.endswith(kind))
            raise LookupError(f"{len(found)} resources {kind} {name!r}; there are {', '.join(names)}")
        return found[0]

    def set(self, kind: str, name: str, path: str | tuple[str | int, ...], value: object) -> None:
        """Put a value at a path; None takes away what is there."""
        one = self.one(kind, name)
        way = _way(path)
        inputs = _thawed(one.inputs)
        inner: Any = inputs
        for step, after in itertools.pairwise(way):
            if isinstance(inner, dict):
                inner = inner.setdefault(step, [] if isinstance(after, int) else {})
            else:
                inner = inner[step]
        if value is None:
            del inner[way[-1]]
        elif isinstance(inner, list) and way[-1] == len(inner):
            inner.append(value)
        else:
            inner[way[-1]] = value
        depends = dict(one.property_dependencies)
        if len(way) == 1:
            depends.pop(str(way[0]), None)  # a literal stands there now
        self._put(replace(one, inputs=_frozen(inputs), property_dependencies=depends))

    def setting(self, path: str, value: object) -> None:
        """Put a value into the settings that the gate states."""
        self.set(GATE, "gate", f"settings.{path}", value)

    def protect(self, kind: str, name: str, *, protect: bool) -> None:
        """Let the engine delete it, or not."""
        self._put(replace(self.one(kind, name), protect=protect))

    def drop(self, kind: str, name: str) -> None:
        """Leave a resource out, as if the program had never registered it."""
        urn = self.one(kind, name).urn
        del self._resources[urn]
        self._steps.pop(urn, None)

    def add(self, one: Resource) -> None:
        """Register one more."""
        self._resources[one.urn] = one
        self._steps[one.urn] = Step(operation="create", urn=one.urn, type=one.type, new=one)

    def step(
        self, operation: Operation, kind: str, name: str, *changed: str, old: Mapping[str, Any] | None = None
    ) -> None:
        """Do something to a resource that is there already.

        Args:
            operation: what is done.
            kind: end of its type.
            name: its name.
            *changed: inputs that differ, and that force a replacement where it is one.
            old: what they were.
        """
        new = self.one(kind, name)
        before = replace(new, inputs=_frozen({**_thawed(new.inputs), **(old or {})}))
        forced = changed if operation == "replace" else ()
        if operation == "delete":
            del self._resources[new.urn]
        self._steps[new.urn] = Step(
            operation=operation, urn=new.urn, type=new.type, old=before,
            new=None if operation == "delete" else new, changed=changed, replaces=forced,
        )  # fmt: skip

    def _put(self, one: Resource) -> None:
        self._resources[one.urn] = one


def _way(path: str | tuple[str | int, ...]) -> list[str | int]:
    if isinstance(path, tuple):
        return list(path)
    return [int(one) if one.isdigit() else one for one in path.split(".")]


def _thawed(value: Any) -> Any:
    match value:
        case Mapping():
            return {name: _thawed(one) for name, one in value.items()}
        case Secret() | str():
            return value
        case Sequence():
            return [_thawed(one) for one in value]
    return value


def _frozen(value: Any) -> Any:
    match value:
        case Mapping():
            return MappingProxyType({name: _frozen(one) for name, one in value.items()})
        case Secret() | str():
            return value
        case Sequence():
            return tuple(_frozen(one) for one in value)
    return value
