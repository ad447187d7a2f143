"""A service on the API server of a rehearsal, which others reach by its proxy: with a pod that a tunnel stands for."""

from __future__ import annotations

from typing import Any

from components.cluster.service_access import ServiceAccessArgs
from infra.rehearsal.kubernetes.api_server import ApiServer

_POD = "10.255.0.10"
"""Address of the pod that the tunnel stands for: of no network that a stack may have."""
_RBAC = "rbac.authorization.k8s.io/v1"


def publish(server: ApiServer, access: ServiceAccessArgs) -> None:
    """Put a service onto the cluster with one pod, and who may talk to it by the proxy."""
    meta = {"name": access.service, "namespace": access.namespace}
    rights = {"name": access.name, "namespace": access.namespace}
    target = {"kind": "Pod", **meta}
    ports = [{"name": "http", "port": access.port}]
    container = {"name": access.service, "image": access.service}
    # The proxy goes by these, and only to addresses that are a pod's.
    subsets = [{"addresses": [{"ip": _POD, "targetRef": target}], "ports": ports}]
    binding = {"roleRef": access.role_reference(), "subjects": access.subjects()}
    objects: list[tuple[str, str, dict[str, Any]]] = [
        ("v1", "Namespace", {"metadata": {"name": access.namespace}}),
        ("v1", "Service", {"metadata": meta, "spec": {"ports": ports}}),
        ("v1", "Pod", {"metadata": meta, "spec": {"containers": [container]}}),
        ("v1", "Endpoints", {"metadata": meta, "subsets": subsets}),
        (_RBAC, "Role", {"metadata": rights, "rules": access.rules()}),
        (_RBAC, "RoleBinding", {"metadata": rights, **binding}),
    ]
    client = server.client
    for version, name, body in objects:
        kind = client.kind(version, name)
        assert kind is not None
        namespace = access.namespace if kind.namespaced else None
        client.apply(kind, namespace, {"apiVersion": version, "kind": name, **body})
    path = f"/api/v1/namespaces/{access.namespace}/pods/{access.service}"
    pod = client.request("GET", path)
    pod["status"] = {"phase": "Running", "podIP": _POD, "podIPs": [{"ip": _POD}]}
    client.request("PUT", f"{path}/status", body=pod)
