"""Which backend and passphrase a run uses."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from infra.engine import environment as environments
from infra.engine.environment import choose_backend, engine_environment, passphrase_file
from infra.engine.errors import EngineError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}


def log_in(home: Path, url: str) -> None:
    home.mkdir(parents=True)
    (home / "credentials.json").write_text(json.dumps({"current": url}))


def test_state_lies_in_the_project_by_default(project: Path, environ: dict[str, str]) -> None:
    backend = choose_backend(project, environ)
    assert backend.url == f"file://{project}/.mlops/state"
    assert backend.folder == project / ".mlops" / "state"
    assert backend.home == project / ".mlops" / "pulumi"


def test_login_of_the_person_wins_over_the_default(project: Path, environ: dict[str, str]) -> None:
    log_in(Path(environ["HOME"]) / ".pulumi", "s3://team-state")
    backend = choose_backend(project, environ)
    assert (backend.url, backend.folder, backend.chosen_by) == (None, None, "pulumi login")
    assert backend.home == Path(environ["HOME"]) / ".pulumi"


def test_login_inside_the_project_is_used(project: Path, environ: dict[str, str]) -> None:
    log_in(project / ".mlops" / "pulumi", "azblob://state")
    assert choose_backend(project, environ).chosen_by == "pulumi login"


def test_logging_out_brings_the_default_back(project: Path, environ: dict[str, str]) -> None:
    log_in(Path(environ["HOME"]) / ".pulumi", "")
    assert choose_backend(project, environ).chosen_by == "default"


def test_backend_variable_wins_over_a_login(project: Path, environ: dict[str, str]) -> None:
    log_in(Path(environ["HOME"]) / ".pulumi", "s3://team-state")
    environ["PULUMI_BACKEND_URL"] = "file://~/state"
    backend = choose_backend(project, environ)
    assert backend.url == "file://~/state"
    assert backend.chosen_by == "PULUMI_BACKEND_URL"


def test_backend_of_the_project_file_wins_over_a_login(project: Path, environ: dict[str, str]) -> None:
    log_in(Path(environ["HOME"]) / ".pulumi", "s3://team-state")
    with (project / "Pulumi.yaml").open("a") as file:
        file.write("backend:\n  url: gs://state\n")
    assert choose_backend(project, environ).chosen_by == "Pulumi.yaml"


def test_access_token_means_the_service(project: Path, environ: dict[str, str]) -> None:
    environ["PULUMI_ACCESS_TOKEN"] = "pul-1"
    backend = choose_backend(project, environ)
    assert (backend.url, backend.folder) == (None, None)


@pytest.mark.parametrize("content", ["", "not json", "[]", "{}"])
def test_damaged_credentials_are_no_login(project: Path, environ: dict[str, str], content: str) -> None:
    home = Path(environ["HOME"]) / ".pulumi"
    home.mkdir(parents=True)
    (home / "credentials.json").write_text(content)
    assert choose_backend(project, environ).chosen_by == "default"


def test_passphrase_is_made_once_and_private(project: Path, environ: dict[str, str]) -> None:
    backend = choose_backend(project, environ)
    path = passphrase_file(project, backend)
    first = path.read_text()
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert passphrase_file(project, backend).read_text() == first


def test_lost_passphrase_is_not_replaced_when_there_is_state(project: Path, environ: dict[str, str]) -> None:
    backend = choose_backend(project, environ)
    assert backend.folder is not None
    stacks = backend.folder / ".pulumi" / "stacks" / "mlops"
    stacks.mkdir(parents=True)
    (stacks / "local.json").write_text("{}")
    with pytest.raises(EngineError, match="passphrase is gone"):
        passphrase_file(project, backend)


def test_readable_passphrase_is_refused(project: Path, environ: dict[str, str]) -> None:
    backend = choose_backend(project, environ)
    passphrase_file(project, backend).chmod(0o644)
    with pytest.raises(EngineError, match="chmod 600"):
        passphrase_file(project, backend)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "engine" / "pulumi"
    path.parent.mkdir()
    path.touch()
    (path.parent / "pulumi-language-python").touch()

    def ensure(*_: object, **__: Any) -> Path:
        return path

    monkeypatch.setattr(environments, "ensure", ensure)
    return path


def test_engine_comes_first_on_path(project: Path, environ: dict[str, str], engine: Path) -> None:
    environ["PATH"] = f"/other:{engine.parent}"
    assert engine_environment(project, environ=environ)["PATH"] == f"{engine.parent}:/other"


def test_passphrase_of_the_person_is_used(project: Path, environ: dict[str, str], engine: Path) -> None:
    environ["PULUMI_CONFIG_PASSPHRASE"] = ""
    found = engine_environment(project, environ=environ)
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in found
    assert not (project / ".mlops" / "passphrase").exists()


def test_no_passphrase_is_made_for_a_shared_backend(project: Path, environ: dict[str, str], engine: Path) -> None:
    environ["PULUMI_BACKEND_URL"] = "s3://team-state"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in engine_environment(project, environ=environ)


def test_plugins_are_fetched_unless_told_otherwise(project: Path, environ: dict[str, str], engine: Path) -> None:
    name = "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"
    assert name not in engine_environment(project, environ=environ)
    assert engine_environment(project, environ=environ, acquire_plugins=False)[name] == "true"
