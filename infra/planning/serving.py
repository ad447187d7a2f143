"""Serves the planning stand-ins inside this process: the engine attaches to them by their ports.

A review asks several engines one after the other; here what the stand-ins have read of SDKs and models is read once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from infra.planning.aws import PlannedAws
from infra.planning.blueprint import provider
from infra.planning.kubernetes import PlannedKubernetes

_THREADS = 16
_GRACE_SECONDS = 1.0


@contextlib.contextmanager
def providers(project: str = "", *, judging: bool = True) -> Iterator[dict[str, str]]:
    """Serve one engine's providers while the block runs; yields what its environment needs to reach them.

    Args:
        project: folder of the checkout whose program runs.
        judging: whether they validate what is new or has changed.
    """
    servicers = {
        "aws": PlannedAws(judging=judging),
        "blueprint": provider(project),
        "kubernetes": PlannedKubernetes(judging=judging),
    }
    servers, ports = [], {}
    try:
        for name, servicer in servicers.items():
            server = grpc.server(
                ThreadPoolExecutor(_THREADS),
                options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
            )
            provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
            ports[name] = server.add_insecure_port("127.0.0.1:0")
            server.start()
            servers.append(server)
        yield {"PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in sorted(ports.items()))}
    finally:
        for ending in [server.stop(_GRACE_SECONDS) for server in servers]:
            ending.wait()
