"""What counts as the same files, and what is remembered of them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.gating.repeated import files_digest, judged_today, remember

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    names = (
        "infra/__main__.py", "components/gate.py", "policies/rule.py", "stacks/Pulumi.local.yaml",
        "stacks/Pulumi.prod.yaml", "stacks/waivers.yaml", "stacks/baselines/local.yaml", "docs/a.md",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("infra/__main__.py", True), ("components/new.py", True), ("policies/rule.py", True),
        ("stacks/Pulumi.local.yaml", True), ("stacks/baselines/local.yaml", True), ("stacks/waivers.yaml", True),
        ("Pulumi.yaml", True), ("stacks/Pulumi.prod.yaml", False), ("docs/a.md", False),
        ("infra/__pycache__/x.pyc", False), ("infra/.cache", False),
    ],
)  # fmt: skip
def test_what_counts_are_the_program_its_rules_and_the_settings_of_the_stack(
    project: Path, name: str, counts: bool
) -> None:
    before = files_digest(project, "local")
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("2\n")
    assert (files_digest(project, "local") != before) is counts


def test_stacks_are_told_apart(project: Path) -> None:
    assert files_digest(project, "local") != files_digest(project, "other")


def test_what_passed_is_remembered_for_the_day(tmp_path: Path) -> None:
    folder = tmp_path / "gates/local"
    assert not judged_today(folder, "sha256:a", NOW)
    remember(folder, "sha256:a", NOW)
    assert judged_today(folder, "sha256:a", NOW.replace(hour=23))
    assert not judged_today(folder, "sha256:b", NOW)
    assert not judged_today(folder, "sha256:a", NOW.replace(day=21))


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "judged.json").write_text("{")
    assert not judged_today(tmp_path, "sha256:a", NOW)
