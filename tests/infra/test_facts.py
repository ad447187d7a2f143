"""What a stack's gate states of it."""

import subprocess
from pathlib import Path

import pytest

from infra.facts import commit_of, configuration, gate_args
from infra.settings import Settings, SettingsError
from policies.facts import EnvironmentKind, environment_kind


def settings(**stated: object) -> Settings:
    return Settings.model_validate(stated)


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *own, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "target", "stated", "kind"),
    [
        ("prod", "aws", None, "prod"),
        ("staging", "aws", None, "staging"),
        ("dev", "aws", None, "dev"),
        ("live-eu", "aws", None, "prod"),
        ("local", "aws", None, "prod"),
        ("sandbox", "aws", "dev", "dev"),
        ("prod", "local", None, "local"),
        ("local", "local", "prod", "prod"),
    ],
)
def test_environment_counts_as_production_unless_it_says_otherwise(
    name: str, target: str, stated: EnvironmentKind | None, kind: str
) -> None:
    assert environment_kind(name, target, stated) == kind


def test_gate_states_settings_by_their_names_in_the_file() -> None:
    args = gate_args(settings(client="acme"), project=Path("/p"), stack="s", commit="c" * 40)

    assert (args.client, args.stack, args.target, args.environment) == ("acme", "s", "local", "local")
    assert args.settings["inference"]["maxBodyBytes"] == 4_194_304
    assert args.commit == "c" * 40


def test_secret_settings_are_not_shown_but_count() -> None:
    stated = settings(registry={"username": "hunter-two"})
    shown = gate_args(stated, project=Path("/p"), stack="s", secret={"registry"})

    assert "hunter-two" not in repr(shown)
    assert "registry" not in shown.settings
    other = gate_args(settings(registry={"username": "other"}), project=Path("/p"), stack="s", secret={"registry"})
    assert shown.configuration != other.configuration


def test_configuration_follows_every_setting_and_nothing_else() -> None:
    assert configuration("s", {"a": 1, "b": {"c": 2}}, ()) == configuration("s", {"b": {"c": 2}, "a": 1}, ())
    assert configuration("s", {"a": 1}, ()) != configuration("s", {"a": 2}, ())


def test_keys_are_read_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("gate@acme …")

    args = gate_args(settings(gates={"allowedSigners": "keys"}), project=tmp_path, stack="s")

    assert (args.allowed_signers, args.trust_root) == ("gate@acme …", "local")
    with pytest.raises(SettingsError, match=r"gates\.allowedSigners"):
        gate_args(settings(gates={"allowedSigners": "missing"}), project=tmp_path, stack="s")


def test_commit_is_the_whole_one(repository: Path) -> None:
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["file", "new"])
def test_commit_is_dirty_when_a_file_differs_or_is_new(repository: Path, name: str) -> None:
    (repository / name).write_text("2")

    assert commit_of(repository) == git(repository, "rev-parse", "HEAD") + "-dirty"


def test_there_is_no_commit_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(Path.cwd() / ".git"))  # of another repository

    assert commit_of(tmp_path) == ""
