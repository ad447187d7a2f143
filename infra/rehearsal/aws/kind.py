"""What the table says of a resource type: its calls, its names, what replaces it, what it puts out.

A value of an argument is written as

- `.name` (or `.vpcConfig.subnetIds`): an input of the resource,
- `@id`, `@account`, `@region`, `@partition`, `@tags`, or `@arn` and any other output: what is known of it,
- a function of `Situation`,
- anything else: itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.provider.codec import Properties


@dataclass(frozen=True)
class Situation:
    """What a call is made of: plain inputs, those of last time, what is known of the resource and its surroundings."""

    name: str
    inputs: Properties
    old: Properties
    state: Properties
    id: str
    account: str
    region: str
    partition: str
    tags: Mapping[str, str]
    aws: Any
    world: Mapping[str, Any] = field(default_factory=dict)


Argument = Any
Computed = str | Callable[[Situation], Any]


@dataclass(frozen=True)
class Call:
    """One call of the API.

    Attributes:
        operation: Its name in boto3.
        arguments: Members of the call and where their values come from.
        auto: Whether every other input that the call has a member for is passed on as well.
        when: The inputs that make the call necessary: stated at creation, changed at an update. Empty: those it takes.
        uses: Inputs that functions among the arguments take care of.
        each: Calls once for every value that this function returns, which is `item` in `arguments` as `@item`.
        always: Whether it is made at creation even when none of its inputs is stated.
    """

    operation: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    auto: bool = False
    when: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    each: Callable[[Situation], list[Any]] | None = None
    always: bool = False


@dataclass(frozen=True)
class Look:
    """A call that tells what is there.

    Attributes:
        operation: Its name in boto3.
        arguments: As in `Call`.
        at: Where in the answer the attributes are (JMESPath, or a function of answer and situation); nothing there
            means that the resource is gone.
        needed: Whether the resource is gone when this look finds nothing.
        into: Name under which what was found is kept, instead of beside what other looks found.
    """

    operation: str
    arguments: Mapping[str, Argument]
    at: str | Callable[[Any, Situation], Any] = "@"
    needed: bool = True
    into: str = ""


@dataclass(frozen=True)
class Tagging:
    """How tags are read and changed: two calls with the member that names the resource, and how it is named."""

    tag: str
    untag: str
    member: str
    value: Argument = "@id"
    tags: str = "Tags"
    keys: str = "TagKeys"
    listing: str = ""
    """Call and JMESPath that tell the tags, where no look does."""
    listing_member: str = ""
    """Member that names the resource in that call, where it is another one."""
    more: Mapping[str, Argument] = field(default_factory=dict)
    """Other members that name the resource."""
    whole: bool = False
    """Whether `tag` sets all tags at once (S3)."""
    at_creation: str = "Tags"
    """Member of the first call that takes them; empty: by `tag` after it."""


@dataclass(frozen=True)
class Instead:
    """Another way to make a resource, taken where an input asks for it, as a database from a snapshot.

    Attributes:
        input: The input.
        create: The call instead of `Kind.create`.
        then: The call after it that brings to the resource what the first one cannot state.
    """

    input: str
    create: Call
    then: Call


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One resource type.

    Attributes:
        token: Its type token.
        service: boto3's name of its service.
        cloudformation: Its CloudFormation type, whose create-only properties force replacement.
        create: The call that makes it.
        instead: Another way to make it.
        then: Calls after it, repeated at an update where their inputs changed.
        update: Calls of an update only.
        delete: Calls that remove it, in this order.
        looks: Calls that find it.
        id: Its id: JMESPath into the answer of `create`, or an argument.
        name: The input that is made up when it is not stated, with its greatest length and how it has to start.
        replaces: Inputs that force replacement, beside the create-only ones of CloudFormation.
        updates: Inputs that do not force replacement although CloudFormation says so.
        renames: From inputs to the API's names, at any depth.
        outputs: Outputs that need more than a look at equal names: JMESPath into what the looks found, or a function.
        local: Inputs that are settings of the provider itself and reach no call.
        tagging: How it is tagged, if it can be.
        listing: Call, arguments and JMESPath of the ids of all such objects (or a function of `Aws`), for what is left
            at the end. Without one it is a part of something else and goes with it.
        volatile: Outputs that any update changes.
        defaults: Inputs that the provider fills in.
        present: Whether what the looks found is this resource; for parts of a list.
    """

    token: str
    service: str
    create: Call
    looks: tuple[Look, ...]
    delete: tuple[Call, ...]
    id: Computed
    cloudformation: str = ""
    instead: Instead | None = None
    then: tuple[Call, ...] = ()
    update: tuple[Call, ...] = ()
    name: str = ""
    name_length: int = 64
    name_start: str = ""
    replaces: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Computed] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    tagging: Tagging | None = None
    listing: tuple[str, Mapping[str, Any], str] | Callable[[Any], list[str]] | None = None
    volatile: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    present: Callable[[Situation], bool] | None = None

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls that take inputs."""
        other = (self.instead.create, self.instead.then) if self.instead else ()
        return (self.create, *other, *self.then, *self.update)
