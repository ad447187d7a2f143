"""What every workload on the cluster finds there: namespaces, closed by default, storage, and operators."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Output
from pulumi_aws import eks
from pulumi_kubernetes import core, networking, storage

from components.cloud import Cloud
from components.cluster.charts import on_system_nodes, release, requests
from components.cluster.quotas import LEVELS, Quota
from components.component import Component
from components.workload import Peer, egress

DEFAULTS = {"cpu": "100m", "memory": "256Mi"}
"""What a container asks for that states nothing: the jobs of charts, which a quota would refuse otherwise."""
STORAGE_CLASS = "gp3"
"""Default class of volumes."""
WEBHOOK_PORTS = (8443, 9443, 10250)
"""Where the operators' webhooks listen, which the API server calls from its own subnets."""
OPERATORS = "platform"
"""Namespace of the operators."""


@dataclass(frozen=True, kw_only=True)
class FoundationsArgs:
    """What they are made with.

    Attributes:
        cloud: the environment.
        network_cidr: block of the network, from where the API server calls webhooks.
        disks_key: ARN of the key that encrypts volumes.
        quotas: what the pods of each namespace may ask for together.
    """

    cloud: Cloud
    network_cidr: str
    disks_key: pulumi.Input[str]
    quotas: Mapping[str, Quota]


class Foundations(Component):
    """Namespaces, storage class and operators."""

    ready: Sequence[pulumi.Resource]
    """What workloads wait for."""

    def __init__(self, name: str, args: FoundationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:Foundations", name, opts)
        self._spaces: dict[str, pulumi.Resource] = {}
        closed = [resource for space in LEVELS for resource in self._namespace(space, args)]
        opened = self._operators_reach(args.network_cidr)
        volumes = storage.v1.StorageClass(
            STORAGE_CLASS,
            metadata={
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            provisioner="ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true", "kmsKeyId": args.disks_key},
            allow_volume_expansion=True,
            reclaim_policy="Delete",
            # In the zone of the pod that asks for it.
            volume_binding_mode="WaitForFirstConsumer",
            opts=self.child(),
        )
        operators = [
            release(chart, space, values, self.child(depends_on=[*closed, *opened]))
            for chart, (space, values) in charts().items()
        ]
        self.ready = [*closed, *opened, volumes, *operators]
        self.register()

    def _namespace(self, space: str, args: FoundationsArgs) -> list[pulumi.Resource]:
        """A namespace with what bounds it. Whoever puts something into it waits for all of that."""
        level = LEVELS[space]
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
        made = core.v1.Namespace(space, metadata={"name": space, "labels": labels}, opts=self.child())
        self._spaces[space] = made
        inside = self.child(depends_on=[made])
        quota = core.v1.ResourceQuota(
            space,
            metadata={"name": "quota", "namespace": space},
            spec={"hard": args.quotas[space].document()},
            opts=inside,
        )
        limits = core.v1.LimitRange(
            space,
            metadata={"name": "defaults", "namespace": space},
            spec={
                "limits": [{"type": "Container", "defaultRequest": DEFAULTS, "default": {"memory": DEFAULTS["memory"]}}]
            },
            opts=inside,
        )
        closed = networking.v1.NetworkPolicy(
            space,
            metadata={"name": "closed", "namespace": space},
            # Nothing in, and out only to DNS and to the agent that hands out roles.
            spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": egress((), ())},
            opts=inside,
        )
        return [made, quota, limits, closed]

    def _operators_reach(self, network: str) -> list[pulumi.Resource]:
        """What the operators need: the API server and AWS by HTTPS, each other, and the API server's webhook calls."""
        anywhere = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443, "protocol": "TCP"}]}
        same: list[dict[str, Any]] = [{"podSelector": {}}]
        # The operator of Ray asks the heads of its clusters how far they are (dashboard, Serve).
        heads = [
            {
                "to": [Peer(namespace=space).document()],
                "ports": [{"port": port, "protocol": "TCP"} for port in (8265, 8000)],
            }
            for space in ("serving", "training")
        ]
        return [
            networking.v1.NetworkPolicy(
                "operators",
                metadata={"name": "operators", "namespace": OPERATORS},
                spec={
                    "podSelector": {},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [
                        {"from": same},
                        {
                            "from": [{"ipBlock": {"cidr": network}}],
                            "ports": [{"port": port, "protocol": "TCP"} for port in WEBHOOK_PORTS],
                        },
                    ],
                    "egress": [anywhere, {"to": same}, *heads],
                },
                opts=self.child(depends_on=[self._spaces[OPERATORS]]),
            )
        ]


def charts() -> dict[str, tuple[str, dict[str, Any]]]:
    """Namespace and values of the operators' charts, by chart."""
    small = requests("100m", "256Mi")
    system = on_system_nodes()
    return {
        "kuberay-operator": (
            OPERATORS,
            {
                "watchNamespace": ["serving", "training"],
                "featureGates": [
                    {"name": "RayClusterStatusConditions", "enabled": True},
                    {"name": "RayServiceIncrementalUpgrade", "enabled": True},
                ],
                "resources": requests("200m", "512Mi"),
                **system,
            },
        ),
        "envoy-gateway": (
            OPERATORS,
            {
                "deployment": {"envoyGateway": {"resources": requests("100m", "512Mi")}, "pod": system},
                # It runs before the gateway is installed, when there may be no other node yet.
                "certgen": {"job": {"resources": small, **system}},
            },
        ),
        "metrics-server": ("kube-system", {"replicas": 2, "resources": small, **system}),
    }


def kubeconfig(cloud: Cloud, cluster: eks.Cluster) -> Output[str]:
    """Configuration of clients of the cluster; a token is asked for each time, with the caller's own credentials."""

    def document(name: str, endpoint: str, authority: str) -> str:
        command = ["--region", cloud.region, "eks", "get-token", "--cluster-name", name, "--output", "json"]
        execute = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "aws",
            "args": command,
            "interactiveMode": "Never",
        }
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
                "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": authority}}],
                "users": [{"name": name, "user": {"exec": execute}}],
            }
        )

    authority = cluster.certificate_authority.apply(lambda found: found.data)
    made: Output[str] = Output.secret(
        Output.all(cluster.name, cluster.endpoint, authority).apply(lambda values: document(*values))
    )
    return made
