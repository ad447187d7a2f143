"""What the API server holds, as the players and the readings ask for it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from infra.rehearsal.deep.dashboard import Head
from infra.rehearsal.kubernetes.client import Client, Kind, Object

_CLUSTER_LABEL, _NODE_LABEL = "ray.io/cluster", "ray.io/node-type"
_TOKEN_KEY = "auth_token"  # noqa: S105 - the key's name


class ClusterView:
    """Lists objects by kind; a kind that the server does not know has none.

    Args:
        client: client of the API server, which may look at everything.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def kind(self, api_version: str, name: str) -> Kind:
        """Return a kind that must be there."""
        found = self.client.kind(api_version, name)
        assert found is not None, f"the API server does not know {api_version} {name}"
        return found

    def all(self, api_version: str, name: str) -> list[Object]:
        """Return all objects of a kind."""
        return list(self.client.list(self.kind(api_version, name)))

    def get(self, api_version: str, name: str, namespace: str | None, called: str) -> Object | None:
        """Return an object, or None where there is none."""
        return self.client.get(self.kind(api_version, name), namespace, called)

    def write_status(self, api_version: str, name: str, item: Object, status: Object) -> bool:
        """Write a status where it differs; return whether it did."""
        if item.get("status") == status:
            return False
        metadata = item["metadata"]
        path = f"{self.kind(api_version, name).path(metadata.get('namespace'))}/{metadata['name']}/status"
        self.client.request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")
        return True

    def head(self, namespace: str, service: str, port: int) -> Head | str:
        """Find the head of a Ray cluster behind a Service and a port; a text says why there is none."""
        found = self.get("v1", "Service", namespace, service)
        if found is None:
            return f"there is no Service {namespace}/{service}"
        if all(one["port"] != port for one in found["spec"].get("ports") or ()):
            return f"Service {namespace}/{service} has no port {port}"
        pods = [pod for pod in self.client.list(self.kind("v1", "Pod"), namespace) if ready(pod)]
        if not any(_matches(pod, found["spec"].get("selector") or {}) for pod in pods):
            return f"no ready pod is behind Service {namespace}/{service}"
        name = (found["spec"].get("selector") or {}).get(_CLUSTER_LABEL, "")
        cluster = self.get("ray.io/v1", "RayCluster", namespace, name)
        if cluster is None:
            return f"there is no RayCluster {namespace}/{name}"
        workers = [pod for pod in pods if _matches(pod, {_CLUSTER_LABEL: name, _NODE_LABEL: "worker"})]
        return Head(f"{namespace}/{name}", self._token(namespace, cluster), len(workers))

    def _token(self, namespace: str, cluster: Object) -> str | None:
        options = cluster["spec"].get("authOptions") or {}
        if options.get("mode") != "token":
            return None
        secret = self.get("v1", "Secret", namespace, options.get("secretName") or cluster["metadata"]["name"])
        try:
            return base64.b64decode(((secret or {}).get("data") or {}).get(_TOKEN_KEY, "")).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""


def ready(pod: Object) -> bool:
    """Whether a pod is ready and stays."""
    conditions: Sequence[Object] = (pod.get("status") or {}).get("conditions") or ()
    stays = not pod["metadata"].get("deletionTimestamp")
    return stays and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _matches(pod: Object, selector: Object) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())
