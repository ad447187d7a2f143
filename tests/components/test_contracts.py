"""What components write is what the programs read: each configuration file goes through its reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.testing import Recording

PROCESS = "blueprint:index:Process"


@pytest.fixture
def written(platform: Recording, tmp_path: Path) -> Any:
    """Write a configuration file of a process and return its path."""

    def write(process: str, name: str) -> Path:
        path = tmp_path / name
        path.write_text(platform.of_type(PROCESS)[process].inputs["files"][name])
        return path

    return write


def test_replicas_read_their_configuration(written: Any) -> None:
    from serving.config import read

    settings = read(written("inference", "serving.json"))

    assert [group.name for group in settings.groups] == ["shared", "loan"]
    assert settings.group("loan").own_model == "loan"
    assert settings.features is not None
    assert settings.features.token == "TOKEN-feature-store-token"
    assert settings.limits.max_rows == 1000


def test_controller_reads_its_configuration(written: Any) -> None:
    from serving.control.config import read

    config = read(written("control", "control.json"))

    assert (config.host, config.port) == ("127.0.0.1", 8090)
    assert config.admin_token != config.replica_token


def test_scheduler_reads_its_configuration_and_secrets(written: Any) -> None:
    from training.pipelines.schedule import parse
    from training.pipelines.secret_environment import parse as parse_secrets

    config = parse(json.loads(written("scheduler", "schedule.json").read_text()))

    assert [(entry.model, entry.cron) for entry in config.entries] == [("loan", "0 3 * * *")]
    assert config.token == "TOKEN-cluster-token"
    secrets = parse_secrets(written("scheduler", "secrets.env").read_text(), "secrets.env")
    assert secrets == {"MLFLOW_TRACKING_PASSWORD": "TOKEN-registry-password"}


def test_modules_that_processes_run_exist(platform: Recording) -> None:
    import importlib.util

    for token in (PROCESS, "blueprint:index:Job"):
        for entry in platform.of_type(token).values():
            command = entry.inputs["command"]
            if "-m" in command:
                assert importlib.util.find_spec(command[command.index("-m") + 1]), entry.name
