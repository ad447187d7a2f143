"""Commands about the project itself."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import project as project_commands
from infra.cli.app import app
from infra.cli.project import plain_pulumi


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder with an awkward name, whose `mlops` says how it was called."""
    root = tmp_path / "it's mine"
    (root / "infra").mkdir(parents=True)
    program(root / "mlops", "mlops")
    return root


def program(path: Path, name: str) -> None:
    path.write_text(f'#!/bin/sh\nprintf "%s|" {name} "$@"\nexit 3\n')
    path.chmod(0o755)


def typed(project: Path, folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a shell that has evaluated what `./mlops env` prints, with another `pulumi` on PATH."""
    tools = project.parent / "tools"
    tools.mkdir()
    program(tools / "pulumi", "engine")
    script = f"{plain_pulumi(project)}\n{command}"
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("folder", [".", "infra"])
def test_plain_pulumi_in_the_project_goes_through_mlops(project: Path, folder: str) -> None:
    done = typed(project, project / folder, "pulumi up -s local -m 'first try'")
    assert done.stdout == "mlops|pulumi|up|-s|local|-m|first try|"
    assert done.returncode == 3


def test_plain_pulumi_elsewhere_is_the_engine(project: Path) -> None:
    done = typed(project, project.parent, "pulumi preview")
    assert done.stdout == "engine|preview|"
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("arguments", "chosen", "handed"),
    [
        (["login", "s3://states"], None, None),
        (["login", "s3://states"], "file:///chosen", "file:///chosen"),
        (["stack", "ls"], None, "file:///default"),
    ],
)
def test_a_login_hears_of_a_backend_only_where_a_person_chose_one(
    arguments: list[str], chosen: str | None, handed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []

    def engine(_: Path, environment: dict[str, str], *__: object) -> int:
        given.append(environment)
        return 7

    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    if chosen:
        monkeypatch.setenv("PULUMI_BACKEND_URL", chosen)
    monkeypatch.setattr(
        project_commands, "engine_environment", lambda *_: {"PULUMI_BACKEND_URL": chosen or "file:///default"}
    )
    monkeypatch.setattr(project_commands, "pass_through", engine)

    result = CliRunner().invoke(app, ["pulumi", *arguments])

    assert result.exit_code == 7
    assert [one.get("PULUMI_BACKEND_URL") for one in given] == [handed]
