"""A rehearsal's server and stand-in, and programs run against them by the real engine."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.engine.operation import OperationFailedError, Result
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.children import child
from infra.rehearsal.moto import MotoServer, moto_server
from infra.rehearsal.stack import rehearsed_stack

PROGRAMS = Path(__file__).parent / "programs"
ACCOUNT = "111122223333"


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """The AWS server, one for all tests: every test uses a region or names of its own."""
    with moto_server(tmp_path_factory.mktemp("server") / "server.log", account=ACCOUNT) as server:
        yield server


@pytest.fixture
def aws(aws_server: MotoServer) -> Aws:
    """The API itself, for what a person would do by hand."""
    return Aws(aws_server.url, "eu-central-1")


@dataclass
class Rehearsed:
    """One program of `programs/`, run by the real engine against a stand-in of its own."""

    program: str
    folder: Path
    server: MotoServer
    port: int

    def run(self, operation: str, *arguments: str, **settings: Any) -> Result:
        """Run an operation; settings are those of the program's stack that differ. Failures are results too."""
        changes = {f"{self.program}:{name}": value for name, value in settings.items()}
        environment = {"PULUMI_DEBUG_PROVIDERS": f"aws:{self.port}"}
        stack = rehearsed_stack(PROGRAMS / self.program, "test", self.folder, environment, changes)
        try:
            result: Result = getattr(stack, operation)(*arguments)
        except OperationFailedError as error:
            return error.result
        return result

    def state(self) -> list[dict[str, Any]]:
        """The resources in the state."""
        file = self.folder / "state" / ".pulumi" / "stacks" / self.program / "test.json"
        return list(json.loads(file.read_text())["checkpoint"]["latest"].get("resources") or [])

    def outputs_of(self, kind: str) -> dict[str, Any]:
        """The outputs of the only resource of a type."""
        [found] = [one for one in self.state() if one["type"] == kind]
        return dict(found["outputs"])


@contextmanager
def rehearse(program: str, folder: Path, server: MotoServer, **environment: str) -> Iterator[Rehearsed]:
    """Start a stand-in for one program."""
    variables = {
        "MLOPS_REHEARSAL_AWS": server.url,
        "MLOPS_REHEARSAL_JOURNAL": str(folder / "journal.jsonl"),
        **environment,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with child("infra.rehearsal.aws", variables, folder / "aws.log") as port:
        yield Rehearsed(program, folder, server, port)


@pytest.fixture
def rehearsed(
    tmp_path: Path, aws_server: MotoServer, pulumi_command: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Rehearsed]]:
    """Start stand-ins for programs; what is left of them is the server's."""
    folder = pulumi_command if pulumi_command.is_dir() else pulumi_command.parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    running = []

    def start(program: str) -> Rehearsed:
        context = rehearse(program, tmp_path, aws_server)
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)
    shutil.rmtree(tmp_path, ignore_errors=True)
