"""The models that an environment serves: one `ModelRelease` each, on any target.

Beside the component of inference, since a releases layer may live in another stack than the platform it releases to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi import Output

from components.blueprint import Controller, ModelRelease, ModelReleaseArgs, Trust
from components.component import Component
from components.models import Model


@dataclass(frozen=True, kw_only=True)
class ReleasesArgs:
    """What is released.

    Attributes:
        controller: rollout controller of the platform.
        models: the models, each with its version and strategy.
        candidates: result of the training job of each model that is trained in the same stack.
        trust: whose approvals count in the environment; None where the policies judge no manifests.
        wait: whether `up` waits for the end of each rollout.
        on_interrupt: what Ctrl-C does to a rollout that is waited for.
        timeout_seconds: bound of that wait.
    """

    controller: Controller
    models: Sequence[Model]
    candidates: Mapping[str, Output[dict[str, Any]]]
    trust: Trust | None = None
    wait: bool
    on_interrupt: Literal["leave", "abort"] = "leave"
    timeout_seconds: int


class Releases(Component):
    """The released models."""

    served: Output[dict[str, Any]]
    """Version and digest that each model really serves, as last seen."""

    def __init__(self, name: str, args: ReleasesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:inference:Releases", name, opts)
        self.by_model = {
            model.name: ModelRelease(
                model.name,
                ModelReleaseArgs(
                    model=model.name,
                    version=model.version,
                    group=model.group,
                    controller=args.controller,
                    # What stands for a pinned version is its manifest; it does not wait for training.
                    candidate=args.candidates.get(model.name) if model.manifest is None else None,
                    manifest=model.manifest,
                    previous=model.previous,
                    trust=args.trust,
                    strategy=model.strategy,
                    shadows=model.shadows,
                    wait=args.wait,
                    on_interrupt=args.on_interrupt,
                    timeout_seconds=args.timeout_seconds,
                ),
                self.child(),
            )
            for model in args.models
        }
        self.register(served={model: release.served for model, release in self.by_model.items()})
