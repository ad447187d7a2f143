"""Inference on AWS: the secrets of serving, its image out of the environment's own repository, and Kubernetes' part.

The database is that of the registry: the tables of controller and ledger lie beside MLflow's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input, Output
from pulumi_kubernetes import apiextensions

from components.buckets import Bucket, BucketArgs
from components.cloud import Cloud
from components.inference import FeatureAccess, Inference, InferenceArgs, RegistryAccess, secret_file
from components.inference.kubernetes import KubernetesInference, KubernetesInferenceArgs, ServingSection
from components.inference.ray_service import NAMESPACE, secret_path
from components.pipelines import drift
from components.registry.database import NAME as DATABASE
from components.registry.database import PORT as DATABASE_PORT
from components.registry.images import reference
from components.secrets import FIELD, REFRESH, STORE, Secret, SecretArgs

WHAT = {
    "control-admin": "Admin token of the rollout controller",
    "control-replica": "What replicas show to the rollout controller",
    "inference-token": "What replicas ask for; the gateway adds it to requests that it lets through",
    "ledger-key": "Key that signs checkpoints of the ledger, in the form of a secret",
    "ray-token": "Token of the Ray cluster of serving",
    "snapshot-key": "Signs what replicas read when the rollout controller is away",
}
"""Secrets of serving, and what each opens."""
CAPTURES = "captures"
"""Purpose of the bucket that captures are put into, and prefix of theirs in it."""
CHECKPOINTS = "ledger"
"""Prefix of the ledger's checkpoints in the audit bucket."""
OLD_CAPTURES_DAYS = 7
"""Captures that were deleted by hand can be brought back this long, days."""


@dataclass(frozen=True, kw_only=True)
class AwsInferenceArgs(InferenceArgs):
    """What inference on AWS needs besides.

    Attributes:
        cloud: the environment.
        environment: its name.
        section: the settings.
        digest: digest of the serving image; None makes the secrets and nothing that needs an image.
        network_cidr: block of the network.
        control_cidrs: blocks of the API server's interfaces.
        secrets_key: ARN of the key that encrypts secrets.
        data_key: ARN of the key that encrypts captures.
        database_host: host name of the database.
        database_secret: ARN of the secret that holds its user name and password, as JSON.
        ready: what gives the pods their roles, and secrets their way into the namespace.
        retrained: whether something here trains a model anew when its drift is told.
    """

    cloud: Cloud
    environment: str
    section: ServingSection
    digest: str | None
    network_cidr: str
    control_cidrs: Sequence[str]
    secrets_key: Input[str]
    data_key: Input[str]
    database_host: Input[str]
    database_secret: Input[str]
    ready: Sequence[pulumi.Resource] = ()
    retrained: bool = False


def registry_access(url: Input[str], username: Input[str]) -> RegistryAccess:
    """How replicas fetch models, with the registry's password as it is mounted."""
    return RegistryAccess(url=url, username=username, password=secret_file(secret_path("registry-password")))


def feature_access(url: Input[str], deadline_ms: int) -> FeatureAccess:
    """How replicas look features up, with the token as it is mounted."""
    return FeatureAccess(url=url, token=secret_file(secret_path("features-token")), deadline_ms=deadline_ms)


class AwsInference(Inference):
    """Serving on EKS."""

    def __init__(self, name: str, args: AwsInferenceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:inference:AwsInference", name, opts)
        cloud = args.cloud
        made = {
            purpose: Secret(
                purpose,
                SecretArgs(cloud=cloud, purpose=purpose, what=what, key=args.secrets_key, namespaces=(NAMESPACE,)),
                self.child(),
            )
            for purpose, what in WHAT.items()
        }
        called = {purpose: cloud.names.path("secret", purpose) for purpose in WHAT}
        url = Output.concat(
            "postgresql+psycopg://{{ .username | urlquery }}:{{ .password | urlquery }}@",
            args.database_host,
            f":{DATABASE_PORT}/{DATABASE}?sslmode=require",
        )
        derived = [
            self._derived(
                "database-url",
                {part: {"key": args.database_secret, "property": part} for part in ("username", "password")},
                {FIELD: url},
            ),
            # Under the names that KubeRay and Envoy Gateway look for.
            self._derived("ray-auth", {"token": {"key": called["ray-token"]}}, {"auth_token": "{{ .token }}"}),
            self._derived(
                "predict-credential",
                {"token": {"key": called["inference-token"]}},
                {"credential": "Bearer {{ .token }}"},
            ),
            self._derived(
                "predict-tls",
                {
                    part: {"key": args.section.certificate_secret, "property": f"tls\\.{part}"}
                    for part in ("crt", "key")
                },
                {"tls.crt": "{{ .crt }}", "tls.key": "{{ .key }}"},
                kind="kubernetes.io/tls",
            ),
        ]
        store = None
        if args.capture.enabled:
            # Kept as long as captures are, and not longer: their rows are about people.
            Bucket(
                CAPTURES,
                BucketArgs(
                    cloud=cloud,
                    purpose=CAPTURES,
                    key=args.data_key,
                    old_versions_days=OLD_CAPTURES_DAYS,
                    expire=[(f"{CAPTURES}/", args.capture.retention_days)],
                ),
                self.child(),
            )
            store = _address(cloud, CAPTURES, CAPTURES)
        control_url: Input[str] = ""
        control_targets: Input[list[str]] = []
        if args.digest is not None:
            secrets = [resource for one in made.values() for resource in one.ready]
            inside = KubernetesInference(
                name,
                KubernetesInferenceArgs(
                    **{field: getattr(args, field) for field in InferenceArgs.__dataclass_fields__},
                    section=args.section,
                    environment=args.environment,
                    image=reference(cloud, "serving", args.digest),
                    network_cidr=args.network_cidr,
                    control_cidrs=args.control_cidrs,
                    token=made["inference-token"].value,
                    control_token=made["control-admin"].value,
                    checkpoint_store=_address(cloud, "audit", CHECKPOINTS),
                    capture_store=store,
                    drift_store=_address(cloud, drift.BUCKET, drift.PREFIX) if args.retrained else None,
                ),
                self.child(depends_on=[*secrets, *derived, *args.ready]),
            )
            control_url, control_targets = inside.control_url, inside.control_targets
        self.register(
            url=f"https://{args.section.host}",
            token=made["inference-token"].value,
            control_url=control_url,
            control_token=made["control-admin"].value,
            control_targets=control_targets,
            proxy_targets=[],
        )

    def _derived(
        self,
        name: str,
        data: Mapping[str, Mapping[str, Input[str]]],
        template: Mapping[str, Input[str]],
        *,
        kind: str = "Opaque",
    ) -> pulumi.Resource:
        """A secret of the namespace in the form that its reader asks for, made of others."""
        made: pulumi.Resource = apiextensions.CustomResource(
            f"serving-{name}",
            api_version="external-secrets.io/v1",
            kind="ExternalSecret",
            metadata={"name": name, "namespace": NAMESPACE},
            spec={
                "refreshInterval": REFRESH,
                "secretStoreRef": {"kind": "SecretStore", "name": STORE},
                "target": {
                    "name": name,
                    "creationPolicy": "Owner",
                    "deletionPolicy": "Retain",
                    "template": {"engineVersion": "v2", "type": kind, "data": dict(template)},
                },
                "data": [_entry(field, where) for field, where in sorted(data.items())],
            },
            opts=self.child(),
        )
        return made


def _entry(field: str, where: Mapping[str, Input[str]]) -> dict[str, Any]:
    return {"secretKey": field, "remoteRef": dict(where)}


def _address(cloud: Cloud, purpose: str, prefix: str) -> str:
    """Address of a store as pyarrow takes it; what is small is put by one request instead of three."""
    return f"s3://{cloud.names.bucket(purpose)}/{prefix}?region={cloud.region}&allow_delayed_open=true"
