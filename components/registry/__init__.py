"""The model registry and experiment tracking server: MLflow. This is its contract; realisations lie beside it."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import Output

from components.component import Component


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """What a registry is made with.

    Attributes:
        username: name that goes with the generated password.
    """

    username: str


class Registry(Component):
    """An MLflow server with a registry and an artifact store behind it."""

    url: Output[str]
    """Tracking address."""
    username: Output[str]
    """User name."""
    password: Output[str]
    """Password of that user; a secret."""
    metrics_targets: Output[list[str]]
    """`host:port` of each metrics page; empty where there is none."""
