"""What every Ray cluster on Kubernetes has in common: version, ports, variables, probes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RAY_VERSION = "2.60.0"
"""Of the images; a test holds it against the lock."""
METRICS, DASHBOARD, AGENT = 8080, 8265, 52365
OBJECT_STORE_MB = 256
"""Shared memory of a node; predictions and steps of training do not go through it."""

ENVIRONMENT: Mapping[str, str] = {
    "HOME": "/tmp",  # noqa: S108 - the pod's own
    "PYTHONPATH": "/app",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_GRAFANA_HOST": "DISABLED",
}
"""Variables of every container of a cluster."""


def probe(path: str, port: int, *, period: int, failures: int) -> dict[str, Any]:
    """A probe by HTTP, every `period` seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 4,
        "failureThreshold": failures,
    }


def head_probes() -> dict[str, Any]:
    """Probes of the container of a head."""
    path = "/api/gcs_healthz"
    return {
        "startupProbe": probe(path, DASHBOARD, period=5, failures=60),
        "readinessProbe": probe(path, DASHBOARD, period=5, failures=3),
        "livenessProbe": probe(path, DASHBOARD, period=10, failures=12),
    }


def object_store() -> dict[str, str]:
    """Parameter of `ray start` that bounds the shared memory."""
    return {"object-store-memory": str(OBJECT_STORE_MB * 1024 * 1024)}
