"""Platform: one environment, composed of one component per capability, in the layers that its stack holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pulumi
from pulumi import Output

from components import local
from components.blueprint import Controller
from components.component import Component
from components.foundation import Foundation
from components.gate import Gate, GateArgs, behind, only_through
from components.inference.releases import Releases, ReleasesArgs
from components.local import LocalTarget
from components.models import Model
from components.releases_layer import ReleasesTarget, compose_releases
from policies.stateful import KEPT_IN

if TYPE_CHECKING:
    from components.aws import AwsTarget

Endpoint = dict[str, Output[str]]


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """What an environment is made with.

    Attributes:
        gate: what is stated of the environment, and who lets it be changed.
        target: where it runs, and everything that is particular to it.
        releases: whether this stack holds the layer of models besides the foundation.
        models: the models of the environment.
        wait: whether `up` waits for the end of each rollout.
        on_interrupt: what Ctrl-C does to a rollout that is waited for.
        rollout_timeout_seconds: bound of that wait.
    """

    gate: GateArgs
    target: LocalTarget | AwsTarget | ReleasesTarget
    releases: bool
    models: Sequence[Model]
    wait: bool
    on_interrupt: Literal["leave", "abort"] = "leave"
    rollout_timeout_seconds: int


class Platform(Component):
    """One environment."""

    endpoints: Output[dict[str, Any]]
    """Where each surface is: `url` and, where it asks for them, `username` and `token`; tokens are secrets."""
    models: Output[dict[str, Any]]
    """The models: serving group, address, what was trained and what is served."""

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        gate: list[Gate] = []
        transformations = [behind(gate)]
        if args.gate.environment in KEPT_IN:
            from components.keeping import keeping  # only programs of such stacks pay for the import

            transformations += [only_through(gate, args.gate), keeping(args.gate)]
        own = pulumi.ResourceOptions(transformations=transformations)
        super().__init__("mlops:platform:Platform", name, pulumi.ResourceOptions.merge(opts, own))
        gate.append(Gate("gate", args.gate, pulumi.ResourceOptions(parent=self)))
        # Mappings of outputs, not outputs of mappings: there one secret would make all the rest secret.
        self.exports: Mapping[str, Any]
        if isinstance(args.target, LocalTarget):
            foundation = local.foundation(args.target, args.models, self)
            self.exports = {
                "endpoints": endpoints(foundation),
                "models": self._models(args, args.target, foundation) if args.releases else {},
            }
        elif isinstance(args.target, ReleasesTarget):
            self.exports = compose_releases(
                args.target,
                args.models,
                self,
                wait=args.wait,
                on_interrupt=args.on_interrupt,
                timeout_seconds=args.rollout_timeout_seconds,
            )
        else:
            from components import aws  # only programs of this target pay for the import

            self.exports = {"endpoints": aws.compose(args.target, self), "models": {}}
        self.register(**self.exports)

    def _models(self, args: PlatformArgs, target: LocalTarget, foundation: Foundation) -> dict[str, Any]:
        """Train and release the models; returns what is said of each."""
        inference = foundation.inference
        pipelines = local.pipelines(target, foundation, args.models, self)
        releases = Releases(
            "releases",
            ReleasesArgs(
                controller=Controller(url=inference.control_url, token=inference.control_token),
                models=args.models,
                candidates=pipelines.candidates,
                wait=args.wait,
                on_interrupt=args.on_interrupt,
                timeout_seconds=args.rollout_timeout_seconds,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=[inference, foundation.registry, foundation.feature_store]),
        )
        return {
            model.name: {
                "group": model.group,
                "url": Output.concat(inference.url, "/v2/models/", model.name),
                "served": releases.by_model[model.name].served,
            }
            for model in args.models
        }


def endpoints(foundation: Foundation) -> dict[str, Endpoint]:
    """Where each surface of an environment is, and what it asks for."""
    registry, inference, monitoring = foundation.registry, foundation.inference, foundation.monitoring
    tracking = {"url": registry.url, "username": registry.username, "token": registry.password}
    return {
        "tracking": tracking,
        "registry": tracking,
        "featureStore": {"url": foundation.feature_store.url, "token": foundation.feature_store.token},
        "inference": {"url": inference.url, "token": inference.token},
        "control": {"url": inference.control_url, "token": inference.control_token},
        "metrics": {"url": monitoring.url, "username": monitoring.username, "token": monitoring.password},
        "dashboard": {"url": foundation.cluster.dashboard_url, "token": foundation.cluster.token},
        "ledger": {"url": foundation.governance.ledger_url},
    }
