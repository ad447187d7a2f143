"""The cluster that trains and serves: a Ray cluster. This is its contract; realisations lie beside it.

In the cloud a Kubernetes cluster comes before it, on which the Ray clusters of serving and training run like
everything else.
"""

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


class KubernetesCluster(Component):
    """A Kubernetes cluster, ready for workloads: nodes, namespaces and operators are there."""

    cluster_name: Output[str]
    """Its name."""
    endpoint: Output[str]
    """Address of its API server."""
    node_security_group_id: Output[str]
    """Security group of its nodes, and so of everything that runs on it."""
