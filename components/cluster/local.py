"""The cluster on one machine: a supervised Ray head node, all of it on the loopback interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.blueprint import Health, Process, ProcessArgs, Token
from components.cluster import Cluster, ClusterArgs
from components.paths import short_directory
from components.site import LOOPBACK, SLOW_START, Site, url

PROCESS = "ray-head"

DRIVER_ENVIRONMENT = {
    # Keeps 127.0.0.1 as the node's address. Otherwise Ray on Linux puts the machine's outward address in its place, and
    # its gRPC and metrics ports listen on all interfaces. A driver without it looks for the head at that address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables of the head node and of every driver outside it, besides `RAY_AUTH_TOKEN`."""


@dataclass(frozen=True, kw_only=True)
class ClusterPorts:
    """TCP ports of a Ray head node; Ray takes random ones for what is left out, so nothing is."""

    gcs: int
    dashboard: int
    client: int
    node_manager: int
    object_manager: int
    agent: int
    agent_grpc: int
    runtime_env: int
    metrics: int
    dashboard_metrics: int
    workers_first: int
    workers_last: int


@dataclass(frozen=True, kw_only=True)
class LocalClusterArgs(ClusterArgs):
    """What the local cluster needs besides."""

    site: Site
    ports: ClusterPorts
    serve_ports: Mapping[str, int]
    """Ports that programs of the cluster listen on besides, by purpose: checked to be free when the head starts."""


def head_command(args: LocalClusterArgs) -> list[str]:
    """The command that runs the head node in the foreground.

    Without the autoscaler's monitor (there is no other node to start) and the log monitor (no driver here prints the
    logs of its workers): together 130 MB and two ports less.
    """
    ports = args.ports
    return [
        f"{args.site.programs()}/ray",
        "start",
        "--head",
        "--block",
        f"--node-ip-address={LOOPBACK}",
        f"--port={ports.gcs}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        f"--ray-client-server-port={ports.client}",
        f"--min-worker-port={ports.workers_first}",
        f"--max-worker-port={ports.workers_last}",
        "--include-dashboard=true",
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={ports.dashboard}",
        f"--dashboard-agent-listen-port={ports.agent}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--runtime-env-agent-port={ports.runtime_env}",
        f"--metrics-export-port={ports.metrics}",
        f"--num-cpus={args.logical_cpus}",
        "--num-gpus=0",
        f"--object-store-memory={args.object_store_mb * 1024 * 1024}",
        f"--temp-dir={short_directory(args.site.home)}/ray",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        "--no-monitor",
        "--log-style=record",
        "--log-color=false",
    ]


def head_environment(args: LocalClusterArgs) -> Mapping[str, str]:
    """Variables of the head node, which replicas and jobs inherit."""
    return {
        **args.site.environment(),
        **DRIVER_ENVIRONMENT,
        # Ray gives all its workers nice 15. Here they answer users, who would wait for every job of normal priority.
        "RAY_worker_niceness": "0",
        "DASHBOARD_METRIC_PORT": str(args.ports.dashboard_metrics),
        # Workers are started when they are needed: idle ones cost 45 MB each.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # The dashboard otherwise looks for a Grafana, which is not part of this target.
        "RAY_GRAFANA_HOST": "DISABLED",
        # Ray's agents name themselves, which by default overwrites their environment, and with it the mark by which
        # the provider finds what a killed supervisor or head left behind.
        "SPT_NOENV": "1",
        **args.serve_environment,
    }


class LocalCluster(Cluster):
    """A supervised Ray head node."""

    def __init__(self, name: str, args: LocalClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:LocalCluster", name, opts)
        ports, site = args.ports, args.site
        token = Token(f"{name}-token", opts=self.child())
        dashboard = url(ports.dashboard)
        Process(
            PROCESS,
            ProcessArgs(
                name=PROCESS,
                home=site.home,
                command=head_command(args),
                directory=site.project,
                environment=head_environment(args),
                secret_environment={"RAY_AUTH_TOKEN": token.value},
                ports={
                    "rayGcs": ports.gcs,
                    "rayDashboard": ports.dashboard,
                    "rayClient": ports.client,
                    "rayNodeManager": ports.node_manager,
                    "rayObjectManager": ports.object_manager,
                    "rayAgent": ports.agent,
                    "rayAgentGrpc": ports.agent_grpc,
                    "rayRuntimeEnv": ports.runtime_env,
                    "rayMetrics": ports.metrics,
                    "rayDashboardMetrics": ports.dashboard_metrics,
                    **args.serve_ports,
                },
                # Of the agent, not of the dashboard: it is the last to come, and jobs are refused until it is there.
                health=Health(http=f"{url(ports.agent)}/api/local_raylet_healthz", timeout_seconds=SLOW_START),
                stop_timeout_seconds=20,
                triggers=site.triggers(),
            ),
            self.child(),
        )
        self.register(
            address=f"{LOOPBACK}:{ports.gcs}",
            dashboard_url=dashboard,
            token=token.value,
            metrics_targets=[f"{LOOPBACK}:{ports.metrics}", f"{LOOPBACK}:{ports.dashboard_metrics}"],
        )
