"""The RayService of serving: the Ray cluster as Kubernetes resources, and the groups as Ray Serve's own settings.

What KubeRay (1.6) makes of it shapes it:

- A change of anything but group sizes starts a second cluster beside the first, and traffic moves over in steps.
  serving.json lies in an annotation of the pods and is mounted from there, so that each of the two keeps its own.
- Each cluster has its own actuator, a container of the head's pod: it deploys candidates, which no RayService names.
- The autoscaler must be the first one: with the second KubeRay never restarts a container, and a head that runs out of
  memory would lose what its emptyDir holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output

from components.cluster.placement import NodePoolArgs, placed
from components.inference import Group
from components.ray import AGENT, DASHBOARD, ENVIRONMENT, METRICS, RAY_VERSION, head_probes, object_store, probe
from components.workload import USER, Resources, security_context, spread

NAMESPACE, NAME = "serving", "inference"
LABELS: Mapping[str, str] = {"mlops/workload": NAME}
"""Labels of all its pods. Those that Kubernetes recommends are KubeRay's own."""
CONFIG = "/etc/mlops/serving.json"
SIGNERS = "/etc/mlops/allowed_signers"
STATE = "/var/lib/mlops"
SECRETS = "/run/mlops/secrets"
PORT, PROXY_METRICS = 8000, 9101
SIDECAR = Resources(cpus=0.25, memory_gib=0.5)
"""What the autoscaler and the actuator take each, out of what the head's pod may have."""
_READS = ("control-replica", "features-token", "inference-token", "registry-password", "snapshot-key")


@dataclass(frozen=True, kw_only=True)
class WorkerGroup:
    """Workers of one kind: size of each, the pool that they run in, fewest and most."""

    name: str
    size: Resources
    pool: NodePoolArgs
    min: int
    max: int


@dataclass(frozen=True, kw_only=True)
class RayServiceArgs:
    """What the RayService is made with.

    Attributes:
        image: serving image by digest.
        head: what the head's pod may have, its side containers included.
        workers: groups of workers.
        groups: serving groups.
        document: serving.json; its secrets are only named in it.
        signers: allowed signers of artifacts, the text of the file.
        gateway_class: class of the gateway that divides the traffic during an upgrade.
        upgrade_step: share of the traffic that one step moves, per cent.
        upgrade_seconds: seconds between two steps.
    """

    image: Input[str]
    head: Resources
    workers: Sequence[WorkerGroup]
    groups: Sequence[Group]
    document: Input[str]
    signers: str
    gateway_class: str
    upgrade_step: int
    upgrade_seconds: int


def secret_path(name: str) -> str:
    """Where a secret of the namespace is mounted."""
    return f"{SECRETS}/{name}/value"


def environment() -> dict[str, str]:
    """What Ray Serve must find in the environment of every node; what each is for says `serving/actuator.py`."""
    folder = f"{STATE}/haproxy"
    return {
        **ENVIRONMENT,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Workers wait this long for a head that restarts; replicas and proxies go on meanwhile.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        # Ray gives all its workers nice 15; then a replica could not tell users' work from what gives way to it.
        "RAY_worker_niceness": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": "/app/serving/haproxy.py",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(PROXY_METRICS),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.fastpath:middlewares",
        # Prometheus asks from another pod; network policies say who else may.
        "MLOPS_HAPROXY_HOST": "0.0.0.0",  # noqa: S104 - of the pod
    }


def serve_config(groups: Sequence[Group]) -> str:
    """Ray Serve's settings: an application a group, built by `serving.application.declared`; JSON, which is YAML."""
    return json.dumps(
        {
            # A proxy wherever a replica is, none on the head: predictions do not need it.
            "proxy_location": "EveryNode",
            "http_options": {"host": "0.0.0.0", "port": PORT, "keep_alive_timeout_s": 75},  # noqa: S104 - of the pod
            "applications": [
                {
                    "name": group.name,
                    "route_prefix": group.route,
                    "import_path": "serving.application:declared",
                    "args": {"config": CONFIG, "group": group.name},
                }
                for group in groups
            ],
        },
        indent=2,
    )


def specification(args: RayServiceArgs) -> dict[str, Any]:
    """The specification of the RayService."""
    cluster: dict[str, Any] = {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token", "secretName": "ray-auth"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v1",
            "idleTimeoutSeconds": 300,
            "upscalingMode": "Default",
            "resources": SIDECAR.document(),
            "securityContext": security_context(),
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
        },
        "headGroupSpec": _head(args),
        "workerGroupSpecs": [_workers(args, group) for group in args.workers],
    }
    return {
        "serveConfigV2": serve_config(args.groups),
        "excludeHeadPodFromServeSvc": True,
        # Connections that the old cluster still answers end before it goes.
        "rayClusterDeletionDelaySeconds": 120,
        "upgradeStrategy": {
            "type": "NewClusterWithIncrementalUpgrade",
            "clusterUpgradeOptions": {
                # New capacity comes as traffic moves, so that an upgrade needs little more room than one step.
                "maxSurgePercent": args.upgrade_step,
                "stepSizePercent": args.upgrade_step,
                "intervalSeconds": args.upgrade_seconds,
                "gatewayClassName": args.gateway_class,
            },
        },
        "rayClusterConfig": cluster,
    }


def _head(args: RayServiceArgs) -> dict[str, Any]:
    main = Resources(cpus=args.head.cpus - 2 * SIDECAR.cpus, memory_gib=args.head.memory_gib - 2 * SIDECAR.memory_gib)
    # On the pod's own disk: a head that crashes goes on where it was, and Serve with it.
    extra = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": f"{STATE}/gcs"}
    ray = head_probes() | _container(
        args,
        "ray-head",
        main,
        extra,
        # Nothing serves on the head, but KubeRay makes the Service of the workers out of its port of this name.
        ports={"gcs": 6379, "dashboard": DASHBOARD, "client": 10001, "metrics": METRICS, "serve": PORT},
    )
    actuator = _container(args, "actuator", SIDECAR, {}, ports={}) | {
        "command": ["python", "-m", "serving.actuator", "--config", CONFIG],
    }
    token = {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": "ray-auth", "key": "auth_token"}}}
    actuator["env"] = [*actuator["env"], token]
    template = _template(args, [ray, actuator], {})
    # The autoscaler, in this pod, changes the sizes of groups through the API server.
    template["spec"]["automountServiceAccountToken"] = True
    template["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] = "true"
    return {
        "rayStartParams": {
            # It schedules and does no work: a replica that eats its memory would take the whole cluster along.
            "num-cpus": "0",
            "dashboard-host": "0.0.0.0",  # noqa: S104 - of the pod
            **object_store(),
        },
        "template": template,
    }


def _workers(args: RayServiceArgs, group: WorkerGroup) -> dict[str, Any]:
    ray = _container(
        args,
        "ray-worker",
        group.size,
        {},
        ports={"metrics": METRICS, "http": PORT, "proxy-metrics": PROXY_METRICS},
    ) | {
        "startupProbe": probe("/api/local_raylet_healthz", AGENT, period=5, failures=60),
        # A worker without a proxy gets no request.
        "readinessProbe": probe("/-/healthz", PORT, period=5, failures=3),
        "livenessProbe": probe("/api/local_raylet_healthz", AGENT, period=10, failures=12),
        # Requests that came before the pod left the list of endpoints are answered.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "15"]}}},
    }
    template = _template(args, [ray], placed(group.pool))
    template["spec"]["topologySpreadConstraints"] = spread({**LABELS, "ray.io/group": group.name})
    template["spec"]["terminationGracePeriodSeconds"] = 120
    return {
        "groupName": group.name,
        "minReplicas": group.min,
        "replicas": group.min,
        "maxReplicas": group.max,
        "rayStartParams": {
            "num-cpus": str(math.floor(group.size.cpus)),
            **object_store(),
        },
        "template": template,
    }


def _container(
    args: RayServiceArgs, name: str, size: Resources, extra: Mapping[str, str], *, ports: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "name": name,
        "image": args.image,
        "env": [{"name": key, "value": value} for key, value in sorted((environment() | dict(extra)).items())],
        "ports": [{"name": purpose, "containerPort": port, "protocol": "TCP"} for purpose, port in ports.items()],
        "resources": size.document(),
        "securityContext": security_context(),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            # Under KubeRay's own name for it. The actuator finds the head's node through what lies here.
            {"name": "ray-logs", "mountPath": "/tmp/ray"},  # noqa: S108 - the pod's own
            {"name": "state", "mountPath": STATE},
            {"name": "settings", "mountPath": "/etc/mlops", "readOnly": True},
            {"name": "secrets", "mountPath": SECRETS, "readOnly": True},
        ],
    }


def _template(args: RayServiceArgs, containers: list[dict[str, Any]], place: Mapping[str, Any]) -> dict[str, Any]:
    files = {"mlops/serving.json": "serving.json", "mlops/allowed-signers": "allowed_signers"}
    items = [{"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{key}']"}} for key, path in files.items()]
    secrets = [{"secret": {"name": name, "items": [{"key": "value", "path": f"{name}/value"}]}} for name in _READS]
    return {
        "metadata": {
            "labels": dict(LABELS),
            "annotations": {
                "mlops/serving.json": Output.from_input(args.document),
                "mlops/allowed-signers": args.signers,
            },
        },
        "spec": {
            "serviceAccountName": NAME,
            "automountServiceAccountToken": False,
            "securityContext": {"fsGroup": USER, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": containers,
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "ray-logs", "emptyDir": {}},
                {"name": "state", "emptyDir": {}},
                {"name": "settings", "downwardAPI": {"items": items}},
                {"name": "secrets", "projected": {"sources": secrets, "defaultMode": 0o440}},
            ],
            **place,
        },
    }
