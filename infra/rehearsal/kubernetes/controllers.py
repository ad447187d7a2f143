"""What the controller manager would do and a rehearsal cannot go without: there is none beside the API server.

Namespaces never end by themselves, volumes claimed keep a protecting finalizer, and a quota refuses everything until
somebody has counted. Here the stand-in does these three, at once and for the object at hand only. In a deep rehearsal
the real controller manager does them, and the stand-in waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

from infra.rehearsal.kubernetes.client import ApiError, Client, Kind, Object

REAL = "MLOPS_REHEARSAL_CONTROLLERS"
"""Variable by which the stand-in knows that real controllers are there."""

_GONE_SECONDS = 15.0
_GONE_BY_CONTROLLERS_SECONDS = 300.0
_COUNTED_SECONDS = 15.0
_POLL_SECONDS = 0.05
_COUNTING = threading.Lock()
"""The engine deletes many objects at a time: who counts later must not be overwritten by who began before."""
_PROTECTING = frozenset({"kubernetes.io/pvc-protection", "kubernetes.io/pv-protection", "foregroundDeletion", "orphan"})


def real() -> bool:
    """Whether real controllers act on what the API server holds."""
    return bool(os.environ.get(REAL))


def delete(client: Client, kind: Kind, namespace: str | None, name: str, propagation: str = "Background") -> list[str]:
    """Delete an object and wait until it is gone.

    Returns:
        What was deleted with it, as `Kind name`: the content of a namespace.

    Raises:
        ApiError: The server refused, or finalizers keep the object, whose controllers are not there.
    """
    if not client.delete(kind, namespace, name, propagation):
        return []
    if real():
        _wait_until_gone(client, kind, namespace, name, _GONE_BY_CONTROLLERS_SECONDS, release=False)
        return []
    with_it = list(_end_namespace(client, name)) if kind.name == "Namespace" and kind.api_version == "v1" else []
    _wait_until_gone(client, kind, namespace, name, _GONE_SECONDS, release=True)
    if namespace:
        count_quotas(client, namespace)
    return with_it


def _wait_until_gone(
    client: Client, kind: Kind, namespace: str | None, name: str, seconds: float, *, release: bool
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = client.get(kind, namespace, name)
        if found is None:
            break
        finalizers = found["metadata"].get("finalizers", [])
        if release and finalizers and set(finalizers) <= _PROTECTING:
            _release(client, kind, namespace, name)
        if time.monotonic() > deadline:
            raise ApiError(
                409, "Conflict", f"{kind.name} {name} is not gone: its finalizers {finalizers} wait for a controller"
            )
        time.sleep(_POLL_SECONDS)


def _release(client: Client, kind: Kind, namespace: str | None, name: str) -> None:
    _patch(client, f"{kind.path(namespace)}/{name}", {"metadata": {"finalizers": None}})


def _patch(client: Client, path: str, body: Object) -> None:
    """Change an object, if it is still there: another call may have deleted it since it was read."""
    try:
        client.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    except ApiError as error:
        if error.status != 404:
            raise


def _end_namespace(client: Client, name: str) -> Iterator[str]:
    """Delete what a namespace holds and let it go, as the namespace controller would."""
    for kind in client.kinds():
        if not kind.namespaced or kind.name == "Event":
            continue
        for item in client.list(kind, name):
            if client.delete(kind, name, item["metadata"]["name"]):
                if item["metadata"].get("finalizers"):
                    _release(client, kind, name, item["metadata"]["name"])
                yield f"{kind.name} {item['metadata']['name']}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}}
    try:
        client.request("PUT", f"/api/v1/namespaces/{name}/finalize", body=body)
    except ApiError as error:
        if error.status != 404:
            raise


def count_quotas(client: Client, namespace: str) -> None:
    """Count what the quotas of a namespace limit, as the quota controller would. No pod runs, so they use nothing.

    Where the real one is there, wait until it has counted: until then a quota refuses every pod.
    """
    kind = client.kind("v1", "ResourceQuota")
    assert kind is not None
    if real():
        deadline = time.monotonic() + _COUNTED_SECONDS
        while any(not (quota.get("status") or {}).get("used") for quota in client.list(kind, namespace)):
            if time.monotonic() > deadline:
                return
            time.sleep(_POLL_SECONDS)
        return
    with _COUNTING:
        for quota in client.list(kind, namespace):
            hard = quota["spec"].get("hard", {})
            used = {limit: str(_count(client, namespace, limit)) for limit in hard}
            if quota.get("status") != {"hard": hard, "used": used}:
                path = f"{kind.path(namespace)}/{quota['metadata']['name']}/status"
                _patch(client, path, {"status": {"hard": hard, "used": used}})


def _count(client: Client, namespace: str, limit: str) -> int:
    plural, _, group = limit.removeprefix("count/").partition(".")
    for kind in client.kinds():
        if kind.namespaced and (kind.plural, kind.api_version.rpartition("/")[0]) == (plural, group):
            return sum(1 for _ in client.list(kind, namespace))
    return 0


def pod_templates(target_kind: str, body: Object) -> Iterator[tuple[str, Object]]:
    """Yield the pods that a workload's controller would make, each with where its template is."""
    spec = body.get("spec") or {}
    match target_kind:
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet":
            yield "spec.template", spec.get("template") or {}
        case "CronJob":
            job = (spec.get("jobTemplate") or {}).get("spec") or {}
            yield "spec.jobTemplate.spec.template", job.get("template") or {}
        case "RayCluster" | "RayService" | "RayJob":
            name = {"RayCluster": "", "RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}[target_kind]
            cluster = (spec.get(name) or {}) if name else spec
            where = f"spec.{name}" if name else "spec"
            yield f"{where}.headGroupSpec.template", (cluster.get("headGroupSpec") or {}).get("template") or {}
            for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
                yield f"{where}.workerGroupSpecs[{index}].template", group.get("template") or {}
            if spec.get("submitterPodTemplate"):
                yield "spec.submitterPodTemplate", spec["submitterPodTemplate"]


def refused_pods(client: Client, target_kind: str, body: Object, namespace: str) -> list[str]:
    """Return why pods of a workload would not be admitted to its namespace: Pod Security, quotas, limit ranges.

    A controller would learn that only after the workload was accepted, and then try forever.
    """
    kind = client.kind("v1", "Pod")
    assert kind is not None
    found = []
    for where, template in pod_templates(target_kind, body):
        metadata = template.get("metadata") or {}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "rehearsed",
                "namespace": namespace,
                "labels": metadata.get("labels") or {},
                "annotations": metadata.get("annotations") or {},
            },
            "spec": template.get("spec") or {},
        }
        if target_kind in ("Job", "CronJob", "RayJob"):
            pod["spec"] = {"restartPolicy": "Never", **(template.get("spec") or {})}
        try:
            client.create(kind, namespace, pod, dry_run=True)
        except ApiError as error:
            if error.status == 404:  # the namespace is not there yet
                return []
            found.append(f"{where}: its pods would be refused: {error}")
    return found
