"""The configuration of serving, the same for every target: serving.json of replicas, control.json of the controller.

Their keys are those of `serving.config` and `serving.control.config`; what differs between targets is where things lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulumi import Input

from components.inference import InferenceArgs, Secret


@dataclass(frozen=True, kw_only=True)
class ServingPlace:
    """Where replicas find things.

    Attributes:
        ray: address and token of the cluster, for the actuator.
        http: host and port of predictions.
        control_url: address of the controller.
        replica_token: what replicas show to it.
        inference_token: what callers of predictions show.
        snapshot: path of the last known state.
        snapshot_key: key that signs it.
        model_cache: folder of fetched models.
        captures: folder of captured predictions.
        capture_store: object store that they are put into from there; None where the folder itself stays.
        trust: whose signatures make an artifact loadable.
        groups_declared: whether the cluster's own configuration deploys the groups.
    """

    ray: Mapping[str, Input[Any]]
    http: Mapping[str, Any]
    control_url: Input[str]
    replica_token: Secret
    inference_token: Secret
    snapshot: str
    snapshot_key: Secret
    model_cache: str
    captures: str
    trust: Mapping[str, Any]
    groups_declared: bool = False
    capture_store: str | None = None


@dataclass(frozen=True, kw_only=True)
class ControlPlace:
    """Where the controller finds things.

    Attributes:
        host: address that it listens on.
        port: port that it listens on.
        database: SQLAlchemy address of its database.
        snapshot: path of the last known state.
        snapshot_key: key that signs it.
        admin_token: what administrators show.
        replica_token: what replicas show.
        environment: name of the environment, in approvals and in the ledger.
        captures: where captured predictions lie, as `{"directory": …}` or `{"store": …}`; None where there
            are none, and then labels are refused.
        ledger: where its checkpoints are kept and what signs them, as `serving.control.config.LedgerConfig` reads it.
        trust: who must have approved, whose approvals count, and whether artifacts must be signed.
        drift_store: object store that alarms of drift are put into for who trains; None where nobody listens.
    """

    host: str
    port: int
    database: Secret
    snapshot: str
    snapshot_key: Secret
    admin_token: Secret
    replica_token: Secret
    environment: str
    captures: Mapping[str, str] | None
    ledger: Mapping[str, Any]
    trust: Mapping[str, Any]
    drift_store: str | None = None


def serving_document(args: InferenceArgs, place: ServingPlace) -> dict[str, Any]:
    """Return serving.json; its secrets are as they were given."""
    capture, limits = args.capture, args.limits
    return {
        "ray": dict(place.ray),
        "http": dict(place.http),
        "control": {"url": place.control_url, "token": place.replica_token},
        "registry": {
            "url": args.registry.url,
            "username": args.registry.username,
            "password": args.registry.password,
        },
        "trust": dict(place.trust),
        "inferenceToken": place.inference_token,
        "snapshot": place.snapshot,
        "snapshotKey": place.snapshot_key,
        "modelCache": place.model_cache,
        "groups": [group.document() for group in args.groups],
        "features": {
            "url": args.features.url,
            "token": args.features.token,
            "deadlineMs": args.features.deadline_ms,
        },
        "capture": {
            "enabled": capture.enabled,
            "directory": place.captures,
            "rotateSeconds": capture.rotate_seconds,
            "rotateRows": capture.rotate_rows,
            "retentionDays": capture.retention_days,
            "queueRows": capture.queue_rows,
        }
        | ({"store": place.capture_store} if place.capture_store else {}),
        "limits": {
            "maxBodyBytes": limits.max_body_bytes,
            "maxRows": limits.max_rows,
            "requestSeconds": limits.request_seconds,
        },
        "batching": {"maxRows": args.batching.max_rows, "waitMs": args.batching.wait_ms},
    } | ({"groupsDeclared": True} if place.groups_declared else {})


def control_document(args: InferenceArgs, place: ControlPlace) -> dict[str, Any]:
    """Return control.json; its secrets are as they were given."""
    return {
        "host": place.host,
        "port": place.port,
        "database": place.database,
        "snapshot": place.snapshot,
        "snapshotKey": place.snapshot_key,
        "adminToken": place.admin_token,
        "replicaToken": place.replica_token,
        "rolloutTimeoutSeconds": args.rollout_timeout_seconds,
        "environment": place.environment,
        "ledger": dict(place.ledger),
        "captures": {**place.captures, "retentionDays": args.capture.retention_days}
        if args.capture.enabled and place.captures
        else None,
        "driftStore": place.drift_store,
    } | dict(place.trust)
