"""Serving of predictions and the controller of releases. This is their contract; realisations lie beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Input, Output

from components.component import Component
from components.models import SHARED_GROUP, Model, Replicas

Secret = Input[str] | Mapping[str, str]
"""A secret of a configuration file: itself where the file is secret, or `secret_file(…)` where it lies in the open."""


def secret_file(path: str) -> dict[str, str]:
    """What stands in a configuration file for a secret that is mounted at a path; `serving.config.load` reads it."""
    return {"secretFile": path}


@dataclass(frozen=True, kw_only=True)
class Group:
    """A serving group: one Serve application that holds the stable versions of one or more models."""

    name: str
    route: str
    replicas: Replicas

    def document(self) -> dict[str, object]:
        """The group as the actuator reads it."""
        replicas = {
            "min": self.replicas.min,
            "max": self.replicas.max,
            "targetOngoing": self.replicas.target_ongoing,
            "upscaleDelaySeconds": self.replicas.upscale_delay_seconds,
            "downscaleDelaySeconds": self.replicas.downscale_delay_seconds,
        }
        return {"name": self.name, "route": self.route, "replicas": replicas}


def groups(models: Sequence[Model], shared: Replicas) -> list[Group]:
    """The serving groups of a stack: the shared one at `/v2`, and one for each model that has its own."""
    own = [
        Group(name=model.name, route=f"/v2/models/{model.name}", replicas=model.replicas)
        for model in models
        if model.own_group
    ]
    return [Group(name=SHARED_GROUP, route="/v2", replicas=shared), *sorted(own, key=lambda group: group.name)]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may ask for: body in bytes, rows, and seconds until the answer."""

    max_body_bytes: int
    max_rows: int
    request_seconds: float


@dataclass(frozen=True, kw_only=True)
class Capture:
    """How predictions are recorded. `queue_rows` wait at most; beyond it rows are dropped and counted."""

    enabled: bool
    rotate_seconds: int
    rotate_rows: int
    retention_days: int
    queue_rows: int


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests that wait are joined: rows at most, and milliseconds to wait for company."""

    max_rows: int
    wait_ms: float


@dataclass(frozen=True, kw_only=True)
class RegistryAccess:
    """How replicas fetch model files."""

    url: Input[str]
    username: Input[str]
    password: Secret


@dataclass(frozen=True, kw_only=True)
class FeatureAccess:
    """How replicas look features up, and for how long they wait (milliseconds)."""

    url: Input[str]
    token: Secret
    deadline_ms: int


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """How the actuator reaches the cluster that it serves on; `ready` must be up before."""

    address: Input[str]
    token: Input[str]
    ready: pulumi.Resource


@dataclass(frozen=True, kw_only=True)
class InferenceArgs:
    """What inference is made with."""

    registry: RegistryAccess
    features: FeatureAccess
    limits: Limits
    capture: Capture
    batching: Batching
    groups: Sequence[Group]
    rollout_timeout_seconds: int


class Inference(Component):
    """Predictions over HTTP, and the controller that decides which version answers."""

    url: Output[str]
    """Address of predictions; the protocol starts at `/v2`."""
    token: Output[str]
    """Bearer token of predictions; a secret."""
    control_url: Output[str]
    """Address of the rollout controller."""
    control_token: Output[str]
    """Its admin token; a secret."""
    control_targets: Output[list[str]]
    """`host:port` of the controller's metrics page, which holds the predictions of all replicas."""
    proxy_targets: Output[list[str]]
    """`host:port` of each proxy's metrics page."""
