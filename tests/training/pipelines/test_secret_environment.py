"""Secrets from a file: they reach the command and no error message."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.pipelines.secret_environment import parse, variables_of

ROOT = Path(__file__).parents[3]


def test_lines_become_variables() -> None:
    assert parse("# a comment\n\nA=1\nB=x=y z\n", "f") == {"A": "1", "B": "x=y z"}


@pytest.mark.parametrize("line", ["secret", "A B=secret", "1A=secret", "=secret"])
def test_bad_line_is_named_without_its_value(line: str) -> None:
    with pytest.raises(TrainingError, match="f: line 2 is not NAME=value") as error:
        parse(f"A=1\n{line}\n", "f")
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_secret_of_the_cloud_becomes_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        boto3.client("secretsmanager").create_secret(Name="acme/prod/registry-password", SecretString="hidden")

        assert variables_of("secretsmanager:acme/prod/registry-password:TOP") == {"TOP": "hidden"}
        with pytest.raises(TrainingError, match="secret acme/other cannot be read"):
            variables_of("secretsmanager:acme/other:TOP")


@pytest.mark.parametrize("source", ["secretsmanager:name", "secretsmanager::TOP", "secretsmanager:name:1X"])
def test_secret_without_a_variable_is_refused(source: str) -> None:
    with pytest.raises(TrainingError, match="is not secretsmanager:SECRET:NAME"):
        variables_of(source)


def test_command_gets_the_variables(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("TOP=secret\n")
    show = [sys.executable, "-c", "import os; print(os.environ['TOP'])"]
    command = [sys.executable, "-m", "training.pipelines.secret_environment", str(file), "--", *show]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "secret"


def test_missing_file_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.pipelines.secret_environment", str(tmp_path / "no"), "--", "true"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
