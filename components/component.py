"""What every component resource here shares: options of children, and outputs that are declared and registered.

A component declares each output as a class attribute annotated `Output[…]`. `register` sets and registers exactly
those, so that an output can neither be forgotten nor exist without being declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi


class Component(pulumi.ComponentResource):
    """A component resource of the blueprint.

    Args:
        token: type token, such as `mlops:registry:LocalRegistry`.
        name: name of the resource.
        opts: options of the caller; what children must wait for is taken from here too.
    """

    def __init__(self, token: str, name: str, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(token, name, None, opts)
        self._caller = opts

    def child(self, *, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        """Options for a child: the caller's, with this component as the parent.

        Aliases and transformations of the caller speak of the component, and reach its children through it.

        Args:
            depends_on: what the child waits for besides what the component waits for.
        """
        opts = pulumi.ResourceOptions.merge(
            self._caller, pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))
        )
        opts.aliases = opts.transformations = opts.transforms = opts.hooks = None
        return opts

    @classmethod
    def declared_outputs(cls) -> frozenset[str]:
        """Names of the outputs that the class and its contract declare."""
        # Not typing.get_type_hints: it evaluates those of the SDK's classes too, whose names are not all there.
        annotations = [
            item for kind in cls.__mro__ if issubclass(kind, Component) for item in kind.__annotations__.items()
        ]
        return frozenset(name for name, hint in annotations if str(hint).startswith(("Output[", "pulumi.Output[")))

    def register(self, **outputs: pulumi.Input[Any]) -> None:
        """Set and register the outputs.

        Raises:
            TypeError: they are not exactly the declared ones.
        """
        declared = self.declared_outputs()
        if declared != outputs.keys():
            missing, extra = sorted(declared - outputs.keys()), sorted(outputs.keys() - declared)
            raise TypeError(f"{type(self).__name__}: outputs not given: {missing}; given but not declared: {extra}")
        for name, value in outputs.items():
            setattr(self, name, pulumi.Output.from_input(value))
        # As they were given: of a mapping with one secret in it, only that one is a secret in the state.
        self.register_outputs(outputs)
