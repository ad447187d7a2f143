"""The way from the API server into the cluster, for a cluster without nodes.

A real API server that proxies to a service dials the address of a pod. Here there is none, and addresses of the
loopback network are no addresses of pods. kube-apiserver can be told to leave such connections to an HTTP CONNECT proxy
(its egress selector), as is done where control plane and nodes are networks apart: this is that proxy, on a Unix
socket. Whatever address is asked for, it connects to the servers on loopback that stand for the pods, by port.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import socketserver
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_Connection = socket.socket
_LINE = 65_536
_SECONDS = 30.0


@dataclass
class Tunnel:
    """Where the proxy listens, and what stands for the pods.

    Attributes:
        socket: its Unix socket.
        ports: port on loopback by the port that a pod would listen on.
    """

    socket: Path
    ports: dict[int, int] = field(default_factory=dict)
    _open: set[_Connection] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def lead(self, asked: int, port: int) -> None:
        """Let another server stand for a port from now on.

        The API server keeps connections for its next request; those that are open lead to the server before, and have
        ended for it when this returns.
        """
        with self._lock:
            self.ports[asked] = port
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def closed(self, client: _Connection) -> None:
        """Forget the connection of a client."""
        with self._lock:
            self._open.discard(client)

    def connected(self, client: _Connection, asked: int | None) -> _Connection | None:
        """Return a connection to what stands for a port that a client asks for, None where nothing does.

        Raises:
            OSError: it does not answer.
        """
        with self._lock:
            port = self.ports.get(asked or 0)
            if port is None:
                return None
            server = socket.create_connection(("127.0.0.1", port), _SECONDS)
            self._open.add(client)
            return server

    def configuration(self) -> str:
        """Return what kube-apiserver reads by `--egress-selector-config-file`."""
        connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(self.socket)}}}
        return json.dumps(
            {
                "apiVersion": "apiserver.k8s.io/v1beta1",
                "kind": "EgressSelectorConfiguration",
                "egressSelections": [{"name": "cluster", "connection": connection}],
            }
        )


@contextlib.contextmanager
def tunnel(ports: Mapping[int, int] | None = None) -> Iterator[Tunnel]:
    """Run the proxy while the block runs."""
    # A socket's path may have 107 bytes, and a project's folder may have more, as may the one that TMPDIR names.
    with tempfile.TemporaryDirectory(prefix="mlops-tunnel-", dir="/tmp") as folder:
        made = Tunnel(Path(folder) / "socket", dict(ports or {}))

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _serve(self.request, made)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        with Server(str(made.socket), Handler) as server:
            thread = threading.Thread(target=lambda: server.serve_forever(0.05), name="tunnel", daemon=True)
            thread.start()
            try:
                yield made
            finally:
                server.shutdown()


def _serve(client: socket.socket, way: Tunnel) -> None:
    """Answer one CONNECT and pass on bytes both ways until both ends have closed."""
    client.settimeout(_SECONDS)
    asked = _asked(client)
    try:
        server = way.connected(client, asked)
    except OSError:
        client.sendall(b"HTTP/1.1 502 what stands for this address does not answer\r\n\r\n")
        return
    if server is None:
        client.sendall(b"HTTP/1.1 502 nothing stands for this address\r\n\r\n")
        return
    with server, contextlib.suppress(OSError):
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        _pass_on(client, server)
    way.closed(client)


def _asked(client: socket.socket) -> int | None:
    """Return the port that a CONNECT asks for, None for anything else."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(_LINE)
        if not more or len(head) > _LINE:
            return None
        head += more
    words = head.split(b"\r\n", 1)[0].split()
    _, _, port = words[1].rpartition(b":") if len(words) == 3 and words[0] == b"CONNECT" else (b"", b"", b"")
    return int(port) if port.isdigit() else None


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while selector.get_map():
            for key, _ in selector.select():
                source, target = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                content = source.recv(_LINE)
                if content:
                    target.sendall(content)
                    continue
                selector.unregister(source)
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
