"""Helm releases in a rehearsal: recorded as Helm records them, never rendered, since charts are not reachable.

The record is a Secret in the release's namespace, so that a release that was forgotten shows among the leftovers.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Any

from infra.provider.codec import UNKNOWN, Properties, is_known, plain
from infra.provider.resource import ResourceError
from infra.rehearsal.kubernetes.client import ApiError, Client, Kind, Object

TOKEN = "kubernetes:helm.sh/v3:Release"  # noqa: S105 - a type token

INPUTS = frozenset(
    (
        "allowNullValues",
        "atomic",
        "chart",
        "cleanupOnFail",
        "compat",
        "createNamespace",
        "dependencyUpdate",
        "description",
        "devel",
        "disableCRDHooks",
        "disableOpenapiValidation",
        "disableWebhooks",
        "forceUpdate",
        "keyring",
        "lint",
        "manifest",
        "maxHistory",
        "name",
        "namespace",
        "postrender",
        "recreatePods",
        "renderSubchartNotes",
        "replace",
        "repositoryOpts",
        "resetValues",
        "resourceNames",
        "reuseValues",
        "skipAwait",
        "skipCrds",
        "takeOwnership",
        "timeout",
        "valueYamlFiles",
        "values",
        "verify",
        "version",
        "waitForJobs",
    )
)
_REPOSITORY = frozenset({"caFile", "certFile", "keyFile", "password", "repo", "username"})
_SECRET = Kind("v1", "Secret", "secrets", True, frozenset())
_NAMESPACE = Kind("v1", "Namespace", "namespaces", False, frozenset())
_KEY = "release"


@dataclass(frozen=True)
class Chart:
    """A release that was recorded and not rendered.

    Attributes:
        release: Name of the release.
        namespace: Where it would be installed.
        chart: The chart.
        version: Its version, empty where the program pins none.
        repository: Where it would come from.
    """

    release: str
    namespace: str
    chart: str
    version: str
    repository: str


def check(inputs: Properties, old: Properties, name: str, namespace: str) -> tuple[Properties, list[str]]:
    """Return the inputs with name and namespace, and what is wrong."""
    problems = [
        f"{key}: a Release has no such property; it has {', '.join(sorted(INPUTS))}" for key in inputs.keys() - INPUTS
    ]
    chart = plain(inputs.get("chart"))
    if not chart:
        problems.append("chart: must be given")
    options = plain(inputs.get("repositoryOpts")) or {}
    if isinstance(options, dict):
        allowed = ", ".join(sorted(_REPOSITORY))
        problems += [f"repositoryOpts.{key}: unknown; allowed are {allowed}" for key in options.keys() - _REPOSITORY]
        if isinstance(chart, str) and chart and not options.get("repo") and "/" not in chart:
            problems.append(f"repositoryOpts.repo: must be given, since {chart} is no path and no address")
    values = plain(inputs.get("values"))
    if values is not None and is_known(values) and not isinstance(values, dict):
        problems.append("values: must be an object")
    kept = old.get("name") if not inputs.get("name") else None
    return {"namespace": namespace, **inputs, "name": inputs.get("name") or kept or name}, problems


def outputs(inputs: Properties, revision: int | None) -> Properties:
    """Return what a release shows; its resources are not known, since nothing is rendered."""
    status = {
        "name": inputs["name"],
        "namespace": inputs["namespace"],
        "chart": inputs.get("chart"),
        "version": inputs.get("version"),
        "revision": UNKNOWN if revision is None else revision,
        "status": "deployed",
    }
    return {**inputs, "status": status, "resourceNames": {}}


def put(client: Client, inputs: Properties) -> int:
    """Record a release or another revision of it, and return the revision.

    Raises:
        ResourceError: Its namespace is not there and it does not make it.
        ApiError: The server refused the record.
    """
    inputs = plain(inputs)
    namespace, name = inputs["namespace"], inputs["name"]
    if client.get(_NAMESPACE, None, namespace) is None:
        if not inputs.get("createNamespace"):
            raise ResourceError(f"namespace {namespace} is not there; make it first, or set createNamespace")
        client.apply(_NAMESPACE, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    recorded = find(client, namespace, name)
    revision = recorded["revision"] + 1 if recorded else 1
    content = {"inputs": inputs, "revision": revision, "time": time.time()}
    labels = {"owner": "helm", "name": name, "status": "deployed"}
    client.apply(
        _SECRET,
        namespace,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _record(name), "namespace": namespace, "labels": labels},
            "type": "helm.sh/release.v1",
            "data": {_KEY: base64.b64encode(json.dumps(content).encode()).decode()},
        },
        force=True,
    )
    return revision


def find(client: Client, namespace: str, name: str) -> Any:
    """Return what was recorded of a release (`inputs`, `revision`), or None."""
    record = client.get(_SECRET, namespace, _record(name))
    return _content(record) if record else None


def remove(client: Client, namespace: str, name: str) -> None:
    """Forget a release; one that is gone is no error."""
    try:
        client.delete(_SECRET, namespace, _record(name))
    except ApiError as error:
        if error.status != 404:
            raise


def not_rendered(client: Client) -> list[Chart]:
    """Return every release that the rehearsal recorded, for its report."""
    found = []
    for record in client.list(_SECRET):
        if record.get("type") == "helm.sh/release.v1":
            inputs = _content(record)["inputs"]
            found.append(
                Chart(
                    inputs["name"],
                    inputs["namespace"],
                    str(inputs.get("chart", "")),
                    str(inputs.get("version") or ""),
                    str((inputs.get("repositoryOpts") or {}).get("repo", "")),
                )
            )
    return sorted(found, key=lambda chart: (chart.namespace, chart.release))


def _record(name: str) -> str:
    return f"sh.helm.release.v1.{name}"


def _content(record: Object) -> Any:
    return json.loads(base64.b64decode(record["data"][_KEY]))
