"""A foundation of which only the outputs are there: as the engine reads it, and only where a stack names one."""

import json
from pathlib import Path

import pytest

from components.releases_layer import SURFACES, part_of
from infra.foundation_outputs import TOKEN, stand_in, stand_in_for, write_state


@pytest.mark.parametrize("part", ["url", "token", "cluster", "region", "authority"])
def test_it_has_what_a_stack_of_releases_reads(part: str) -> None:
    assert part_of(stand_in()["endpoints"], "prod", "control", part)
    assert set(SURFACES) <= stand_in()["endpoints"].keys()


def test_it_is_a_stack_of_the_project_in_a_file_backend(tmp_path: Path) -> None:
    file = write_state(tmp_path, "mlops", "prod", {"endpoints": {}})

    assert file == tmp_path / ".pulumi" / "stacks" / "mlops" / "prod.json"
    (resource,) = json.loads(file.read_text())["checkpoint"]["latest"]["resources"]
    assert resource["urn"] == "urn:pulumi:prod::mlops::pulumi:pulumi:Stack::mlops-prod"
    assert resource["outputs"] == {"endpoints": {}}


def test_a_stack_that_names_a_foundation_finds_one(tmp_path: Path) -> None:
    settings = tmp_path / "Pulumi.prod-releases.yaml"
    settings.write_text("config: {mlops:foundation: prod}")

    stand_in_for(settings, tmp_path / "state", "mlops")

    assert TOKEN in (tmp_path / "state/.pulumi/stacks/mlops/prod.json").read_text()


@pytest.mark.parametrize("text", ["", "config: {mlops:baseline: prod}", "config: {mlops:foundation: [a]}"])
def test_any_other_stack_finds_none(text: str, tmp_path: Path) -> None:
    settings = tmp_path / "Pulumi.prod.yaml"
    settings.write_text(text)

    stand_in_for(settings, tmp_path / "state", "mlops")

    assert not (tmp_path / "state").exists()
