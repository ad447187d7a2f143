"""A Kubernetes API server for a rehearsal: etcd and kube-apiserver on the loopback address, with the definitions.

There is no controller manager, no scheduler and no node by itself: the server stores and judges objects, and nothing
acts on them, unless `infra.rehearsal.deep` starts who does. Everything lies in one folder and ends with the `with`
block, however that ends; should this process be killed, the kernel ends the two servers with it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from infra.engine import crds, tools
from infra.engine.cache import Progress, silent
from infra.engine.errors import ToolError
from infra.rehearsal.kubernetes import certificates
from infra.rehearsal.kubernetes.client import SCRATCH, ApiError, Client, Kind, Object, UnreachableError
from infra.rehearsal.kubernetes.servers import end, held_ports, spawn, tail
from infra.rehearsal.kubernetes.tunnel import Tunnel

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.1
_DEFINITION = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False, frozenset()
)
_NAMESPACE = Kind("v1", "Namespace", "namespaces", False, frozenset())

_MADE_BY_THE_SERVER = frozenset(
    {"APIService", "Endpoints", "EndpointSlice", "Event", "FlowSchema", "IPAddress", "Lease", "ServiceCIDR"}
    | {"PriorityLevelConfiguration"}
)
_SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_MADE_LATER = frozenset({"Namespace default", "Service default/kubernetes"})
"""What the server makes at some time after it has said that it is ready."""


@dataclass
class ApiServer:
    """A running API server.

    Attributes:
        url: Its address.
        ca: Certificate authority of its certificate, in PEM form.
        token: Bearer token of an administrator.
        client: A client with that token.
        tokens: Bearer tokens of the other users, by name.
    """

    url: str
    ca: str
    token: str = field(repr=False)
    client: Client = field(repr=False)
    _command: list[str] = field(repr=False)
    _folder: Path = field(repr=False)
    _process: subprocess.Popen[bytes] = field(repr=False)
    _baseline: frozenset[str] = field(default=frozenset(), repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    def leftovers(self) -> list[str]:
        """Return the objects that were not there when the server had started, as `Kind namespace/name`, sorted."""
        found = []
        for kind, item in self._objects():
            metadata = item["metadata"]
            if metadata["uid"] not in self._baseline and metadata["name"] != SCRATCH:
                place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
                found.append(f"{kind.name} {place}{metadata['name']}")
        return sorted(one for one in found if one not in _MADE_LATER)

    def take_as_given(self) -> None:
        """Let everything that is there now count as the server's own."""
        self._baseline = frozenset(item["metadata"]["uid"] for _kind, item in self._objects())

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind the rehearsal made."""
        result: dict[str, int] = {}
        for line in self.leftovers():
            name = line.split(" ")[0]
            result[name] = result.get(name, 0) + 1
        return result

    def _objects(self) -> Iterator[tuple[Kind, Object]]:
        """Yield the objects that may be somebody's, not the server's own housekeeping."""
        for kind in self.client.kinds():
            if kind.name in _MADE_BY_THE_SERVER:
                continue
            for item in self.client.list(kind):
                if item["metadata"].get("namespace") not in _SYSTEM_NAMESPACES:
                    yield kind, item

    def stop(self) -> None:
        """End the API server as a fault; etcd and what it stores stay."""
        end(self._process)

    def start(self) -> None:
        """Start the API server again on the same address after `stop`."""
        self._process = spawn(self._command, self._folder / "kube-apiserver.log")
        _wait(self.client, self._process, self._folder / "kube-apiserver.log")


@contextlib.contextmanager
def api_server(
    folder: Path,
    progress: Progress = silent,
    *,
    environ: Mapping[str, str] | None = None,
    users: Mapping[str, str] | None = None,
    tunnel: Tunnel | None = None,
    definitions: bool = True,
) -> Iterator[ApiServer]:
    """Run etcd and kube-apiserver while the block runs.

    The tools are got first where they are missing, which takes several minutes.

    Args:
        folder: Empty or missing folder for data, certificates, token and logs; the caller removes it.
        progress: Told what goes on.
        environ: Environment to look for tools in; this process's by default.
        users: Further users by name, each with a group; what they may do is for roles and bindings to say.
        tunnel: The way to what stands for pods, for calls that the server passes on to a service.
        definitions: Whether the custom resource definitions are installed.

    Raises:
        ToolError: A tool can't be had, or a server does not start; the message ends with its last words.
    """
    etcd = tools.ensure("etcd", progress, environ=environ)
    kube_apiserver = tools.ensure("kube-apiserver", progress, environ=environ)
    known = crds.ensure(progress, environ=environ) if definitions else None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = certificates.make(folder)
    token = secrets.token_urlsafe(32)
    tokens = folder / "tokens.csv"
    others = {name: secrets.token_urlsafe(32) for name in users or {}}
    with os.fdopen(os.open(tokens, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f'{token},rehearsal,rehearsal,"system:masters"\n')
        file.writelines(f'{others[name]},{name},{name},"{group}"\n' for name, group in (users or {}).items())
    with contextlib.ExitStack() as stack:
        client_port, peer_port, port = stack.enter_context(held_ports(3))
        storage = spawn(_etcd_command(etcd, folder, files, client_port, peer_port), folder / "etcd.log")
        stack.callback(end, storage)
        command = _api_command(kube_apiserver, files, tokens, client_port, port)
        if tunnel is not None:
            egress = folder / "egress.json"
            egress.write_text(tunnel.configuration())
            command.append(f"--egress-selector-config-file={egress}")
        process = spawn(command, folder / "kube-apiserver.log")
        ca = files.authority.read_text()
        client = Client(f"https://127.0.0.1:{port}", ca, token)
        stack.callback(client.close)
        server = ApiServer(client.url, ca, token, client, command, folder, process, tokens=others)
        stack.callback(server.stop)
        _wait(client, process, folder / "kube-apiserver.log")
        progress(f"Kubernetes API server: ready at {client.url}")
        count = _install(client, known) if known else 0
        client.apply(_NAMESPACE, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SCRATCH}})
        server.take_as_given()
        progress(f"Kubernetes API server: {count} definitions installed")
        yield server


def _etcd_command(program: Path, folder: Path, files: certificates.Certificates, port: int, peers: int) -> list[str]:
    """Return etcd's command. It syncs nothing to disk: its data is not meant to outlive the rehearsal."""
    return [
        str(program),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=https://127.0.0.1:{port}",
        f"--advertise-client-urls=https://127.0.0.1:{port}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-cluster=default=http://127.0.0.1:{peers}",
        f"--cert-file={files.certificate}",
        f"--key-file={files.key}",
        f"--trusted-ca-file={files.authority}",
        "--client-cert-auth",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_command(program: Path, files: certificates.Certificates, tokens: Path, etcd_port: int, port: int) -> list[str]:
    """Return kube-apiserver's command: RBAC, and no service account admission, since nothing would make accounts."""
    return [
        str(program),
        f"--etcd-servers=https://127.0.0.1:{etcd_port}",
        f"--etcd-cafile={files.authority}",
        f"--etcd-certfile={files.certificate}",
        f"--etcd-keyfile={files.key}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--tls-cert-file={files.certificate}",
        f"--tls-private-key-file={files.key}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        "--anonymous-auth=false",
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.key}",
        f"--service-account-signing-key-file={files.key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--profiling=false",
    ]


def _wait(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not client.ready():
        if process.poll() is not None or time.monotonic() > deadline:
            what = f"ended with code {process.returncode}" if process.returncode is not None else "is not ready"
            raise ToolError(f"kube-apiserver {what} after its start; its last words ({log}):\n{tail(log)}")
        time.sleep(_POLL_SECONDS)


def _install(client: Client, folder: Path) -> int:
    """Install the definitions and wait until objects of their kinds can be made."""
    texts = [file.read_text() for file in sorted(folder.glob("*.yaml"))]

    def create(text: str) -> None:
        try:
            client.request("POST", _DEFINITION.path(None), body=text, content_type="application/yaml")
        except ApiError as error:
            if error.status != 409:  # a try before this one was carried out, and its answer came too late
                raise

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, texts))
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        found = list(client.list(_DEFINITION))
        waiting = [item["metadata"]["name"] for item in found if not _established(item) or not _served(client, item)]
        if not waiting:
            return len(found)
        if time.monotonic() > deadline:
            raise UnreachableError(f"these definitions are not served in time: {', '.join(waiting)}")
        time.sleep(_POLL_SECONDS)


def _established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _served(client: Client, definition: Object) -> bool:
    spec = definition["spec"]
    versions = [each["name"] for each in spec["versions"] if each["served"]]
    return all(client.kind(f"{spec['group']}/{version}", spec["names"]["kind"]) for version in versions)
