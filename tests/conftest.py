"""Fixtures that several parts of the suite use."""

import gc
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from infra.rehearsal.kubernetes.servers import held_ports
from tests import postgres

# How fast an example is says more about the machine than about us.
settings.register_profile("default", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=10)
settings.load_profile("default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, and have patience with platforms.

    Files are what workers share (`./mlops test`); with a long one last, the others would have nothing to do meanwhile.
    """
    for item in items:
        if item.get_closest_marker("local") and not item.get_closest_marker("timeout"):
            # The first of them brings a platform up, which takes as long as the machine is busy with other tests.
            item.add_marker(pytest.mark.timeout(1800))
    long = {item.path for item in items if item.get_closest_marker("engine") or item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)  # stable: beyond that, the order stays


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives as long as the run: modules and thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port for a server of the test, see `held_ports`."""
    with held_ports(1) as [port]:
        yield port


@pytest.fixture(scope="session")
def pulumi_command() -> Path:
    """The Pulumi engine, found or made as `./mlops` does it."""
    from infra.engine import tools

    return tools.ensure("pulumi")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server that a test may kill and start again."""
    where = postgres.binaries()
    if where is None:
        pytest.skip("this machine has no PostgreSQL server (`initdb` beside `postgres`)")
    with postgres.server(where) as server:
        yield server


@pytest.fixture
def postgres_address(request: pytest.FixtureRequest) -> str:
    """Where tests may drop and make tables: the database that is named, or that of a server of our own."""
    named = os.environ.get(postgres.ADDRESS)
    if named:
        return named
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.address


Answers = Callable[[str, str, Any], tuple[int, Any]]
"""Takes method, path and JSON body; returns status and JSON body."""


@dataclass
class Neighbour:
    """An HTTP server of the test's own making."""

    url: str
    requests: list[tuple[str, str, Any]]
    headers: list[dict[str, str]]


@pytest.fixture
def neighbour() -> Iterator[Callable[[Answers], Neighbour]]:
    """Start HTTP servers that answer as told."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answers) -> Neighbour:
        requests: list[tuple[str, str, Any]] = []
        headers: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                requests.append((self.command, self.path, body))
                headers.append({name.lower(): value for name, value in self.headers.items()})
                status, content = answer(self.command, self.path, body)
                encoded = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return Neighbour(f"http://127.0.0.1:{server.server_address[1]}", requests, headers)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
