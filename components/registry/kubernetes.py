"""The registry's server on Kubernetes: our MLflow server over PostgreSQL, which hands artifacts through from S3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Output

from components.component import Component
from components.secrets import FIELD
from components.workload import Peer, Resources, Workload, WorkloadArgs

NAMESPACE = SERVER = "registry"
PORT = 5000
PASSWORD = "registry-password"  # noqa: S105 - the name of a secret
DATABASE = "database"
"""Secret of the namespace that holds the database's password."""
_DATABASE_FOLDER = "/run/secrets/database"
SIZE = Resources(cpus=0.5, memory_gib=1.5)
"""One process: 280 MB when idle; artifacts that pass through are streamed."""


@dataclass(frozen=True, kw_only=True)
class RegistryServerArgs:
    """What the server is made with.

    Attributes:
        image: training image by digest.
        username: user name that clients send with the password.
        replicas: how many servers.
        region: AWS region.
        database: address of the database, without a password.
        database_port: port that it listens on.
        artifacts: where artifacts are kept, `s3://…`.
        network_cidr: block of the network, in which the database is.
        clients: namespaces whose pods may ask.
        proxy_blocks: blocks of the API server's interfaces, where its proxy may ask too.
    """

    image: pulumi.Input[str]
    username: str
    replicas: int
    region: str
    database: pulumi.Input[str]
    database_port: int
    artifacts: pulumi.Input[str]
    network_cidr: str
    clients: Sequence[str]
    proxy_blocks: Sequence[str] = ()


class RegistryServer(Component):
    """The MLflow server."""

    url: Output[str]
    """Its address inside the cluster."""

    def __init__(self, name: str, args: RegistryServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:registry:RegistryServer", name, opts)
        hosts = [f"{SERVER}.{NAMESPACE}{suffix}:{PORT}" for suffix in ("", ".svc", ".svc.cluster.local")]
        server = Workload(
            SERVER,
            WorkloadArgs(
                namespace=NAMESPACE,
                image=args.image,
                command=["python", "-m", "training.registry_server", "--host=0.0.0.0", f"--port={PORT}"],
                port=PORT,
                replicas=args.replicas,
                resources=SIZE,
                health="/health",
                environment={
                    "AWS_REGION": args.region,
                    "HOME": "/tmp",  # noqa: S108 - the pod's own; the rest of its disk is read-only
                    "MLOPS_REGISTRY_ARTIFACTS": args.artifacts,
                    "MLOPS_REGISTRY_DATABASE": args.database,
                    "MLOPS_REGISTRY_DATABASE_PASSWORD_FILE": f"{_DATABASE_FOLDER}/password",
                    "MLOPS_REGISTRY_HOSTS": ",".join(hosts),
                    "MLOPS_REGISTRY_USERNAME": args.username,
                },
                secret_environment={"MLOPS_REGISTRY_PASSWORD": (PASSWORD, FIELD)},
                # A file, not a variable: RDS changes the password, and a file follows without a restart.
                secret_files={_DATABASE_FOLDER: DATABASE},
                callers=[Peer(namespace=client) for client in args.clients],
                caller_blocks=args.proxy_blocks,
                calls=[(args.network_cidr, args.database_port), ("0.0.0.0/0", 443)],
            ),
            self.child(),
        )
        self.register(url=server.url)
