"""How those outside of the cluster reach one service in it: through the service proxy of its API server.

A private platform needs no opening for it: whoever may talk to the API server may be let through to one service, and to
nothing else. Two things are asked of a caller: to be of a group that is bound to that service (or an administrator),
and to know what the service itself asks for, in a header of its own (`x-mlops-authorization`), since the API server
takes `Authorization` for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes import rbac

from components.component import Component

RELEASES = "mlops:releases"
"""Group of the cluster's users that may talk to the rollout controller."""
TRAINING = "mlops:training"
"""Group of those that train outside of the cluster, and may talk to the registry."""


@dataclass(frozen=True, kw_only=True)
class ServiceAccessArgs:
    """Who may talk to which service.

    Attributes:
        name: name of role and binding.
        group: who may.
        namespace: where the service is.
        service: its name.
        port: where it listens.
        verbs: what may be asked: get (GET, HEAD), create (POST), update (PUT), patch, delete.
    """

    name: str
    group: str
    namespace: str
    service: str
    port: int
    verbs: Sequence[str] = ("get", "create", "update", "delete")

    @property
    def proxied(self) -> str:
        """Name of the service for its API server's proxy, as paths and rules of access spell it."""
        return f"{self.service}:{self.port}"

    def rules(self) -> list[dict[str, list[str]]]:
        """What they may do on the cluster: ask what is behind one service's proxy."""
        return [
            {
                "apiGroups": [""],
                "resources": ["services/proxy"],
                "resourceNames": [self.proxied],
                "verbs": list(self.verbs),
            }
        ]

    def role_reference(self) -> dict[str, str]:
        """The role that they have."""
        return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": self.name}

    def subjects(self) -> list[dict[str, str]]:
        """Who they are."""
        return [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": self.group}]


def proxy_path(namespace: str, service: str, port: int) -> str:
    """Path below the API server's address at which a service answers."""
    return f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy"


def releasing(namespace: str, service: str, port: int) -> ServiceAccessArgs:
    """Who releases may talk to the rollout controller."""
    return ServiceAccessArgs(name="releases", group=RELEASES, namespace=namespace, service=service, port=port)


def registering(namespace: str, service: str, port: int) -> ServiceAccessArgs:
    """Who trains outside of the cluster may talk to the registry, whose API has PATCH too."""
    verbs = ("get", "create", "update", "patch", "delete")
    return ServiceAccessArgs(
        name="training", group=TRAINING, namespace=namespace, service=service, port=port, verbs=verbs
    )


class ServiceAccess(Component):
    """The right to talk to one service by the proxy, and who has it."""

    def __init__(self, name: str, args: ServiceAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:ServiceAccess", name, opts)
        meta = {"name": args.name, "namespace": args.namespace}
        role = rbac.v1.Role(args.name, metadata=meta, rules=args.rules(), opts=self.child())
        rbac.v1.RoleBinding(
            args.name,
            metadata=meta,
            role_ref=args.role_reference(),
            subjects=args.subjects(),
            opts=self.child(depends_on=[role]),
        )
        self.register()
