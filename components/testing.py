"""For tests of components: a monitor that records whole registrations instead of talking to an engine.

The SDK's own mocks hide what components are made of: parents, dependencies, secrets, duplicates. Here a test runs a
program and gets every registration with its URN as the engine would make it.

    recording = record(lambda: LocalRegistry("registry", args))
    recording["registry"].secrets
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime import mocks
from pulumi.runtime.proto import resource_pb2

PROJECT, STACK = "mlops", "test"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What stands for a value that is not known yet on the wire."""
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the wire's marker of secrets, not one

Answers = Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]
"""Outputs of a resource from its type, name and plain inputs."""


class DuplicateResourceError(Exception):
    """Two resources of a program have one URN."""


@dataclass(frozen=True)
class Registration:
    """One resource as it was registered.

    Attributes:
        type: type token.
        name: name.
        urn: URN, with the types of all its parents.
        parent: URN of the parent; empty for a child of the stack.
        inputs: inputs with secrets opened and unknown values as `UNKNOWN`.
        secrets: dotted paths of the inputs that were marked as secrets.
        dependencies: URNs that it waits for.
        secret_outputs: outputs that it asks the engine to keep secret.
        outputs: what a component has registered as outputs; None when it never did.
        outputs_secret: dotted paths of the outputs that were marked as secrets.
    """

    type: str
    name: str
    urn: str
    parent: str
    inputs: Mapping[str, Any]
    secrets: frozenset[str]
    dependencies: frozenset[str]
    secret_outputs: frozenset[str]
    outputs: Mapping[str, Any] | None = None
    outputs_secret: frozenset[str] = frozenset()


@dataclass
class Recording:
    """The registrations of one program, in order."""

    registrations: dict[str, Registration] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Registration]:
        return iter(self.registrations.values())

    def of_type(self, token: str) -> dict[str, Registration]:
        """The registrations of a type by their names."""
        return {entry.name: entry for entry in self if entry.type == token}

    def only(self, token: str) -> Registration:
        """The one registration of a type."""
        found = list(self.of_type(token).values())
        assert len(found) == 1, f"expected one {token}, there are {[entry.name for entry in found]}"
        return found[0]

    def parent_of(self, entry: Registration) -> Registration | None:
        """The parent of a registration; None for a child of the stack."""
        return self.registrations.get(entry.parent)

    def waits_for(self, entry: Registration, other: Registration) -> bool:
        """Whether a registration waits for another, directly or through what it waits for."""
        seen: set[str] = set()
        queue = list(entry.dependencies)
        while queue:
            urn = queue.pop()
            if urn == other.urn:
                return True
            if urn not in seen and urn in self.registrations:
                seen.add(urn)
                queue += self.registrations[urn].dependencies
        return False


class Recorder(mocks.MockMonitor):
    """The monitor: records, answers with the outputs that the test gives, and refuses a URN that is there already."""

    def __init__(self, answers: Answers, functions: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__(_NoMocks(functions))
        self.recording = Recording()
        self._answers = answers

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the RPC's name
        """Record one resource and answer as the engine would after creating it."""
        parent_type = request.parent.split("::")[2] if request.parent else ""
        within = f"{parent_type}$" if parent_type and parent_type != "pulumi:pulumi:Stack" else ""
        urn = f"urn:pulumi:{STACK}::{PROJECT}::{within}{request.type}::{request.name}"
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if urn in self.recording.registrations:
            raise DuplicateResourceError(f"there are two resources with the URN {urn}")
        wire = json_format.MessageToDict(request.object)
        secret_outputs = frozenset(request.additionalSecretOutputs)
        entry = Registration(
            type=request.type,
            name=request.name,
            urn=urn,
            parent="" if within == "" else request.parent,
            inputs=opened(wire),
            secrets=frozenset(secret_paths(wire)),
            dependencies=frozenset(request.dependencies),
            secret_outputs=secret_outputs,
        )
        self.recording.registrations[urn] = entry
        answered = {**entry.inputs, **self._answers(entry.type, entry.name, entry.inputs)} if request.custom else {}
        state = {
            name: {_SIGNATURE: _SECRET, "value": value} if name in secret_outputs else value
            for name, value in answered.items()
        }
        body = json_format.ParseDict(state, struct_pb2.Struct())
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=body)

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - the RPC's name
        """Record what is read and not made, such as another stack, and answer with the test's outputs."""
        urn = f"urn:pulumi:{STACK}::{PROJECT}::{request.type}::{request.name}"
        wire = json_format.MessageToDict(request.properties)
        self.recording.registrations[urn] = Registration(
            type=request.type,
            name=request.name,
            urn=urn,
            parent=request.parent,
            inputs={**opened(wire), "id": request.id},
            secrets=frozenset(secret_paths(wire)),
            dependencies=frozenset(request.dependencies),
            secret_outputs=frozenset(),
        )
        answered = {**opened(wire), **self._answers(request.type, request.name, opened(wire))}
        body = json_format.ParseDict(answered, struct_pb2.Struct())
        return resource_pb2.ReadResourceResponse(urn=urn, properties=body)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the RPC's name
        """Record the outputs of a component."""
        entry = self.recording.registrations.get(request.urn)
        if entry is not None:
            wire = json_format.MessageToDict(request.outputs)
            changed = {**entry.__dict__, "outputs": opened(wire), "outputs_secret": frozenset(secret_paths(wire))}
            self.recording.registrations[request.urn] = Registration(**changed)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class _NoMocks(mocks.Mocks):
    """Answers what programs ask providers for besides registrations: only the functions that the test knows."""

    def __init__(self, functions: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._functions = functions or {}

    def call(self, args: mocks.MockCallArgs) -> Any:
        if args.token not in self._functions:
            raise NotImplementedError(f"the test answers no function {args.token} of a provider")
        return dict(self._functions[args.token])

    def new_resource(self, args: mocks.MockResourceArgs) -> Any:
        raise NotImplementedError(f"components read no resources, but this one reads {args.name}")


def record(
    program: Callable[[], Any],
    answers: Answers,
    *,
    preview: bool = False,
    functions: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recording:
    """Run a program and return what it has registered.

    Args:
        program: makes the resources.
        answers: outputs of each custom resource; ones that it leaves out are unknown in a preview.
        preview: whether the program runs as in a preview.
        functions: what functions of providers return, by their tokens.

    Raises:
        DuplicateResourceError: two resources have one URN.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())
    recorder = Recorder(answers, functions)
    pulumi.runtime.set_mocks(_NoMocks(), project=PROJECT, stack=STACK, preview=preview, monitor=recorder)

    def run() -> None:
        program()  # what it returns is its own business: only registrations are waited for

    pulumi.runtime.test(run)()  # type: ignore[no-untyped-call]
    return recorder.recording


def opened(value: Any) -> Any:
    """A value of the wire without the markers of secrets."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return opened(value.get("value"))
        return {key: opened(member) for key, member in value.items()}
    if isinstance(value, list):
        return [opened(member) for member in value]
    return value


def secret_paths(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of the secrets in a value of the wire."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            yield path
        else:
            for key, member in value.items():
                yield from secret_paths(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from secret_paths(member, f"{path}[{index}]")
