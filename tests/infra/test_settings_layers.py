"""Stacks of releases: they begin with the settings of their foundation, and what contradicts that is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.settings.problems import SettingsError
from infra.settings.sources import Layer, load_stack_file, resolve

PROJECT = Path(__file__).resolve().parents[2]
STATED: dict[str, Any] = {"foundation": "prod", "layers": ["releases"]}


def read(project: Path = PROJECT, **stated: Any) -> Any:
    return resolve(project, Layer("stacks/Pulumi.test.yaml", {**STATED, **stated}))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's stacks and of the models that they name."""
    shutil.copytree(PROJECT / "stacks", tmp_path / "stacks")
    for name in ("flight_delay", "mortgage_approval"):
        folder = tmp_path / "training" / "examples" / name
        folder.mkdir(parents=True)
        (folder / "model.py").touch()
    return tmp_path


def problem(**stated: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        read(**stated)
    return str(caught.value)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_shipped_releases_speak_of_the_environment_of_their_foundation(environment: str) -> None:
    releases = load_stack_file(PROJECT / "stacks" / f"Pulumi.{environment}-releases.yaml")
    foundation = load_stack_file(PROJECT / "stacks" / f"Pulumi.{environment}.yaml")

    assert releases.layers == ("releases",)
    assert releases.foundation == environment
    assert (releases.environment, releases.client, releases.aws) == (
        foundation.environment,
        foundation.client,
        foundation.aws,
    )
    assert releases.models.keys() == foundation.models.keys()
    for name, model in releases.models.items():
        assert (model.folder, model.group) == (foundation.models[name].folder, foundation.models[name].group)


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_shipped_releases_are_pinned_gradual_and_rolled_back_by_themselves(environment: str) -> None:
    for model in load_stack_file(PROJECT / "stacks" / f"Pulumi.{environment}-releases.yaml").models.values():
        assert model.version != "latest"
        assert model.strategy.kind == "canary"
        assert model.strategy.bake > 0
        assert model.strategy.after.action == "rollback"


def test_releases_state_what_differs_from_their_foundation() -> None:
    settings = read(models={"flight-delay": {"version": 1}}, inference={"rollout": {"wait": False}})

    assert settings.models["flight-delay"].version == "1"
    assert settings.models["flight-delay"].folder == "training/examples/flight_delay"
    assert settings.inference.rollout.wait is False
    assert settings.inference.capture.retention_days == 365  # of the foundation's baseline


def test_a_foundation_that_is_not_there_is_refused_with_those_that_are() -> None:
    said = problem(foundation="nowhere")

    assert "there is no such other stack" in said
    assert "prod, prod-releases" in said


def test_a_stack_is_not_its_own_foundation(project: Path) -> None:
    (project / "stacks" / "Pulumi.test.yaml").write_text("config: {}")

    assert "there is no such other stack" in problem(project=project, foundation="test")


def test_a_stack_of_releases_is_no_foundation() -> None:
    assert "is a stack of releases itself" in problem(foundation="staging-releases")


def test_a_baseline_beside_a_foundation_is_refused() -> None:
    assert "leave baseline out" in problem(baseline="prod")


def test_layers_that_hold_a_foundation_beside_another_one_are_refused() -> None:
    assert "state `layers: [releases]`" in problem(layers=["foundation", "releases"])


def test_releases_without_a_foundation_are_refused() -> None:
    assert "states `foundation`" in problem(foundation=None, baseline="prod", aws=load_aws())


def test_settings_that_only_the_foundation_can_read_are_refused(project: Path) -> None:
    file = project / "stacks" / "Pulumi.prod.yaml"
    file.write_text(file.read_text().replace("  mlops:client: acme\n", "  mlops:client:\n    secure: v1:abc\n"))

    assert "mlops:client encrypted, which no other stack can read" in problem(project=project)


def load_aws() -> Any:
    from infra.settings.sources import _mapping  # what the shipped file states

    return _mapping(PROJECT, Path("stacks/Pulumi.prod.yaml"))["config"]["mlops:aws"]
