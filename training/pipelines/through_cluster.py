"""Run a command that reaches the registry through the API server of the cluster: for jobs outside of it.

    python -m training.pipelines.through_cluster --cluster acme-prod-main --service registry/registry:5000 -- COMMAND…
        environment: AWS_REGION, credentials of AWS; the command gets MLFLOW_TRACKING_URI

Machines of SageMaker stand in the network, but not in the cluster, where the registry is. Its API server is within
their reach, has TLS by a certificate authority of its own, and knows the job's role: by RBAC it passes that role's
requests on to this one service and to nothing else. Here a server on the loopback address takes the requests of
MLflow's client, which knows nothing of this, and sends them on: the API server keeps the header `authorization` to
itself, so that what the registry asks for travels as `x-mlops-authorization`.

Who calls is proven as `aws eks get-token` does it, by a signed request to STS that EKS sends on; it holds for a quarter
of an hour, and is signed anew before that, however long the command takes. Where `MLOPS_KUBERNETES_TOKEN` is set, that
bearer token is shown instead, as releases do it (`infra.provider.cluster_access`).
"""

import argparse
import asyncio
import base64
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from training.errors import TrainingError
from training.workspace import run

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TOKEN = "MLOPS_KUBERNETES_TOKEN"  # noqa: S105 - the name of a variable
INNER_HEADER = b"x-mlops-authorization"
_HOP_BY_HOP = frozenset(
    {b"connection", b"host", b"keep-alive", b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Headers that speak of one connection (RFC 9110, 7.6.1); `host` is stated anew."""
_SERVICE = re.compile(r"(?P<namespace>[a-z0-9-]+)/(?P<name>[a-z0-9-]+):(?P<port>[0-9]+)")
_SIGNED_SECONDS = 60
_KEPT_SECONDS = 600.0
"""EKS accepts a token for 15 minutes after it was signed."""
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 300.0
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Service:
    """A service of the cluster: namespace, name and port."""

    namespace: str
    name: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Service":
        """Read `namespace/name:port`.

        Raises:
            TrainingError: it is none.
        """
        found = _SERVICE.fullmatch(text)
        if found is None:
            raise TrainingError(f"--service {text}: expected namespace/name:port, such as registry/registry:5000")
        return cls(found["namespace"], found["name"], int(found["port"]))

    @property
    def path(self) -> str:
        """Path below the API server's address at which it answers."""
        return f"/api/v1/namespaces/{self.namespace}/services/{self.name}:{self.port}/proxy"

    @property
    def host(self) -> str:
        """What it is called inside the cluster."""
        return f"{self.name}.{self.namespace}.svc:{self.port}"


@dataclass
class Cluster:
    """The API server of a cluster: its address, whom it trusts, and how a caller proves who they are.

    Attributes:
        url: its address.
        authority: certificate authority of its certificate, PEM.
        sign: makes a bearer token; called again before one runs out.
    """

    url: str
    authority: str
    sign: Callable[[], str]
    _token: str = field(default="", repr=False)
    _signed: float = field(default=-_KEPT_SECONDS, repr=False)

    def token(self) -> str:
        """Return a bearer token that is still good."""
        now = time.monotonic()
        if now - self._signed >= _KEPT_SECONDS:
            self._token, self._signed = self.sign(), now
        return self._token

    def context(self) -> ssl.SSLContext:
        """Return what trusts its certificate authority and no other.

        Raises:
            TrainingError: that is no certificate.
        """
        try:
            return ssl.create_default_context(cadata=self.authority)
        except (ValueError, ssl.SSLError) as error:
            raise TrainingError(f"the certificate authority of {self.url} cannot be read: {error}") from None


def eks_cluster(name: str, region: str) -> Cluster:
    """Ask EKS for a cluster.

    Raises:
        TrainingError: it is not there, or may not be looked at.
    """
    import boto3  # only where jobs run on AWS
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = boto3.client("eks", region_name=region).describe_cluster(name=name)["cluster"]
        authority = base64.b64decode(found["certificateAuthority"]["data"]).decode("ascii")
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        raise TrainingError(f"cluster {name}: cannot be looked at: {error}") from None
    return Cluster(found["endpoint"], authority, lambda: signed_token(name, region))


def signed_token(cluster: str, region: str) -> str:
    """Sign a token for a cluster with the credentials that boto3 finds, or take the one that is set; nothing is sent.

    Raises:
        TrainingError: there are none.
    """
    if given := os.environ.get(TOKEN):
        return given
    import boto3
    from botocore.exceptions import BotoCoreError

    def name_cluster(request: Any, **_: Any) -> None:
        request.headers["x-k8s-aws-id"] = cluster

    try:
        # The regional address, which an endpoint inside the network answers for too.
        client = boto3.client("sts", region_name=region, endpoint_url=f"https://sts.{region}.amazonaws.com")
        client.meta.events.register("before-sign.sts.GetCallerIdentity", name_cluster)
        address = client.generate_presigned_url("get_caller_identity", ExpiresIn=_SIGNED_SECONDS, HttpMethod="GET")
    except BotoCoreError as error:
        raise TrainingError(f"cluster {cluster}: no credentials of AWS to prove who asks: {error}") from None
    return "k8s-aws-v1." + base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")


class Way:
    """An ASGI application that sends requests on to a service behind an API server, bodies streamed both ways."""

    def __init__(self, cluster: Cluster, service: Service) -> None:
        self._cluster, self._service = cluster, service
        timeout = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx.AsyncClient(verify=cluster.context(), timeout=timeout, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            request = self._request(scope, receive)
            answer = await self._client.send(request, stream=True)
        except (httpx.HTTPError, TrainingError) as error:
            text = f"the registry cannot be reached through {self._cluster.url}: {str(error) or type(error).__name__}\n"
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 502, "headers": headers})
            await send({"type": "http.response.body", "body": text.encode()})
            return
        try:
            kept = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _HOP_BY_HOP]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()

    def _request(self, scope: Scope, receive: Receive) -> httpx.Request:
        path = scope.get("raw_path") or scope["path"].encode()
        address = self._cluster.url.encode() + self._service.path.encode() + path
        if scope["query_string"]:
            address += b"?" + scope["query_string"]
        headers: list[tuple[bytes, bytes]] = []
        for name, value in scope["headers"]:
            if name == b"authorization":
                headers.append((INNER_HEADER, value))
            elif name not in _HOP_BY_HOP and name != INNER_HEADER:
                headers.append((name, value))
        headers += [
            (b"authorization", b"Bearer " + self._cluster.token().encode()),
            (b"host", self._service.host.encode()),
        ]
        stated = {name for name, _ in scope["headers"]}
        has_body = b"content-length" in stated or b"transfer-encoding" in stated
        content = _body(receive) if has_body else None
        return httpx.Request(scope["method"], address.decode("ascii"), headers=headers, content=content)


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise TrainingError("the client went away within its request")
        yield message.get("body", b"")
        more = message.get("more_body", False)


@contextmanager
def way(cluster: Cluster, service: Service) -> Iterator[str]:
    """Run the server while the block runs; gives its address.

    Raises:
        TrainingError: it does not start.
    """
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = uvicorn.Config(Way(cluster, service), log_level="warning", access_log=False, lifespan="off")
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="way", daemon=True)
        thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise TrainingError("the way to the registry does not start")
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(_START_SECONDS)


def follow(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command to its end and return its status; whoever stops this process stops the command."""
    with subprocess.Popen(command, env=environment) as process:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: process.send_signal(received))
        status = process.wait()
    return status if status >= 0 else 128 - status


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.pipelines.through_cluster", description="Reach the registry from outside the cluster."
    )
    parser.add_argument("--cluster", required=True, help="name of the cluster on EKS")
    parser.add_argument("--service", required=True, help="namespace/name:port of the registry")
    parser.add_argument("command", nargs="+", help="what is run, after --")
    options = parser.parse_args()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise TrainingError("AWS_REGION is not set: the region of the cluster")
    cluster, service = eks_cluster(options.cluster, region), Service.parse(options.service)
    with way(cluster, service) as address:
        status = follow(options.command, {**os.environ, "MLFLOW_TRACKING_URI": address})
    sys.exit(status)


if __name__ == "__main__":
    run(main)
