"""What is judged: the resources of a stack as a preview plans them, and the steps that lead there.

A value that a preview cannot know is an `Unknown` that says which resources it comes from. Reading one as if it were
known raises `UndeterminedError`, so that a rule cannot pass by overlooking it; a rule that can judge by *where* a value
comes from asks `Plan.origins` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

_Made = TypeVar("_Made")
Operation = Literal["create", "update", "replace", "delete", "same", "read"]


@dataclass(frozen=True)
class Unknown:
    """A value that is not known yet, and the URNs of the resources that it is made from."""

    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Secret:
    """A secret value; its representation does not show it."""

    value: Any = field(repr=False)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()
"""What a path leads to that is not there."""


class UndeterminedError(Exception):
    """A rule needs a value that is not known in this plan.

    Args:
        path: where the value stands in its resource.
        origins: URNs of the resources that it comes from.
    """

    def __init__(self, path: str, origins: tuple[str, ...] = ()) -> None:
        self.path, self.origins = path, origins
        made_by = ", ".join(name_of(urn) for urn in origins)
        super().__init__(f"{path} is not known in this plan" + (f" (it comes from {made_by})" if made_by else ""))


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as it is planned.

    Attributes:
        urn: its URN.
        type: type token, such as `aws:s3/bucket:Bucket`.
        inputs: its inputs by their names on the wire (camelCase), read-only; lists are tuples, numbers are `int` where
            they are whole.
        parent: URN of its parent, empty for the stack itself.
        provider: URN of the provider that makes it, empty for components.
        protect: whether the engine refuses to delete it.
        dependencies: URNs that it waits for.
        property_dependencies: URNs that each input is made from.
        place: where the program registers it, as `path/of/file.py:line`; empty where nobody told.
    """

    urn: str
    type: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    provider: str = ""
    protect: bool = False
    dependencies: Sequence[str] = ()
    property_dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    place: str = ""

    def __hash__(self) -> int:
        """Return the hash of its URN, which is its identity; inputs have none."""
        return hash(self.urn)

    @property
    def name(self) -> str:
        """Its name in the program."""
        return name_of(self.urn)

    def peek(self, *path: str | int) -> Any:
        """Return what stands at a path of the inputs: a value, an `Unknown`, a `Secret` or `MISSING`.

        Below an `Unknown` everything is unknown; secrets on the way are looked through.
        """
        found: Any = self.inputs
        for step in path:
            if isinstance(found, Secret):
                found = found.value
            if isinstance(found, Unknown):
                return found
            if isinstance(found, Mapping) and isinstance(step, str):
                found = found.get(step, MISSING)
            elif isinstance(found, Sequence) and not isinstance(found, str) and isinstance(step, int):
                found = found[step] if -len(found) <= step < len(found) else MISSING
            else:
                return MISSING
        return MISSING if found is None else found

    def value(self, *path: str | int, default: Any = None) -> Any:
        """Return what stands at a path of the inputs, `default` where nothing does; secrets come without their mark.

        Raises:
            UndeterminedError: it, or anything inside it, is not known.
        """
        found = self.peek(*path)
        if found is MISSING:
            return default
        return known(found, ".".join(map(str, path)))

    def items(self, *path: str | int) -> Sequence[Any]:
        """Return the list at a path, empty where there is none; a single object counts as a list of it.

        Raises:
            UndeterminedError: whether there is a list is not known; its items may be unknown.
        """
        found = self.peek(*path)
        if isinstance(found, Secret):
            found = found.value
        if isinstance(found, Unknown):
            raise UndeterminedError(".".join(map(str, path)), found.origins)
        if found is MISSING:
            return ()
        return found if isinstance(found, Sequence) and not isinstance(found, str) else (found,)


def known(value: Any, path: str) -> Any:
    """Return a value without the marks of secrets, at any depth.

    Raises:
        UndeterminedError: something in it is not known.
    """
    match value:
        case Unknown(origins):
            raise UndeterminedError(path, origins)
        case Secret(inner):
            return known(inner, path)
        case Mapping():
            return {name: known(item, f"{path}.{name}") for name, item in value.items()}
        case str():
            return value
        case Sequence():
            return [known(item, f"{path}.{index}") for index, item in enumerate(value)]
    return value


def unknowns(value: Any) -> Iterator[Unknown]:
    """Yield every unknown inside a value."""
    match value:
        case Unknown():
            yield value
        case Secret(inner):
            yield from unknowns(inner)
        case Mapping():
            for item in value.values():
                yield from unknowns(item)
        case str():
            return
        case Sequence():
            for item in value:
                yield from unknowns(item)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the plan does to one resource.

    Attributes:
        operation: what is done; a replacement is one step.
        urn: the resource.
        type: its type token.
        old: the resource before, None when it is created.
        new: the resource after, None when it is deleted.
        changed: paths of the inputs that differ.
        replaces: those of them that force a replacement.
    """

    operation: Operation
    urn: str
    type: str
    old: Resource | None = None
    new: Resource | None = None
    changed: Sequence[str] = ()
    replaces: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A stack as it will be, and how it gets there.

    Attributes:
        stack: name of the stack.
        resources: everything that will be there.
        steps: what is done; None where only the outcome is known, as inside the engine's own check of policies.
    """

    stack: str
    resources: Sequence[Resource]
    steps: Sequence[Step] | None = None

    @cached_property
    def by_urn(self) -> Mapping[str, Resource]:
        """The resources by URN."""
        return {one.urn: one for one in self.resources}

    @cached_property
    def _by_type(self) -> Mapping[str, Sequence[Resource]]:
        found: dict[str, list[Resource]] = {}
        for one in self.resources:
            found.setdefault(one.type, []).append(one)
        return found

    def of(self, *types: str) -> Sequence[Resource]:
        """Return the resources of some types; `*` at the end of one stands for anything."""
        return [one for kind, found in self._by_type.items() if matches(kind, types) for one in found]

    def origins(self, resource: Resource, *path: str | int) -> Sequence[Resource]:
        """Return the resources that a value is made from, as far as the plan tells.

        A value that is known by now (its resource is there already) is judged by the same dependencies: they are of the
        program, not of the value.
        """
        found = resource.peek(*path)
        urns = found.origins if isinstance(found, Unknown) else ()
        if not urns and path and isinstance(path[0], str):
            urns = tuple(resource.property_dependencies.get(path[0], ()))
        return [self.by_urn[urn] for urn in urns if urn in self.by_urn]

    def used_by(self, resource: Resource, name: str, *types: str) -> Sequence[Resource]:
        """Return the resources of some types whose input `name` is made from `resource`.

        It is `origins` the other way round, and does not look at every resource to find them: of a bucket, the blocks
        of its access are `used_by(bucket, "bucket", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")`.
        """
        return [one for one in self._users.get((resource.urn, name), ()) if not types or matches(one.type, types)]

    @cached_property
    def _users(self) -> Mapping[tuple[str, str], Sequence[Resource]]:
        found: dict[tuple[str, str], list[Resource]] = {}
        for one in self.resources:
            for name, urns in one.property_dependencies.items():
                for urn in urns:
                    found.setdefault((urn, name), []).append(one)
        return found

    def once(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Return what `make` makes, made at the first call with a key and kept: for indexes that rules share.

        An index keeps what is unknown as it is: one that raised would make every resource undetermined.
        """
        if key not in self._made:
            self._made[key] = make()
        made: _Made = self._made[key]
        return made

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}

    def children(self, resource: Resource, *types: str) -> Sequence[Resource]:
        """Return the resources whose parent is `resource`, of some types."""
        return [one for one in self._children.get(resource.urn, ()) if not types or matches(one.type, types)]

    @cached_property
    def _children(self) -> Mapping[str, Sequence[Resource]]:
        found: dict[str, list[Resource]] = {}
        for one in self.resources:
            found.setdefault(one.parent, []).append(one)
        return found


def matches(kind: str, types: Sequence[str]) -> bool:
    """Return whether a type is one of some; `aws:*` stands for all that begin so."""
    return any(kind == one or (one.endswith("*") and kind.startswith(one[:-1])) for one in types)


def name_of(urn: str) -> str:
    """Return the name of the resource that a URN names."""
    return urn.rsplit("::", 1)[-1]
