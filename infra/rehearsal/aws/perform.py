"""Carries out what the table says: makes, finds, changes and removes one resource by calls of the API."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import jmespath

from infra.provider.codec import UNKNOWN, Properties, Secret, is_known, plain
from infra.provider.resource import ResourceError
from infra.rehearsal.aws import schema
from infra.rehearsal.aws.clients import Aws, MissingError
from infra.rehearsal.aws.convert import NoPlaceError, from_api, key, member_for, pairs_to_map, seen, to_api
from infra.rehearsal.aws.kind import Argument, Call, Computed, Kind, Look, Situation
from infra.rehearsal.aws.replacement import create_only

_ALWAYS_LOCAL = frozenset({"tags", "tagsAll", "region"})


class Performer:
    """One resource type at work.

    Args:
        kind: What the table says of it.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.schema = schema.resource(kind.token)

    # --- pure decisions --------------------------------------------------------------------------------------------

    def problems(self, aws: Aws, inputs: Properties) -> list[str]:
        """Return what is wrong with inputs: by the SDK's types, and what the table has no call for."""
        found = schema.problems(self.schema.inputs, inputs)
        if found:
            return found
        handled = self._handled(aws)
        for name in inputs:
            if not name.startswith("__") and name not in handled:
                found.append(f"`{name}` is an input of {self.kind.token}, but the rehearsal's table has no call for it")
        if not found:
            for call in self.kind.calls:
                try:
                    self._automatic(aws, call, inputs)
                except NoPlaceError as error:
                    found.append(f"`{str(error).lstrip('.')}`")
                except (TypeError, ValueError) as error:
                    found.append(f"{call.operation}: {error}")
        return found

    def replacing(self, changed: Iterable[str]) -> tuple[str, ...]:
        """Return which of the changed inputs force a replacement."""
        fixed = create_only(self.kind.cloudformation) if self.kind.cloudformation else frozenset[str]()
        named = {name: key(self.kind.renames.get(name, name)) for name in changed}
        return tuple(
            name
            for name, comparable in named.items()
            if name not in ("tags", "tagsAll", *self.kind.updates)
            and (name in self.kind.replaces or name in ("region", self.kind.name) or comparable in fixed)
        )

    def named(self, inputs: Properties, old: Properties, resource: str, seed: bytes) -> Properties:
        """Return inputs with the provider's defaults and a made-up name where none is stated, kept from last time."""
        filled = {**self.kind.defaults, **inputs}
        prefix = filled.get(f"{self.kind.name}Prefix")
        if not self.kind.name or filled.get(self.kind.name) is not None:
            return filled
        if self.kind.name in old.get("__defaults", ()) and old.get(self.kind.name):
            made = old[self.kind.name]
        else:
            digits = "".join(random.Random(seed).choices("0123456789abcdef", k=7))  # noqa: S311 - a name, no secret
            start = prefix if isinstance(prefix, str) else f"{self.kind.name_start}{resource}-"
            made = f"{start[: self.kind.name_length - 7]}{digits}"
            if self.kind.token.startswith(("aws:s3/", "aws:rds/", "aws:ecr/")):
                made = made.lower()
        return {**filled, self.kind.name: made, "__defaults": [self.kind.name]}

    def promised(self, inputs: Properties, state: Properties) -> Properties:
        """Return the outputs of a preview: those of last time, and unknown where the API will tell."""
        outputs = {name: value for name, value in inputs.items() if not name.startswith("__")}
        for name, value in outputs.items():
            before = state.get(name)
            if isinstance(value, dict) and isinstance(before, dict) and name not in self.kind.volatile:
                # What the API added inside an input, as the security group of a cluster, is there still.
                outputs[name] = {**{inner: one for inner, one in before.items() if inner not in value}, **value}
        for name, output in self.schema.outputs.items():
            if name in outputs or name == "tagsAll":
                continue
            kept = name in state and name not in self.kind.volatile
            if kept and (output.always or name not in self.schema.inputs):
                outputs[name] = state[name]
            elif output.always or name in self.kind.outputs:
                outputs[name] = UNKNOWN
        return outputs

    # --- effects ---------------------------------------------------------------------------------------------------

    def create(self, at: Situation, made: Callable[[str], None]) -> tuple[str, Properties]:
        """Make it.

        Args:
            at: Its inputs and surroundings.
            made: Told its id as soon as the API has it.

        Returns:
            The id and the outputs.

        Raises:
            PartlyMadeError: It is there, but a later call failed.
            ResourceError: It could not be made.
        """
        kind, aws = self.kind, at.aws
        other = kind.instead if kind.instead and at.inputs.get(kind.instead.input) is not None else None
        first = other.create if other else kind.create
        arguments = self._arguments(at, first)
        tagging = kind.tagging
        if tagging and tagging.at_creation and at.tags:
            arguments |= self._tags_at_creation(at, first)
        answer = aws.call(kind.service, first.operation, arguments)
        identity = str(self._computed(replace(at, world=answer), kind.id))
        made(identity)
        at = replace(at, id=identity, state={**at.state, "id": identity}, world=answer)
        try:
            if other:
                self._make(at, other.then)
            for call in kind.then:
                if call.always or any(at.inputs.get(name) is not None for name in self._triggers(aws, call)):
                    self._make(at, call)
            if tagging and not tagging.at_creation and at.tags:
                self._retag(at, {}, dict(at.tags))
            outputs = self.read(at)
        except ResourceError as error:
            raise PartlyMadeError(identity, str(error)) from error
        if outputs is None:
            raise PartlyMadeError(identity, f"{kind.token} {identity} was made, but the API does not find it")
        return identity, outputs[1]

    def read(self, at: Situation) -> tuple[Properties, Properties] | None:
        """Look at the world; return what the inputs are by it and the outputs, or None when it is gone."""
        world = self._world(at)
        if world is None:
            return None
        at = replace(at, world=world)
        inputs: Properties = {}
        for name, stated in at.inputs.items():
            if name in ("tags", "region") or name in self.kind.local or name.startswith("__"):
                inputs[name] = stated
            else:
                inputs[name] = seen(stated, self._in_world(at, name), self.kind.renames)
        outputs = {name: value for name, value in inputs.items() if not name.startswith("__")}
        for name, output in self.schema.outputs.items():
            if name in inputs and output.type.shape != "object":
                continue
            value = from_api(self._in_world(at, name), output.type, self.kind.renames)
            if value is not None:
                outputs[name] = value if name not in inputs else _merged(inputs[name], value)
        if "region" in self.schema.outputs:
            outputs["region"] = at.region
        if self.kind.tagging:
            tags = self._tags(at)
            stated = at.inputs.get("tags") or {}
            defaults = {name: value for name, value in at.tags.items() if name not in stated}
            own = {name: value for name, value in tags.items() if defaults.get(name) != value}
            if own or stated:
                inputs["tags"] = outputs["tags"] = {
                    name: Secret(value) if isinstance(stated.get(name), Secret) else value
                    for name, value in own.items()
                    if name in stated or name not in defaults
                }
            outputs["tagsAll"] = tags
        return inputs, outputs

    def update(self, at: Situation, changed: Iterable[str]) -> Properties:
        """Change what differs between old and new inputs; return the outputs."""
        left = set(changed)
        for call in (*self.kind.update, *self.kind.then):
            triggers = set(self._triggers(at.aws, call))
            if triggers & set(changed):
                self._make(at, call)
                left -= triggers
        if self.kind.tagging and left & {"tags", "tagsAll"}:
            self._retag(at, self._tags(replace(at, world=self._world(at) or {})), dict(at.tags))
        left -= _ALWAYS_LOCAL | set(self.kind.local)
        if left:
            raise ResourceError(
                f"the rehearsal's table has no call that changes {', '.join(sorted(left))} of {self.kind.token}"
            )
        found = self.read(at)
        if found is None:
            raise ResourceError(f"{self.kind.token} {at.id} is gone; refresh the stack and run up again")
        return found[1]

    def delete(self, at: Situation) -> None:
        """Remove it; what is gone already is no error."""
        for call in self.kind.delete:
            try:
                self._make(at, call)
            except MissingError:
                continue

    # --- calls -----------------------------------------------------------------------------------------------------

    def _make(self, at: Situation, call: Call) -> None:
        items = call.each(at) if call.each else [None]
        for item in items:
            with_item = replace(at, state={**at.state, "item": item}) if call.each else at
            at.aws.call(self.kind.service, call.operation, self._arguments(with_item, call))

    def _arguments(self, at: Situation, call: Call) -> dict[str, Any]:
        found = self._automatic(at.aws, call, at.inputs)
        shape = at.aws.shape(self.kind.service, call.operation)
        for member, argument in call.arguments.items():
            value = self._argument(at, argument)
            if value is not None:
                found[member] = to_api(value, shape.members[member], self.kind.renames, f".{member}")
        return {member: value for member, value in found.items() if value is not None}

    def _automatic(self, aws: Aws, call: Call, inputs: Properties) -> dict[str, Any]:
        """Return the members that take inputs of equal name."""
        if not call.auto:
            return {}
        shape = aws.shape(self.kind.service, call.operation)
        found = {}
        for name, value in inputs.items():
            if name in _ALWAYS_LOCAL or name.startswith("__") or name in call.uses:
                continue
            member = member_for(name, shape.members, self.kind.renames)
            if member is not None and member not in call.arguments and value is not None:
                found[member] = to_api(value, shape.members[member], self.kind.renames, f".{name}")
        return found

    def _argument(self, at: Situation, argument: Argument) -> Any:
        if callable(argument):
            return argument(at)
        if isinstance(argument, str) and argument.startswith("."):
            return plain(jmespath.search(argument[1:], at.inputs))
        if isinstance(argument, str) and argument.startswith("@"):
            return plain(self._known(at, argument[1:]))
        if isinstance(argument, Mapping):
            inner = {name: self._argument(at, item) for name, item in argument.items()}
            return {name: item for name, item in inner.items() if item is not None} or None
        if isinstance(argument, list):
            items = [self._argument(at, item) for item in argument]
            return [item for item in items if item is not None] or None
        return argument

    def _known(self, at: Situation, name: str) -> Any:
        surroundings = {"id": at.id, "account": at.account, "region": at.region, "partition": at.partition}
        if name == "tags":
            return dict(at.tags) or None
        if name in surroundings:
            return surroundings[name]
        return jmespath.search(name, at.state)

    def _computed(self, at: Situation, computed: Computed) -> Any:
        if callable(computed):
            return computed(at)
        if computed.startswith((".", "@")):
            return self._argument(at, computed)
        return jmespath.search(computed, at.world)

    def _triggers(self, aws: Aws, call: Call) -> tuple[str, ...]:
        return call.when or tuple(self._taken(aws, call))

    def _taken(self, aws: Aws, call: Call) -> set[str]:
        """Return the inputs that a call takes."""
        taken = {*call.uses, *call.when, *_named_in(call.arguments)}
        if call.auto:
            members = aws.shape(self.kind.service, call.operation).members
            taken |= {name for name in self.schema.inputs if member_for(name, members, self.kind.renames) is not None}
        return taken

    def _handled(self, aws: Aws) -> set[str]:
        names = {*_ALWAYS_LOCAL, *self.kind.local, f"{self.kind.name}Prefix" if self.kind.name else ""}
        if not self.kind.tagging:
            names -= {"tags", "tagsAll"}
        for call in self.kind.calls:
            names |= self._taken(aws, call)
        return names

    # --- the world -------------------------------------------------------------------------------------------------

    def _world(self, at: Situation) -> dict[str, Any] | None:
        world: dict[str, Any] = {}
        for look in self.kind.looks:
            found = self._look(at, look)
            if not found and look.needed:
                return None
            if look.into:
                world[look.into] = found
            elif isinstance(found, Mapping):
                world |= found
        if self.kind.present is not None and not self.kind.present(replace(at, world=world)):
            return None
        return world

    def _look(self, at: Situation, look: Look) -> Any:
        shape = at.aws.shape(self.kind.service, look.operation)
        arguments = {}
        for member, argument in look.arguments.items():
            value = self._argument(at, argument)
            if value is not None:
                arguments[member] = to_api(value, shape.members[member], {}, f".{member}")
        try:
            answer = at.aws.call(self.kind.service, look.operation, arguments)
        except MissingError:
            return None
        return look.at(answer, at) if callable(look.at) else jmespath.search(look.at, answer)

    def _in_world(self, at: Situation, name: str) -> Any:
        if name in self.kind.outputs:
            return self._computed(at, self.kind.outputs[name])
        member = member_for(name, at.world, self.kind.renames)
        return None if member is None else at.world[member]

    def _identity(self, at: Situation) -> dict[str, Any]:
        """Return the names by which tags are put on, from the world where the state does not have them yet."""
        if not at.world:
            return {}
        return {
            name: value
            for name in self.schema.outputs
            if name.lower().endswith("arn") and (value := self._in_world(at, name))
        }

    # --- tags ------------------------------------------------------------------------------------------------------

    def _tags_at_creation(self, at: Situation, call: Call) -> dict[str, Any]:
        assert self.kind.tagging is not None
        member = self.kind.tagging.at_creation
        shape = at.aws.shape(self.kind.service, call.operation).members[member]
        if member == "TagSpecifications":
            pairs = [{"Key": name, "Value": value} for name, value in at.tags.items()]
            return {member: [{"ResourceType": self.kind.tagging.tags, "Tags": pairs}]}
        return {member: to_api(dict(at.tags), shape, {})}

    def _tags(self, at: Situation) -> dict[str, str]:
        tagging = self.kind.tagging
        assert tagging is not None
        found: Any = next((at.world[name] for name in ("Tags", "tags", "TagSet", "TagList") if name in at.world), None)
        if tagging.listing:
            operation, _, path = tagging.listing.partition(" ")
            named = self._argument(replace(at, state={**at.state, **self._identity(at)}), tagging.value)
            arguments = {tagging.listing_member or tagging.member: named, **tagging.more}
            found = self._look(at, Look(operation, arguments, path))
        return {name: value for name, value in pairs_to_map(found).items() if not name.startswith("aws:")}

    def _retag(self, at: Situation, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        tagging, service = self.kind.tagging, self.kind.service
        assert tagging is not None
        named = self._argument(replace(at, state={**at.state, **self._identity(at)}), tagging.value)
        shape = at.aws.shape(service, tagging.tag)
        owner = {
            tagging.member: to_api(named, shape.members[tagging.member], {}),
            **{member: self._argument(at, argument) for member, argument in tagging.more.items()},
        }
        gone = [name for name in old if name not in new]
        if tagging.whole:
            pairs = [{"Key": name, "Value": value} for name, value in new.items()]
            at.aws.call(service, tagging.tag, {**owner, "Tagging": {"TagSet": pairs}})
            return
        if gone:
            keys: Any = gone if tagging.keys.lower().endswith("keys") else [{"Key": name} for name in gone]
            at.aws.call(service, tagging.untag, {**owner, tagging.keys: keys})
        if new and new != old:
            member = "Tags" if tagging.at_creation == "TagSpecifications" else tagging.tags
            assert member in shape.members, f"{tagging.tag} has no member {member}"
            at.aws.call(service, tagging.tag, {**owner, member: to_api(new, shape.members[member], {})})


class PartlyMadeError(ResourceError):
    """It was made, but a later call failed; the state must hold it."""

    def __init__(self, identity: str, message: str) -> None:
        super().__init__(message)
        self.identity = identity


def _named_in(argument: Any) -> set[str]:
    """Return the inputs that an argument names."""
    if isinstance(argument, str) and argument.startswith("."):
        return {argument[1:].split(".")[0].split("[")[0]}
    if isinstance(argument, Mapping):
        return set().union(*(_named_in(item) for item in argument.values())) if argument else set()
    if isinstance(argument, list):
        return set().union(*(_named_in(item) for item in argument)) if argument else set()
    return set()


def _merged(stated: Any, value: Any) -> Any:
    """Return an object of the world with what was stated on top, for objects that have computed fields."""
    if isinstance(stated, dict) and isinstance(value, dict) and is_known(stated):
        return {**value, **{name: _merged(item, value.get(name)) for name, item in stated.items()}}
    return stated
