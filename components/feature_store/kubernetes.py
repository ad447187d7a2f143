"""The feature server on Kubernetes: looks online features up; it keeps nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Output

from components.component import Component
from components.secrets import FIELD
from components.workload import Peer, Resources, Workload, WorkloadArgs

NAMESPACE = SERVER = "feature-store"
PORT = 6566
TOKEN = "features-token"  # noqa: S105 - the name of a secret
_FOLDER = "/var/lib/mlops"
SIZE = Resources(cpus=0.5, memory_gib=1)


@dataclass(frozen=True, kw_only=True)
class FeatureServerArgs:
    """What the server is made with.

    Attributes:
        image: training image by digest.
        replicas: how many servers.
        environment: variables that say where the store is.
        clients: namespaces whose pods may ask.
    """

    image: pulumi.Input[str]
    replicas: int
    environment: Mapping[str, str]
    clients: Sequence[str]


class FeatureServer(Component):
    """The feature server."""

    url: Output[str]
    """Its address inside the cluster."""

    def __init__(self, name: str, args: FeatureServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:feature_store:FeatureServer", name, opts)
        server = Workload(
            SERVER,
            WorkloadArgs(
                namespace=NAMESPACE,
                image=args.image,
                command=["python", "-m", "training.features.server", "--host=0.0.0.0", f"--port={PORT}"],
                port=PORT,
                replicas=args.replicas,
                resources=SIZE,
                health="/health",
                environment={
                    "HOME": "/tmp",  # noqa: S108 - the pod's own; the rest of its disk is read-only
                    "MLOPS_DATA_DIR": _FOLDER,
                    **args.environment,
                },
                secret_environment={"MLOPS_FEATURE_STORE_TOKEN": (TOKEN, FIELD)},
                scratch=("/tmp", _FOLDER),  # noqa: S108 - as above
                callers=[Peer(namespace=client) for client in args.clients],
                calls=[("0.0.0.0/0", 443)],
            ),
            self.child(),
        )
        self.register(url=server.url)
