"""The feature store: Feast, with an online server. This is its contract; realisations lie beside it."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import Output

from components.component import Component


@dataclass(frozen=True, kw_only=True)
class FeatureStoreArgs:
    """What a feature store is made with; nothing is common to all targets."""


class FeatureStore(Component):
    """A Feast feature store."""

    url: Output[str]
    """Address of the online server (`POST /get-online-features`)."""
    token: Output[str]
    """Bearer token of the online server; a secret."""
    metrics_targets: Output[list[str]]
    """`host:port` of each metrics page; empty where there is none."""
