"""A project folder with one stack, whose rollout controller is a neighbour of the test's own making."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import context, manifests
from infra.cli.app import app
from infra.cli.output import CommandFailed

STACK = """# The stack of these tests.
config:
  mlops:baseline: local
  mlops:models:
    churn:
      folder: training/churn  # the code
      version: latest
"""


@dataclass
class Ran:
    """What a command printed, and its failure."""

    text: str
    failure: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Project:
    """A project folder as the command line sees it."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / ".mlops" / "stacks" / "local"

    @property
    def stack_file(self) -> Path:
        return self.root / "stacks" / "Pulumi.local.yaml"

    def controller(self, url: str) -> None:
        """Let the stack's controller be at an address."""
        host, port = url.removeprefix("http://").split(":")
        file = self.home / "run" / "files" / "control" / "control.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"host": host, "port": int(port), "adminToken": "letmein"}))

    def run(self, *arguments: str) -> Ran:
        """Run a command."""
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, CommandFailed):
            return Ran(result.stdout, str(result.exception))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.stdout, "" if result.exit_code == 0 else f"exit code {result.exit_code}: {result.stderr}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the stack `local` and the model `churn`."""
    for module in (context, manifests):
        monkeypatch.setattr(module, "PROJECT", tmp_path)
    made = Project(tmp_path)
    folder = tmp_path / "training" / "churn"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("")
    baselines = tmp_path / "stacks" / "baselines"
    baselines.mkdir(parents=True)
    (baselines / "local.yaml").write_text("target: local\n")
    made.stack_file.write_text(STACK)
    return made


@pytest.fixture
def controlled(project: Project, neighbour: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function be the stack's controller."""

    def start(answer: Callable[[str, str, Any], tuple[int, Any]]) -> Any:
        server = neighbour(answer)
        project.controller(server.url)
        return server

    return start
