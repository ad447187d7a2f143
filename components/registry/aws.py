"""The registry on AWS: MLflow on the cluster, its records in PostgreSQL, its artifacts in a bucket.

Clients need no right over AWS: artifacts go through the server, which alone reads and writes the bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Output

from components import secrets
from components.buckets import Bucket, BucketArgs
from components.cloud import Cloud
from components.registry import Registry, RegistryArgs, database
from components.registry.database import Database, DatabaseArgs, DatabaseSection
from components.registry.kubernetes import NAMESPACE, PASSWORD, PORT, SERVER, RegistryServer, RegistryServerArgs
from components.secrets import Secret, SecretArgs


@dataclass(frozen=True, kw_only=True)
class RegistrySection:
    """The registry as the settings state it.

    Attributes:
        replicas: MLflow servers.
        database: the database.
        old_artifact_days: overwritten or deleted artifacts can be brought back this long.
    """

    replicas: int
    database: DatabaseSection
    old_artifact_days: int


@dataclass(frozen=True, kw_only=True)
class AwsRegistryArgs(RegistryArgs):
    """What the registry on AWS needs besides.

    Attributes:
        cloud: the environment.
        section: what the settings state.
        image: training image by digest; None makes everything but the server.
        vpc_id: the network.
        network_cidr: its block.
        database_subnet_ids: subnets without a way out.
        node_security_group_id: security group of the nodes.
        data_key: ARN of the key that encrypts artifacts and records.
        secrets_key: ARN of the key that encrypts passwords.
        logs_key: ARN of the key that encrypts logs.
        log_days: logs of the database are kept this long.
        clients: namespaces whose pods may ask the server, and get its password.
        proxy_blocks: blocks of the API server's interfaces, where its proxy may ask too.
        identity: what gives the server its role.
    """

    cloud: Cloud
    section: RegistrySection
    image: pulumi.Input[str] | None
    vpc_id: pulumi.Input[str]
    network_cidr: str
    database_subnet_ids: pulumi.Input[Sequence[str]]
    node_security_group_id: pulumi.Input[str]
    data_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    logs_key: pulumi.Input[str]
    log_days: int
    clients: Sequence[str]
    proxy_blocks: Sequence[str] = ()
    identity: Sequence[pulumi.Resource] = ()


class AwsRegistry(Registry):
    """MLflow on EKS, RDS and S3."""

    database_address: Output[str]
    """Host name of the environment's database."""
    database_secret: Output[str]
    """ARN of the secret that holds the database's password."""

    def __init__(self, name: str, args: AwsRegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:registry:AwsRegistry", name, opts)
        cloud = args.cloud
        bucket = Bucket(
            "models",
            BucketArgs(
                cloud=cloud,
                purpose="models",
                key=args.data_key,
                old_versions_days=args.section.old_artifact_days,
            ),
            self.child(),
        )
        records = Database(
            "database",
            DatabaseArgs(
                cloud=cloud,
                section=args.section.database,
                vpc_id=args.vpc_id,
                subnet_ids=args.database_subnet_ids,
                client_security_group_id=args.node_security_group_id,
                data_key=args.data_key,
                secrets_key=args.secrets_key,
                logs_key=args.logs_key,
                log_days=args.log_days,
            ),
            self.child(),
        )
        password = Secret(
            PASSWORD,
            SecretArgs(
                cloud=cloud,
                purpose=PASSWORD,
                what="Password of the model registry",
                key=args.secrets_key,
                namespaces=sorted({NAMESPACE, *args.clients}),
            ),
            self.child(),
        )
        access = secrets.external_secret(
            "database",
            (NAMESPACE, "database"),
            {"password": {"key": records.password_secret, "property": "password"}},
            self.child(),
        )
        if args.image is not None:
            RegistryServer(
                SERVER,
                RegistryServerArgs(
                    image=args.image,
                    username=args.username,
                    replicas=args.section.replicas,
                    region=cloud.region,
                    database=database.url(records.address),
                    database_port=database.PORT,
                    artifacts=Output.concat("s3://", bucket.name, "/artifacts"),
                    network_cidr=args.network_cidr,
                    clients=args.clients,
                    proxy_blocks=args.proxy_blocks,
                ),
                self.child(depends_on=[access, *password.ready, *args.identity]),
            )
        host = f"{SERVER}.{NAMESPACE}.svc:{PORT}"
        self.register(
            url=f"http://{host}",
            username=args.username,
            password=password.value,
            metrics_targets=[host] if args.image is not None else [],
            database_address=records.address,
            database_secret=records.password_secret,
        )
