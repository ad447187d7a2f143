"""The official plugin is used where the engine finds it in the program's version, and is pointed at moto."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from infra.rehearsal import official
from infra.rehearsal.official import Choice, choose
from infra.rehearsal.phases import Rehearsal
from tests.rehearsal.conftest import PROGRAMS

WANTED = "7.51.1"


def installed(home: Path, version: str) -> Path:
    folder = home / "plugins" / f"resource-aws-v{version}"
    folder.mkdir(parents=True)
    (folder / "pulumi-resource-aws").touch(0o755)
    return folder


def test_none_is_found_where_none_is_installed(tmp_path: Path) -> None:
    assert choose(tmp_path, WANTED) == Choice()


def test_the_version_that_the_program_asks_for_is_used(tmp_path: Path) -> None:
    for version in ("7.9.0", WANTED, "8.0.0"):
        installed(tmp_path, version)

    assert choose(tmp_path, WANTED) == Choice(official={"aws": WANTED})


def test_another_version_is_named_and_not_used(tmp_path: Path) -> None:
    installed(tmp_path, "7.9.0")

    [note] = choose(tmp_path, WANTED).notes

    assert choose(tmp_path, WANTED).official == {}
    assert "7.9.0 is installed and not used: the program asks for 7.51.1" in note


def test_one_whose_installation_was_broken_off_is_none(tmp_path: Path) -> None:
    folder = installed(tmp_path, WANTED)
    folder.with_name(f"{folder.name}.partial").touch()
    (tmp_path / "plugins" / "resource-aws-v7.52.0").mkdir()

    assert choose(tmp_path, WANTED) == Choice()


def test_the_engine_s_folder_is_that_of_a_rehearsal_and_not_of_a_person_s_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "token")

    assert official.home(tmp_path) == tmp_path / ".mlops" / "pulumi"


@pytest.mark.engine
@pytest.mark.slow
def test_an_installed_plugin_is_started_by_the_engine_and_pointed_at_moto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    plugin = installed(home, importlib.metadata.version("pulumi-aws"))
    # What stands in for the official plugin's own file knows no more than a real one: the variables of the AWS SDKs.
    (plugin / "pulumi-resource-aws").write_text(
        "#!/bin/sh\n"
        'export MLOPS_REHEARSAL_AWS="${AWS_ENDPOINT_URL:?}"\n'
        f'export PYTHONPATH="{Path(__file__).parents[2]}"\n'
        'test "$AWS_ACCESS_KEY_ID" = rehearsal || exit 1\n'
        f'exec "{sys.executable}" -m infra.rehearsal.aws "$@"\n'
    )
    monkeypatch.setenv("PULUMI_HOME", str(home))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-person")
    chosen = choose(official.home(PROGRAMS / "slice"))
    assert chosen.official

    report = Rehearsal(
        project=PROGRAMS / "slice",
        stack="test",
        account="999999999999",
        region="eu-central-1",
        folder=tmp_path / "rehearsal",
        official=chosen.official,
        notes=("said besides",),
    ).run()

    assert report.providers["aws"].startswith("official plugin ")
    assert "said besides" in report.notes
    [preview] = report.phases
    assert "the credentials are those of account 999999999999" in preview.detail, "it asked the account that moto plays"
