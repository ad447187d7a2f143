"""What the engine's tests share: a throw-away project, the real engine, a server of release archives."""

import http.server
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.engine import environment as environments
from infra.engine.stack import Stack

ROOT = Path(__file__).resolve().parents[3]

PULUMI_YAML = """\
name: mlops
runtime:
  name: python
  options:
    virtualenv: .mlops/venv
main: infra/
stackConfigDir: stacks
"""

PROGRAM = """\
import pulumi

config = pulumi.Config()


class Thing(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("test:index:Thing", name)
        self.register_outputs({})


for number in range(config.get_int("things") or 1):
    Thing(f"thing-{number}")
pulumi.export("greeting", config.get("greeting"))
pulumi.export("token", pulumi.Output.secret("hush"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with this checkout's language host, this environment, and a program of its own."""
    root = tmp_path / "project"
    (root / "infra").mkdir(parents=True)
    (root / "stacks").mkdir()
    (root / ".mlops").mkdir()
    (root / ".mlops" / "venv").symlink_to(sys.prefix)
    (root / "infra" / "engine").symlink_to(ROOT / "infra" / "engine")
    (root / "Pulumi.yaml").write_text(PULUMI_YAML)
    (root / "infra" / "__main__.py").write_text(PROGRAM)
    (root / "stacks" / "Pulumi.test.yaml").write_text('# a comment\nconfig:\n  mlops:greeting: "hello"\n')
    return root


@pytest.fixture
def clean_environ(tmp_path: Path) -> dict[str, str]:
    """This process's variables without anything that a person set for Pulumi, and with an empty home."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI", "MLOPS"))}
    # The cache stays the user's: the engine in it took minutes to build.
    environ["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return environ | {"HOME": str(tmp_path / "home")}


@pytest.fixture
def said() -> list[str]:
    """What was told to the person."""
    return []


@pytest.fixture
def stack(project: Path, clean_environ: dict[str, str], said: list[str]) -> Iterator[Stack]:
    """A stack of the throw-away project on the real engine, which is fetched or built if it must."""
    environment = environments.engine_environment(project, environ=clean_environ)
    yield Stack(project, "test", environment, said.append)
    shutil.rmtree(project / ".mlops" / "state", ignore_errors=True)


@dataclass
class Served:
    """Files that a local HTTP server gives, and what it was asked for.

    Attributes:
        files: Content by name.
        cut: Bytes after which the connection breaks, by name; each break is used once.
        requests: Paths asked for, with the Range header.
        url: Address of the folder.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def served() -> Iterator[Served]:
    """A server of files on the loopback address, with ranges and broken connections."""
    state = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            wanted = self.headers.get("Range")
            state.requests.append((name, wanted))
            content = state.files.get(name)
            if content is None:
                self.send_error(404)
                return
            begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if begin >= len(content) and begin:
                self.send_error(416)
                return
            rest = content[begin:]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut = state.cut.pop(name, None)
            self.wfile.write(rest if cut is None else rest[:cut])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
