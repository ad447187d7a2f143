"""Secrets of an environment on AWS: kept in Secrets Manager, copied into the namespaces that need them.

A value is made once by the `blueprint` provider (`Token`) and is a secret in the state. External Secrets copies it from
Secrets Manager into Kubernetes with the role of its own service account; nobody else there reads Secrets Manager.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Output
from pulumi_aws import secretsmanager
from pulumi_kubernetes import apiextensions

from components.blueprint import Token
from components.cloud import Cloud
from components.component import Component

STORE = "environment"
"""Name of the store in each namespace."""
FIELD = "value"
"""Key of the value in the Kubernetes secret."""
REFRESH = "5m"
"""How long a value that was changed in Secrets Manager takes to arrive."""
RECOVERY_DAYS = 30
"""For how long a deleted secret of a protected environment can be brought back; at once gone in another one, so that
its name is free again."""


@dataclass(frozen=True, kw_only=True)
class SecretStoresArgs:
    """What the stores are made with: the environment, and the namespaces that get secrets."""

    cloud: Cloud
    namespaces: Sequence[str]


class SecretStores(Component):
    """Where each namespace gets its secrets from."""

    def __init__(self, name: str, args: SecretStoresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:secrets:SecretStores", name, opts)
        for namespace in args.namespaces:
            apiextensions.CustomResource(
                f"store-{namespace}",
                api_version="external-secrets.io/v1",
                kind="SecretStore",
                metadata={"name": STORE, "namespace": namespace},
                # Without `auth`: the operator's own role, given to its service account.
                spec={"provider": {"aws": {"service": "SecretsManager", "region": args.cloud.region}}},
                opts=self.child(),
            )
        self.register()


@dataclass(frozen=True, kw_only=True)
class SecretArgs:
    """What a secret is made with.

    Attributes:
        cloud: the environment.
        purpose: what it is for, as its name is made of.
        what: what it opens, for people who find it.
        key: ARN of the key that encrypts it.
        namespaces: where Kubernetes gets a copy, under the same name.
    """

    cloud: Cloud
    purpose: str
    what: str
    key: pulumi.Input[str]
    namespaces: Sequence[str] = ()


class Secret(Component):
    """One random secret."""

    value: Output[str]
    """The secret."""
    arn: Output[str]
    """ARN of where it is kept."""

    def __init__(self, name: str, args: SecretArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:secrets:Secret", name, opts)
        called = args.cloud.names.path("secret", args.purpose)
        kept = secretsmanager.Secret(
            name,
            name=called,
            description=args.what,
            kms_key_id=args.key,
            recovery_window_in_days=RECOVERY_DAYS if args.cloud.protected else 0,
            opts=self.child(),
        )
        token = Token(name, opts=self.child())
        version = secretsmanager.SecretVersion(name, secret_id=kept.id, secret_string=token.value, opts=self.child())
        self.ready: list[pulumi.Resource] = [version]
        for namespace in args.namespaces:
            self.ready.append(
                external_secret(
                    f"{name}-{namespace}",
                    (namespace, args.purpose),
                    {FIELD: {"key": called}},
                    self.child(depends_on=[version]),
                )
            )
        self.register(value=token.value, arn=kept.arn)


def external_secret(
    name: str,
    target: tuple[str, str],
    data: dict[str, dict[str, pulumi.Input[str]]],
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """A secret of Kubernetes that External Secrets keeps like those in Secrets Manager.

    Args:
        name: name of the resource.
        target: namespace and name of the secret in Kubernetes.
        data: for each of its keys where the value is: `key`, a name or ARN, and for a JSON value `property`.
        opts: options of the resource.
    """
    namespace, called = target
    copied: pulumi.Resource = apiextensions.CustomResource(
        name,
        api_version="external-secrets.io/v1",
        kind="ExternalSecret",
        metadata={"name": called, "namespace": namespace},
        spec={
            "refreshInterval": REFRESH,
            "secretStoreRef": {"kind": "SecretStore", "name": STORE},
            # What is in use stays when Secrets Manager cannot be reached or the secret is gone.
            "target": {"name": called, "creationPolicy": "Owner", "deletionPolicy": "Retain"},
            "data": [{"secretKey": field, "remoteRef": where} for field, where in sorted(data.items())],
        },
        opts=opts,
    )
    return copied
