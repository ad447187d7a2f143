"""The `local` target: which realisation of each capability makes up an environment on one machine, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.cluster.local import ClusterPorts, LocalCluster, LocalClusterArgs
from components.feature_store.local import LocalFeatureStore, LocalFeatureStoreArgs
from components.foundation import Foundation
from components.governance.local import LocalGovernance, LocalGovernanceArgs
from components.inference import Batching, Capture, ClusterAccess, FeatureAccess, Limits, RegistryAccess, groups
from components.inference.local import LocalInference, LocalInferenceArgs, ServingPorts, serve_environment
from components.models import Model, Replicas
from components.monitoring import Target
from components.monitoring.local import LocalMonitoring, LocalMonitoringArgs
from components.pipelines import JobCluster, Pipelines, Tracking
from components.pipelines.local import LocalPipelines, LocalPipelinesArgs
from components.registry.local import LocalRegistry, LocalRegistryArgs
from components.site import Site


@dataclass(frozen=True, kw_only=True)
class LocalPorts:
    """TCP ports of the servers that have one each; those of the cluster and of serving come as groups."""

    registry: int
    feature_store: int
    metrics: int
    cluster: ClusterPorts
    serving: ServingPorts


@dataclass(frozen=True, kw_only=True)
class LocalTarget:
    """What an environment on one machine is made with.

    Attributes:
        site: where it lives.
        environment: its name, in approvals and in the ledger.
        ports: where its servers listen.
        logical_cpus: CPUs that the cluster schedules by.
        object_store_mb: shared memory of the cluster, MiB.
        registry_username: user of the registry.
        feature_deadline_ms: how long a prediction waits for online features.
        replicas: replicas of the shared serving group.
        limits: bounds of a request.
        capture: how predictions are recorded.
        batching: how requests are joined.
        rollout_timeout_seconds: how long a rollout may take.
        prometheus: path of the Prometheus binary.
        metrics_username: user of Prometheus.
        scrape_seconds: time between two scrapes.
        metrics_retention_days: how long metrics are kept.
    """

    site: Site
    environment: str = "local"
    ports: LocalPorts
    logical_cpus: int
    object_store_mb: int
    registry_username: str
    feature_deadline_ms: int
    replicas: Replicas
    limits: Limits
    capture: Capture
    batching: Batching
    rollout_timeout_seconds: int
    prometheus: str
    metrics_username: str
    scrape_seconds: int
    metrics_retention_days: int


def foundation(target: LocalTarget, models: Sequence[Model], parent: pulumi.Resource) -> Foundation:
    """Compose the platform of an environment on one machine.

    Servers wait for each other only where one cannot start without the other, so that the slow ones start together.
    """
    site, ports = target.site, target.ports
    within = pulumi.ResourceOptions(parent=parent)
    cluster = LocalCluster(
        "cluster",
        LocalClusterArgs(
            site=site,
            ports=ports.cluster,
            serve_ports=ports.serving.of_cluster(),
            serve_environment=serve_environment(site, ports.serving),
            logical_cpus=target.logical_cpus,
            object_store_mb=target.object_store_mb,
        ),
        within,
    )
    registry = LocalRegistry(
        "registry", LocalRegistryArgs(site=site, port=ports.registry, username=target.registry_username), within
    )
    feature_store = LocalFeatureStore(
        "feature-store", LocalFeatureStoreArgs(site=site, port=ports.feature_store), within
    )
    inference = LocalInference(
        "inference",
        LocalInferenceArgs(
            site=site,
            ports=ports.serving,
            environment=target.environment,
            cluster=ClusterAccess(address=cluster.address, token=cluster.token, ready=cluster),
            registry=RegistryAccess(url=registry.url, username=registry.username, password=registry.password),
            features=FeatureAccess(
                url=feature_store.url, token=feature_store.token, deadline_ms=target.feature_deadline_ms
            ),
            limits=target.limits,
            capture=target.capture,
            batching=target.batching,
            groups=groups(models, target.replicas),
            rollout_timeout_seconds=target.rollout_timeout_seconds,
        ),
        within,
    )
    monitoring = LocalMonitoring(
        "monitoring",
        LocalMonitoringArgs(
            site=site,
            program=target.prometheus,
            port=ports.metrics,
            username=target.metrics_username,
            scrape_seconds=target.scrape_seconds,
            retention_days=target.metrics_retention_days,
            targets={
                "control": Target(addresses=inference.control_targets),
                "feature-store": Target(addresses=feature_store.metrics_targets),
                "haproxy": Target(addresses=inference.proxy_targets),
                "ray": Target(addresses=cluster.metrics_targets),
                "registry": Target(addresses=registry.metrics_targets),
            },
        ),
        within,
    )
    return Foundation(
        cluster=cluster,
        registry=registry,
        feature_store=feature_store,
        inference=inference,
        monitoring=monitoring,
        governance=LocalGovernance("governance", LocalGovernanceArgs(site=site), within),
    )


def pipelines(target: LocalTarget, platform: Foundation, models: Sequence[Model], parent: pulumi.Resource) -> Pipelines:
    """Compose the training of the models of an environment on one machine."""
    return LocalPipelines(
        "pipelines",
        LocalPipelinesArgs(
            site=target.site,
            environment=target.environment,
            cluster=JobCluster(
                url=platform.cluster.dashboard_url, token=platform.cluster.token, ready=platform.cluster
            ),
            tracking=Tracking(
                url=platform.registry.url,
                username=platform.registry.username,
                password=platform.registry.password,
                ready=platform.registry,
            ),
            models=models,
        ),
        pulumi.ResourceOptions(parent=parent),
    )
