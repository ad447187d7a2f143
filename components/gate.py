"""The `Gate` of a stack: what it states of the environment for the policies, and what everything else waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
from pulumi import Output

GATE = "blueprint:index:Gate"
_HOOK = "only-through-the-gate"
_DECIDES = ("commit", "configuration")
"""What a gate says in `passed` of that for which it opened."""


@dataclass(frozen=True, kw_only=True)
class GateArgs:
    """Inputs of `Gate`; all of them are public.

    Attributes:
        environment: kind of the environment, which says how strict the policies are.
        stack: name of the stack.
        client: whose it is.
        target: where it runs.
        settings: the settings in force, without secrets, by their names in the file.
        commit: commit of the program; `-dirty` at its end where files differ from it, empty where there is none.
        configuration: digest of all settings, secrets included.
        trust_root: name of the trust root whose keys count.
        allowed_signers: that trust root: the content of a file of allowed signers; empty where none is stated.
        project: folder of the project, for the program itself; no input, since it differs from machine to machine.
    """

    environment: Literal["local", "dev", "staging", "prod"]
    stack: str
    client: str
    target: Literal["local", "aws"]
    settings: Mapping[str, Any] = field(default_factory=dict)
    commit: str = ""
    configuration: str = ""
    trust_root: str = ""
    allowed_signers: str = ""
    project: str = ""

    def wire(self) -> dict[str, Any]:
        """Return the inputs as the provider expects them."""
        return {
            "environment": self.environment,
            "stack": self.stack,
            "client": self.client,
            "target": self.target,
            "settings": dict(self.settings),
            "commit": self.commit,
            "configuration": self.configuration,
            "trustRoot": self.trust_root,
            "allowedSigners": self.allowed_signers,
        }


class Gate(pulumi.CustomResource):
    """Lets a stack be changed, or not: on staging and prod it fails without a passing signed verdict."""

    passed: Output[dict[str, Any]]
    """What it passed by (`verdict`, `break-glass` or `not asked`), for which commit and configuration."""

    def __init__(self, resource_name: str, args: GateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(GATE, resource_name, args.wire() | {"passed": None}, opts)


def behind(gate: list[Gate]) -> pulumi.ResourceTransformation:
    """Return what makes every resource under a component wait for its gate, and end before it does.

    A transformation of the program and not one of the engine's, which would ask the program back for each resource.

    Args:
        gate: holds the gate as soon as there is one.
    """

    def wait(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if args.type_ == GATE or not isinstance(args.resource, pulumi.CustomResource):
            return None
        opts = pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(depends_on=list(gate)))
        return pulumi.ResourceTransformationResult(props=args.props, opts=opts)

    return wait


def only_through(gate: list[Gate], args: GateArgs) -> pulumi.ResourceTransformation:
    """Return what refuses to make or change anything where the gate did not open for this commit and configuration.

    To wait for the gate is not enough: `pulumi up --target` and `--exclude` leave it as it was, opened for what was
    deployed before, and touch what waits for it. The engine asks the hook before each creation and update that it is
    about to make, never in a preview.

    Args:
        gate: holds the gate as soon as there is one.
        args: what the gate states of this program.
    """

    async def refuse(hook: pulumi.ResourceHookArgs) -> None:
        passed = await gate[0].passed.future()
        opened = passed if isinstance(passed, Mapping) else {}
        if any(opened.get(name, "") != getattr(args, name) for name in _DECIDES):
            raise RuntimeError(
                f"{hook.name} is not touched: the gate of {args.stack} has not opened for commit "
                f"{args.commit or '(none)'} and its settings, but for commit {opened.get('commit') or '(none)'}. Leave "
                f"out --target and --exclude, or name the gate among the targets; `./mlops up {args.stack}` has the "
                "policies judge the plan first"
            )

    asked = pulumi.ResourceHook(_HOOK, refuse)

    def bind(made: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if made.type_ == GATE or not isinstance(made.resource, pulumi.CustomResource):
            return None
        binding = pulumi.ResourceHookBinding(before_create=[asked], before_update=[asked])
        opts = pulumi.ResourceOptions.merge(made.opts, pulumi.ResourceOptions(hooks=binding))
        return pulumi.ResourceTransformationResult(props=made.props, opts=opts)

    return bind
