"""A server of the platform on Kubernetes: Deployment, Service, ServiceAccount, disruption budget and network policy.

Every server is made here, so that all of them run without root and without a writable root disk, ask for what they
use, survive the loss of a node, and hear only from whom they must: namespaces refuse all other traffic by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi import Input, Output
from pulumi_kubernetes import apps, core, networking
from pulumi_kubernetes import policy as disruption

from components.component import Component

USER = 10001
"""User and group of our images; not root."""
METRICS_NAMESPACE = "monitoring"
"""Where Prometheus asks from."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a pod asks for, and is held to: CPUs, memory in GiB, GPUs."""

    cpus: float
    memory_gib: float
    gpus: int = 0

    def document(self) -> dict[str, dict[str, str]]:
        """Requests and limits. No limit of CPU: throttling costs latency, and requests share it fairly already.

        Quantities have Kubernetes' canonical form, the largest suffix that leaves a whole number: an operator that
        writes an object back writes that form, and would own what it so changed.
        """
        memory = _quantity(round(self.memory_gib * 1024), 1024, ("Mi", "Gi", "Ti"))
        cpus = _quantity(round(self.cpus * 1000), 1000, ("m", "", "k"))
        gpus = {"nvidia.com/gpu": str(self.gpus)} if self.gpus else {}
        return {"requests": {"cpu": cpus, "memory": memory} | gpus, "limits": {"memory": memory} | gpus}


def _quantity(number: int, step: int, suffixes: Sequence[str]) -> str:
    """Write a positive number of the first suffix's unit with the largest suffix that leaves it whole."""
    *smaller, largest = suffixes
    for suffix in smaller:
        if number % step:
            return f"{number}{suffix}"
        number //= step
    return f"{number}{largest}"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Pods that may talk to a server: of a namespace, or those with labels in it."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The peer as a network policy names it."""
        named = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}}
        return named | ({"podSelector": {"matchLabels": dict(self.labels)}} if self.labels else {})


@dataclass(frozen=True, kw_only=True)
class WorkloadArgs:
    """What a server is made with.

    Attributes:
        namespace: where it runs.
        image: image by digest.
        command: command and arguments.
        port: where it listens.
        replicas: how many; from two on they are spread over zones and one may be missing.
        resources: what a pod asks for.
        health: path that answers 200 when it is ready.
        environment: variables.
        secret_environment: variables from secrets of the namespace: variable → (secret, key).
        files: configuration files: path → content; no secrets.
        secret_files: mounted secrets: folder → secret.
        scratch: folders that it may write to, lost with the pod.
        single: whether two at once would be wrong: the old one then ends before the new one starts.
        callers: who may talk to it.
        caller_blocks: blocks of addresses that may talk to it besides, such as those of the API server's interfaces.
        calls: CIDR blocks and ports that it may talk to besides DNS and its own namespace.
        calls_peers: pods of other namespaces that it may talk to, with the port.
        metrics: whether Prometheus may ask it (same port, `/metrics`).
        labels: labels of its pods besides its name.
    """

    namespace: str
    image: Input[str]
    command: Sequence[str]
    port: int
    replicas: int
    resources: Resources
    health: str
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    secret_environment: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    files: Mapping[str, Input[str]] = field(default_factory=dict)
    secret_files: Mapping[str, str] = field(default_factory=dict)
    scratch: Sequence[str] = ("/tmp",)  # noqa: S108 - a folder of the pod's own
    single: bool = False
    callers: Sequence[Peer] = ()
    caller_blocks: Sequence[str] = ()
    calls: Sequence[tuple[str, int]] = ()
    calls_peers: Sequence[tuple[Peer, int]] = ()
    metrics: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


class Workload(Component):
    """One server."""

    url: Output[str]
    """Its address inside the cluster."""
    service_account: Output[str]
    """Name of its service account, which its cloud role is bound to."""

    def __init__(self, name: str, args: WorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:kubernetes:Workload", name, opts)
        selector = {"app.kubernetes.io/name": name}
        meta = {"name": name, "namespace": args.namespace, "labels": selector}
        account = core.v1.ServiceAccount(name, metadata=meta, automount_service_account_token=False, opts=self.child())
        mounted = self._files(name, args, meta)
        core.v1.Service(
            name,
            metadata=meta,
            spec={
                "selector": selector,
                "ports": [{"name": "http", "port": args.port, "target_port": args.port, "protocol": "TCP"}],
            },
            opts=self.child(),
        )
        self._policy(name, args, selector)
        if args.replicas > 1:
            disruption.v1.PodDisruptionBudget(
                name,
                metadata=meta,
                spec={"max_unavailable": 1, "selector": {"match_labels": selector}},
                opts=self.child(),
            )
        apps.v1.Deployment(
            name,
            metadata=meta,
            spec={
                "replicas": args.replicas,
                "selector": {"match_labels": selector},
                "strategy": {"type": "Recreate"}
                if args.single
                else {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 0, "max_surge": 1}},
                "template": {
                    "metadata": {"labels": selector | dict(args.labels), "annotations": mounted.annotations},
                    "spec": pod(name, args, mounted),
                },
            },
            opts=self.child(depends_on=[account]),
        )
        self.register(url=f"http://{name}.{args.namespace}.svc:{args.port}", service_account=account.metadata.name)

    def _files(self, name: str, args: WorkloadArgs, meta: Mapping[str, Any]) -> _Mounted:
        mounted = _Mounted()
        if args.files:
            keys = {path.strip("/").replace("/", "."): content for path, content in args.files.items()}
            core.v1.ConfigMap(name, metadata=meta, data=keys, opts=self.child())
            mounted.volumes.append({"name": "files", "configMap": {"name": name}})
            for path in args.files:
                key = path.strip("/").replace("/", ".")
                mounted.mounts.append({"name": "files", "mountPath": path, "subPath": key, "readOnly": True})
            digest = Output.json_dumps(keys).apply(_digest)
            mounted.annotations["mlops/files"] = digest
        for number, (folder, secret) in enumerate(args.secret_files.items()):
            mounted.volumes.append({"name": f"secret-{number}", "secret": {"secretName": secret, "defaultMode": 0o440}})
            mounted.mounts.append({"name": f"secret-{number}", "mountPath": folder, "readOnly": True})
        for number, folder in enumerate(args.scratch):
            mounted.volumes.append({"name": f"scratch-{number}", "emptyDir": {}})
            mounted.mounts.append({"name": f"scratch-{number}", "mountPath": folder})
        return mounted

    def _policy(self, name: str, args: WorkloadArgs, selector: Mapping[str, str]) -> None:
        peers = [*args.callers, *([Peer(namespace=METRICS_NAMESPACE)] if args.metrics else [])]
        callers = [peer.document() for peer in peers]
        callers += [{"ipBlock": {"cidr": block}} for block in args.caller_blocks]
        networking.v1.NetworkPolicy(
            name,
            metadata={"name": name, "namespace": args.namespace},
            spec={
                "pod_selector": {"match_labels": dict(selector)},
                "policy_types": ["Ingress", "Egress"],
                "ingress": [
                    {
                        "from": callers,
                        "ports": [{"port": args.port, "protocol": "TCP"}],
                    }
                ]
                if callers
                else [],
                "egress": egress(args.calls, args.calls_peers),
            },
            opts=self.child(),
        )


@dataclass
class _Mounted:
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[str, Input[str]] = field(default_factory=dict)


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:16]


def egress(calls: Sequence[tuple[str, int]], peers: Sequence[tuple[Peer, int]]) -> list[dict[str, Any]]:
    """Where a pod may talk to: DNS, the agent that hands out its cloud role, and what is named."""
    dns = {
        "to": [Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"}).document()],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }
    # Address of the EKS Pod Identity agent on every node, from the EKS user guide.
    identity = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"port": 80, "protocol": "TCP"}]}
    blocks = [
        {"to": [{"ipBlock": {"cidr": block}}], "ports": [{"port": port, "protocol": "TCP"}]} for block, port in calls
    ]
    pods = [{"to": [peer.document()], "ports": [{"port": port, "protocol": "TCP"}]} for peer, port in peers]
    return [dns, identity, *blocks, *pods]


def security_context() -> dict[str, Any]:
    """Security context of a container that the Pod Security level `restricted` admits."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def spread(selector: Mapping[str, str]) -> list[dict[str, Any]]:
    """Spread of pods: over zones when they can be, over nodes when possible."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(selector)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def pod(name: str, args: WorkloadArgs, mounted: _Mounted) -> dict[str, Any]:
    """Specification of the pods of a server."""

    def probe(**timing: int) -> dict[str, Any]:
        return {"httpGet": {"path": args.health, "port": args.port}, **timing}

    secrets = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for variable, (secret, key) in sorted(args.secret_environment.items())
    ]
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": USER, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": spread({"app.kubernetes.io/name": name}),
        "terminationGracePeriodSeconds": 60,
        "containers": [
            {
                "name": name,
                "image": args.image,
                "command": list(args.command),
                "ports": [{"name": "http", "containerPort": args.port, "protocol": "TCP"}],
                "env": [{"name": key, "value": value} for key, value in sorted(args.environment.items())] + secrets,
                "resources": args.resources.document(),
                "securityContext": security_context(),
                "startupProbe": probe(periodSeconds=5, failureThreshold=60),
                "readinessProbe": probe(periodSeconds=5, failureThreshold=3),
                "livenessProbe": probe(periodSeconds=10, failureThreshold=6),
                "volumeMounts": mounted.mounts,
            }
        ],
        "volumes": mounted.volumes,
    }
