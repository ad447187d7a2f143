"""An API server for the module, the stand-in as a process, and throw-away stacks on the real engine."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pulumi import automation

from infra.engine.errors import ToolError
from infra.rehearsal import faults
from infra.rehearsal.kubernetes.api_server import ApiServer, api_server
from infra.rehearsal.kubernetes.provider import TOKEN
from tests.quick_stack import QuickStack, brought_to_an_end

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A running API server. Its tools are built on first use, which takes minutes."""
    try:
        with api_server(tmp_path_factory.mktemp("kubernetes") / "server", print) as running:
            yield running
    except ToolError as error:
        pytest.skip(f"no API server can be had on this machine: {error}")


@dataclass
class Outcome:
    """What became of an operation."""

    text: str
    changes: dict[str, int] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Rehearsed:
    """One stack against one API server. The plugin is started anew for each operation, as the engine would."""

    folder: Path
    server: ApiServer
    program: Callable[[], None] = lambda: None
    _quick: QuickStack | None = None

    @property
    def kubeconfig(self) -> dict[str, Any]:
        ca = base64.b64encode(self.server.ca.encode()).decode()
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "eks",
            "contexts": [{"name": "eks", "context": {"cluster": "eks", "user": "eks"}}],
            "clusters": [{"name": "eks", "cluster": {"server": self.server.url, "certificate-authority-data": ca}}],
            "users": [{"name": "eks", "user": {"exec": {"command": "not-run", "args": ["eks", "get-token"]}}}],
        }

    @property
    def faults(self) -> Path:
        return self.folder / "faults"

    def run(self, operation: str, **options: Any) -> Outcome:
        plugin = subprocess.Popen(
            [sys.executable, "-m", "infra.rehearsal.kubernetes"],
            cwd=ROOT,
            env={**os.environ, TOKEN: self.server.token, faults.FAULTS: str(self.faults)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert plugin.stdout is not None
        assert plugin.stdin is not None
        lines: list[str] = []
        try:
            stack = self._stack(f"kubernetes:{int(plugin.stdout.readline())}")
            with brought_to_an_end(self.program) as stack.workspace.program:
                result = getattr(stack, operation)(on_output=lines.append, color="never", **options)
        except automation.CommandError as error:
            return Outcome("\n".join([*lines, str(error)]), failed=True)
        finally:
            plugin.stdin.close()
            plugin.stdout.close()
            plugin.wait()
        changes = result.change_summary if operation == "preview" else result.summary.resource_changes or {}
        return Outcome("\n".join(lines), {str(getattr(key, "value", key)): count for key, count in changes.items()})

    def _stack(self, providers: str) -> QuickStack:
        work = self.folder / "work"
        if not work.exists():
            work.mkdir(parents=True)
            (self.folder / "state").mkdir()
            (work / "Pulumi.yaml").write_text("name: mlops\nruntime: python\n")
        variables = {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_HOME": str(self.folder / "pulumi"),
            "PULUMI_CONFIG_PASSPHRASE": "correct horse battery staple",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_DEBUG_PROVIDERS": providers,
        }
        self._quick = self._quick or QuickStack.of("test", work, variables)
        self._quick.workspace.env_vars = variables
        return self._quick

    def state_text(self) -> str:
        """The whole state, as it lies on disk."""
        return "".join(path.read_text() for path in (self.folder / "state").rglob("*.json"))


@pytest.fixture
def stack(
    tmp_path: Path, server: ApiServer, pulumi_command: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rehearsed]:
    """A new stack; whatever it made is destroyed afterwards."""
    monkeypatch.setenv("PATH", f"{pulumi_command.parent}{os.pathsep}{os.environ['PATH']}")
    made = Rehearsed(tmp_path, server)
    yield made
    if server.leftovers():
        made.run("destroy")
