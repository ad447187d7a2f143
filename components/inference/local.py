"""Inference on one machine: the rollout controller, and the actuator that runs Ray Serve behind HAProxy.

HAProxy and the replicas are children of the cluster's head node, which therefore gets `serve_environment`; the actuator
is a driver that can be restarted without a request noticing.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi import Output

from components.blueprint import Health, Process, ProcessArgs, Token
from components.cluster.local import DRIVER_ENVIRONMENT
from components.inference import ClusterAccess, Inference, InferenceArgs
from components.inference.documents import ControlPlace, ServingPlace, control_document, serving_document
from components.paths import short_directory
from components.site import LOOPBACK, SLOW_START, Site, url

CONTROL, ACTUATOR = "control", "inference"
CODE = ("serving", "policies/releases", "policies/ledger")


@dataclass(frozen=True, kw_only=True)
class ServingPorts:
    """TCP ports of the serving side; replicas take consecutive ones from `replicas_first` to `replicas_last`."""

    inference: int
    control: int
    fallback: int
    haproxy_stats: int
    haproxy_metrics: int
    replicas_first: int
    replicas_last: int

    def of_cluster(self) -> dict[str, int]:
        """The ports that programs of the cluster listen on, by their names in the settings."""
        return {
            "inference": self.inference,
            "serveFallback": self.fallback,
            "haproxyStats": self.haproxy_stats,
            "haproxyMetrics": self.haproxy_metrics,
        }


@dataclass(frozen=True, kw_only=True)
class LocalInferenceArgs(InferenceArgs):
    """What local inference needs besides."""

    cluster: ClusterAccess
    site: Site
    ports: ServingPorts
    environment: str


def serve_environment(site: Site, ports: ServingPorts) -> dict[str, str]:
    """What Ray Serve must find in the environment of the head node; what each is for says `serving/actuator.py`."""
    folder = f"{short_directory(site.home)}/haproxy"
    return {
        # The wrapper of HAProxy is a script: it must find the environment's interpreter.
        "PATH": f"{site.programs()}:/usr/local/bin:/usr/bin:/bin",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": f"{site.project}/serving/haproxy.py",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Of this environment: at the default port, requests would wait in whichever environment listens there.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.fastpath:middlewares",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas_first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas_last),
    }


class LocalInference(Inference):
    """A supervised controller and a supervised actuator."""

    def __init__(self, name: str, args: LocalInferenceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:inference:LocalInference", name, opts)
        site, ports = args.site, args.ports
        tokens = {
            purpose: Token(f"{name}-{purpose}", opts=self.child()).value
            for purpose in ("admin", "replica", "snapshot", "predict")
        }
        snapshot = site.data("inference", "snapshot.json")
        control_url, predict_url = url(ports.control), url(ports.inference)
        triggers = site.triggers(*CODE)

        Process(
            CONTROL,
            ProcessArgs(
                name=CONTROL,
                home=site.home,
                command=site.module("serving.control", "--config", site.file(CONTROL, "control.json")),
                directory=site.project,
                environment=site.environment(),
                files={
                    "control.json": Output.json_dumps(
                        control_document(
                            args,
                            ControlPlace(
                                host=LOOPBACK,
                                port=ports.control,
                                database=f"sqlite:///{site.data('inference', 'control.db')}",
                                snapshot=snapshot,
                                snapshot_key=tokens["snapshot"],
                                admin_token=tokens["admin"],
                                replica_token=tokens["replica"],
                                environment=args.environment,
                                captures={"directory": site.data("captures")},
                                ledger={
                                    "checkpoints": site.data("ledger", "checkpoints"),
                                    "key": site.data("ledger", "checkpoint-key"),
                                },
                                # On one machine a version that passed its evaluation may start, if training signed it;
                                # approvals can be tried with demo keys, and a quarantine is lifted by nothing else.
                                trust={"approval": "rule", "signature": "required", "demoKeys": site.data("keys")},
                            ),
                        )
                    )
                },
                ports={"control": ports.control},
                health=Health(http=f"{control_url}/v1/health", timeout_seconds=SLOW_START),
                triggers=triggers,
            ),
            self.child(),
        )
        Process(
            ACTUATOR,
            ProcessArgs(
                name=ACTUATOR,
                home=site.home,
                command=site.module("serving.actuator", "--config", site.file(ACTUATOR, "serving.json")),
                directory=site.project,
                environment=site.environment() | DRIVER_ENVIRONMENT | serve_environment(site, ports),
                secret_environment={"RAY_AUTH_TOKEN": args.cluster.token},
                # Replicas read it by its path, so that no secret is in Ray.
                files={
                    "serving.json": Output.json_dumps(
                        serving_document(
                            args,
                            ServingPlace(
                                ray={"address": args.cluster.address, "token": args.cluster.token},
                                http={"host": LOOPBACK, "port": ports.inference},
                                control_url=control_url,
                                replica_token=tokens["replica"],
                                inference_token=tokens["predict"],
                                snapshot=snapshot,
                                snapshot_key=tokens["snapshot"],
                                model_cache=site.data("inference", "models"),
                                captures=site.data("captures"),
                                # What replicas believe comes to them from here, not from the registry or control.
                                trust={
                                    "signature": "required",
                                    "roots": [{"name": args.environment, "path": site.data("keys", "allowed_signers")}],
                                },
                            ),
                        )
                    )
                },
                health=Health(http=f"{predict_url}/v2/health/live", timeout_seconds=SLOW_START),
                stop_timeout_seconds=20,
                triggers=triggers,
            ),
            self.child(depends_on=[args.cluster.ready]),
        )
        self.register(
            url=predict_url,
            token=tokens["predict"],
            control_url=control_url,
            control_token=tokens["admin"],
            control_targets=[f"{LOOPBACK}:{ports.control}"],
            proxy_targets=[f"{LOOPBACK}:{ports.haproxy_metrics}"],
        )
