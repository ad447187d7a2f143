"""The cluster that trains and serves: a Ray cluster. This is its contract; realisations lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import Output

from components.component import Component


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """What a cluster offers to hand out.

    Attributes:
        logical_cpus: CPUs that Ray schedules by.
        object_store_mb: shared memory for objects, MiB.
        serve_environment: variables that Ray Serve reads on every node when the cluster starts.
    """

    logical_cpus: int
    object_store_mb: int
    serve_environment: Mapping[str, str]


class Cluster(Component):
    """A Ray cluster."""

    address: Output[str]
    """`host:port` that drivers connect to."""
    dashboard_url: Output[str]
    """Address of the pages and of the job API."""
    token: Output[str]
    """Token that every request to the cluster carries; a secret."""
    metrics_targets: Output[list[str]]
    """`host:port` of each metrics page."""
