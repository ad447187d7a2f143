"""The way from the API server to what stands for pods: one CONNECT, then bytes both ways."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from infra.rehearsal.kubernetes.tunnel import Tunnel, tunnel


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it got when its client has ended, and says goodbye."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        content = b""
                        while more := client.recv(1000):
                            content += more
                        client.sendall(b"got " + content)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def ask(way: Tunnel, head: bytes, body: bytes = b"") -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(way.socket))
        client.sendall(head)
        answer = client.recv(1000)
        if body:
            client.sendall(body)
        client.shutdown(socket.SHUT_WR)
        while more := client.recv(1000):
            answer += more
        return answer


def test_what_stands_for_a_pod_answers_by_its_port(echo: int) -> None:
    with tunnel({8090: echo}) as way:
        answer = ask(way, b"CONNECT 10.255.0.10:8090 HTTP/1.1\r\nHost: x\r\n\r\n", b"hello")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n\r\n")
    assert answer.endswith(b"got hello")


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT 10.255.0.10:443 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"CONNECT nothing HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_anything_else_is_refused(head: bytes, echo: int) -> None:
    with tunnel({8090: echo}) as way:
        assert ask(way, head).startswith(b"HTTP/1.1 502")


def test_what_has_gone_is_said_to_be_gone(free_port: int) -> None:
    with tunnel({8090: free_port}) as way:
        assert b"does not answer" in ask(way, b"CONNECT 10.255.0.10:8090 HTTP/1.1\r\n\r\n")


def test_the_api_server_is_told_to_leave_connections_into_the_cluster_to_it() -> None:
    with tunnel() as way:
        selection = json.loads(way.configuration())["egressSelections"]

    assert [one["name"] for one in selection] == ["cluster"]
    assert selection[0]["connection"]["transport"] == {"uds": {"udsName": str(way.socket)}}


def test_open_connections_end_when_another_server_stands_for_the_port(echo: int) -> None:
    with tunnel({8090: echo}) as way, socket.socket(socket.AF_UNIX) as kept:
        kept.settimeout(60)
        kept.connect(str(way.socket))
        kept.sendall(b"CONNECT 10.255.0.10:8090 HTTP/1.1\r\n\r\n")
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")

        way.lead(8090, echo)

        kept.setblocking(False)
        assert kept.recv(1000) == b"", "a request that comes next must not find it open"
        assert ask(way, b"CONNECT 10.255.0.10:8090 HTTP/1.1\r\n\r\n", b"again").endswith(b"got again")
