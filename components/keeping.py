"""Hooks of the engine that refuse to delete what holds state, in `up` and in `destroy`.

A hook lives in the program, so that `pulumi destroy` of such a stack needs `--run-program`; `./mlops down` says it.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pulumi

from components.gate import GateArgs
from policies.gates.decision import Question, in_rehearsal
from policies.gates.deletion import kept, require_allowed
from policies.releases.keys import REHEARSAL
from policies.stateful import STATEFUL

_HOOK = "keep-state"


def keeping(args: GateArgs) -> pulumi.ResourceTransformation:
    """Return what puts the hook on every resource under a component that holds state.

    Args:
        args: what the gate of the stack states; its project is where waivers are looked for.
    """
    question = Question(
        stack=args.stack, environment=args.environment, commit=args.commit, configuration=args.configuration,
        policies="", trust_root=args.trust_root, allowed_signers=args.allowed_signers,
        rehearsal=args.trust_root == REHEARSAL and in_rehearsal(os.environ),
    )  # fmt: skip

    def refuse(hook: pulumi.ResourceHookArgs) -> None:
        if kept(hook.type, question):
            by = require_allowed(hook.urn, hook.type, question, Path(args.project), datetime.now().astimezone())
            pulumi.log.warn(f"{hook.name} is deleted with what it holds, by {by}")

    hook = pulumi.ResourceHook(_HOOK, refuse)

    def bind(made: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if made.type_ not in STATEFUL:
            return None
        binding = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_delete=[hook]))
        return pulumi.ResourceTransformationResult(
            props=made.props, opts=pulumi.ResourceOptions.merge(made.opts, binding)
        )

    return bind
