"""Metrics, recording rules and alerts: Prometheus. This is its contract; realisations lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pulumi import Input, Output

from components.component import Component

RULES = Path(__file__).parent / "rules"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Metrics pages of one kind.

    Attributes:
        addresses: `host:port` of each page.
        path: path of the page.
        username: name for basic authentication; none when the page is open.
        password: the password that goes with it.
    """

    addresses: Input[list[str]]
    path: str = "/metrics"
    username: Input[str] | None = None
    password: Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """What is watched.

    Attributes:
        targets: metrics pages by the name of their job in Prometheus.
        scrape_seconds: time between two scrapes.
        retention_days: how long metrics are kept.
        username: name that goes with the generated password.
    """

    targets: Mapping[str, Target]
    scrape_seconds: int
    retention_days: int
    username: str


class Monitoring(Component):
    """A Prometheus server with the rules of the platform."""

    url: Output[str]
    """Address of Prometheus."""
    username: Output[str]
    """User name."""
    password: Output[str]
    """Password of that user; a secret."""


def rule_files() -> dict[str, str]:
    """The recording and alert rules of the platform: content by file name."""
    return {path.name: path.read_text("utf-8") for path in sorted(RULES.glob("*.yaml"))}
