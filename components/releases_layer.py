"""A stack of releases only: the models, released to a platform that another stack of the project holds.

What that platform is, its own outputs say (a StackReference): this stack needs no right over network, cluster or data,
and a rollout that takes an hour does not hold the lock of the foundation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
from pulumi import Output

from components.blueprint import Controller, ServiceProxy, Trust
from components.inference.releases import Releases, ReleasesArgs
from components.models import Model

SURFACES = ("control", "inference")
"""Endpoints of the foundation that this stack passes on, for the command line."""


@dataclass(frozen=True, kw_only=True)
class ReleasesTarget:
    """Where models are released to.

    Attributes:
        foundation: stack of this project that holds the platform.
        trust: whose approvals count there.
    """

    foundation: str
    trust: Trust


def compose_releases(
    target: ReleasesTarget,
    models: Sequence[Model],
    parent: pulumi.Resource,
    *,
    wait: bool,
    on_interrupt: Literal["leave", "abort"],
    timeout_seconds: int,
) -> Mapping[str, Any]:
    """Compose the releases; returns what the stack exports. How they are waited for is as in `PlatformArgs`."""
    reference = pulumi.StackReference(
        "foundation",
        stack_name=f"{pulumi.get_organization()}/{pulumi.get_project()}/{target.foundation}",
        opts=pulumi.ResourceOptions(parent=parent),
    )
    endpoints = {surface: _endpoint(reference, target.foundation, surface) for surface in SURFACES}
    control = endpoints["control"]
    releases = Releases(
        "releases",
        ReleasesArgs(
            controller=Controller(
                url=control["url"],
                token=control["token"],
                proxy=ServiceProxy(
                    cluster=control["cluster"], region=control["region"], authority=control["authority"]
                ),
            ),
            models=models,
            candidates={},
            trust=target.trust,
            wait=wait,
            on_interrupt=on_interrupt,
            timeout_seconds=timeout_seconds,
        ),
        pulumi.ResourceOptions(parent=parent),
    )
    return {
        "endpoints": endpoints,
        "models": {
            model.name: {
                "group": model.group,
                "url": Output.concat(endpoints["inference"]["url"], "/v2/models/", model.name),
                "served": releases.by_model[model.name].served,
            }
            for model in models
        },
    }


_PARTS = {
    "control": ("url", "token", "cluster", "region", "authority"),
    "inference": ("url", "token"),
}


def _endpoint(reference: pulumi.StackReference, foundation: str, surface: str) -> dict[str, Output[str]]:
    """One surface of the foundation; of its parts only the token is a secret."""
    endpoints = reference.get_output("endpoints")

    def part(name: str) -> Output[str]:
        value = endpoints.apply(lambda found: part_of(found, foundation, surface, name))
        return Output.secret(value) if name == "token" else Output.unsecret(value)

    return {name: part(name) for name in _PARTS[surface]}


def part_of(endpoints: Any, foundation: str, surface: str, part: str) -> str:
    """Return a part of an endpoint that a foundation exports.

    Raises:
        RunError: it exports no such thing.
    """
    value = ((endpoints or {}).get(surface) or {}).get(part)
    if not isinstance(value, str) or not value:
        raise pulumi.RunError(
            f"the stack {foundation} exports no endpoints.{surface}.{part}, so that nothing can be released to it: "
            f"bring it up first (`./mlops up {foundation}`), with workloads, and with this version of the project"
        )
    return value
