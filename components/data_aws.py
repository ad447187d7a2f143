"""What an environment on AWS keeps: its secrets, images, registry and feature store, composed in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Output

from components.cloud import Cloud
from components.feature_store.aws import AwsFeatureStore, AwsFeatureStoreArgs, Kind
from components.governance.keys import Keys
from components.identity.aws import AwsIdentities
from components.network.aws import AwsNetwork
from components.network.plan import divide
from components.registry import kubernetes as registry_server
from components.registry.aws import AwsRegistry, AwsRegistryArgs, RegistrySection
from components.registry.images import Images, ImagesArgs, reference
from components.secrets import SecretStores, SecretStoresArgs

PULLERS = ("nodes", "karpenter-nodes", "training")
"""Roles that pull images: nodes of both kinds, and SageMaker's."""
SECRET_NAMESPACES = ("feature-store", "monitoring", "registry", "serving", "training")
REGISTRY_CLIENTS = ("serving", "training")
FEATURE_CLIENTS = ("serving",)


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Registry and feature store as the settings state them.

    Attributes:
        training_digest: digest of the training image; None makes everything but servers.
        registry_username: user name that clients of the registry send.
        registry: the registry.
        images_kept: images that are kept in each repository.
        feature_kind: what keeps the online features.
        feature_replicas: feature servers.
        log_days: logs of the database are kept this long.
    """

    training_digest: str | None
    registry_username: str
    registry: RegistrySection
    images_kept: int
    feature_kind: Kind
    feature_replicas: int
    log_days: int


@dataclass(frozen=True, kw_only=True)
class DataArgs:
    """What they are made with: the settings, and the components that stand before them.

    `registry_proxied` says whether the registry is reached from outside of the cluster, through its API server.
    """

    cloud: Cloud
    section: DataSection
    key: Keys
    identities: AwsIdentities
    network: AwsNetwork
    network_cidr: str
    network_zones: int
    node_security_group_id: Output[str]
    registry_proxied: bool


@dataclass(frozen=True, kw_only=True)
class Data:
    """The components, for those that come after them."""

    stores: SecretStores
    images: Images
    registry: AwsRegistry
    feature_store: AwsFeatureStore

    def endpoints(self) -> Mapping[str, Any]:
        """Where each surface is, and what it asks for."""
        tracking: dict[str, Output[str]] = {
            "url": self.registry.url,
            "username": self.registry.username,
            "token": self.registry.password,
        }
        return {
            "featureStore": {"url": self.feature_store.url, "token": self.feature_store.token},
            "registry": tracking,
            "tracking": tracking,
        }


def compose_data(args: DataArgs, within: pulumi.ResourceOptions, on_cluster: pulumi.ResourceOptions) -> Data:
    """Compose them.

    Args:
        args: what they are made with.
        within: options with the parent and the provider of AWS.
        on_cluster: the same with that of Kubernetes, for what waits for External Secrets.
    """
    cloud, section, key, identities = args.cloud, args.section, args.key, args.identities
    images = Images(
        "images", ImagesArgs(cloud=cloud, key=key.arn("data"), kept=section.images_kept, pullers=PULLERS), within
    )
    stores = SecretStores("secret-stores", SecretStoresArgs(cloud=cloud, namespaces=SECRET_NAMESPACES), on_cluster)
    image = section.training_digest and reference(cloud, "training", section.training_digest)
    served = pulumi.ResourceOptions.merge(on_cluster, pulumi.ResourceOptions(depends_on=[stores]))
    registry = AwsRegistry(
        "registry",
        AwsRegistryArgs(
            cloud=cloud,
            username=section.registry_username,
            section=section.registry,
            image=image,
            vpc_id=args.network.vpc_id,
            network_cidr=args.network_cidr,
            database_subnet_ids=args.network.intra_subnet_ids,
            node_security_group_id=args.node_security_group_id,
            data_key=key.arn("data"),
            secrets_key=key.arn("secrets"),
            logs_key=key.arn("logs"),
            log_days=section.log_days,
            clients=REGISTRY_CLIENTS,
            proxy_blocks=[zone.intra for zone in divide(args.network_cidr, args.network_zones)]
            if args.registry_proxied
            else [],
            identity=identities.ready(registry_server.SERVER),
        ),
        served,
    )
    feature_store = AwsFeatureStore(
        "feature-store",
        AwsFeatureStoreArgs(
            cloud=cloud,
            kind=section.feature_kind,
            replicas=section.feature_replicas,
            image=image,
            data_key=key.arn("data"),
            secrets_key=key.arn("secrets"),
            group_role=identities.arn("feature-groups"),
            clients=FEATURE_CLIENTS,
            identity=[*identities.ready("features"), *identities.ready("feature-groups")],
        ),
        served,
    )
    return Data(stores=stores, images=images, registry=registry, feature_store=feature_store)
