"""How a stack of releases reaches the rollout controller on Kubernetes: through the service proxy of its API server.

A private platform needs no opening for it: whoever may talk to the API server may be let through to this one service,
and to nothing else. Two things are asked of a caller: to be of the group `mlops:releases` (or an administrator), and to
know the controller's own token, in a header of its own, since the API server takes `Authorization` for itself.
"""

from __future__ import annotations

import pulumi
from pulumi_kubernetes import rbac

from components.component import Component

GROUP = "mlops:releases"
"""Group of the cluster's users that may talk to the controller."""
_NAME = "releases"
"""Name of role and binding."""


def proxied(service: str, port: int) -> str:
    """Name of a service for its API server's proxy, as paths and rules of access spell it."""
    return f"{service}:{port}"


def proxy_path(namespace: str, service: str, port: int) -> str:
    """Path below the API server's address at which a service answers."""
    return f"/api/v1/namespaces/{namespace}/services/{proxied(service, port)}/proxy"


def rules(service: str, port: int) -> list[dict[str, list[str]]]:
    """What who releases may do on the cluster: get, post, put and delete what is behind one service's proxy."""
    return [
        {
            "apiGroups": [""],
            "resources": ["services/proxy"],
            "resourceNames": [proxied(service, port)],
            "verbs": ["get", "create", "update", "delete"],
        }
    ]


def role_reference() -> dict[str, str]:
    """The role that they have."""
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": _NAME}


def subjects() -> list[dict[str, str]]:
    """Who they are."""
    return [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}]


class ReleaseAccess(Component):
    """The right to talk to one service by the proxy, and who has it."""

    def __init__(
        self, name: str, namespace: str, service: str, port: int, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("mlops:inference:ReleaseAccess", name, opts)
        meta = {"name": _NAME, "namespace": namespace}
        role = rbac.v1.Role(_NAME, metadata=meta, rules=rules(service, port), opts=self.child())
        rbac.v1.RoleBinding(
            _NAME, metadata=meta, role_ref=role_reference(), subjects=subjects(), opts=self.child(depends_on=[role])
        )
        self.register()
