"""Inputs, calls and small HTTP servers for tests of the provider."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.provider.codec import Properties, plain
from infra.provider.process import ProcessResource
from infra.provider.resource import Call


@dataclass
class Told:
    """A call whose messages are kept: passing ones apart from those that stay."""

    passing: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)

    def call(self, *secrets: str) -> Call:
        return Call(
            "tested", lambda text, brief: (self.passing if brief else self.lasting).append(text), secrets=secrets
        )


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def process_inputs(tmp_path: Path) -> Callable[..., Properties]:
    """Checked inputs of a process that sleeps; keywords exchange single ones."""

    def make(**different: Any) -> Properties:
        given = {"name": "web", "home": str(tmp_path), "command": ["sleep", "600"], "directory": "/"} | different
        inputs, problems = ProcessResource().check(given)
        assert problems == []
        known: Properties = plain(inputs)
        return known

    return make


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
