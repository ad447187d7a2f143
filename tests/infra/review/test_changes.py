"""What has changed since a base, and what is said where there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.review.changes import ChangeError, change_since, check_out


def _git(folder: Path, *arguments: str) -> str:
    own = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run([*own, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit on `main`."""
    folder = tmp_path / "repository"
    (folder / "stacks").mkdir(parents=True)
    (folder / "a.txt").write_text("1")
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "first")
    return folder


def test_files_changed_and_new_are_told(repository: Path) -> None:
    (repository / "a.txt").write_text("2")
    (repository / "b c.txt").write_text("new")
    found = change_since(repository, "main")
    assert found.files == ("a.txt", "b c.txt")
    assert found.head == f"{found.base}-dirty"


def test_what_others_merged_meanwhile_is_no_part_of_the_change(repository: Path) -> None:
    _git(repository, "switch", "-q", "-c", "mine")
    (repository / "a.txt").write_text("mine")
    _git(repository, "commit", "-q", "-a", "-m", "mine")
    _git(repository, "switch", "-q", "main")
    (repository / "theirs.txt").write_text("theirs")
    _git(repository, "add", "-A")
    _git(repository, "commit", "-q", "-m", "theirs")
    _git(repository, "switch", "-q", "mine")
    found = change_since(repository, "main")
    assert found.files == ("a.txt",)
    assert not found.head.endswith("-dirty")


def test_the_base_is_checked_out_as_it_was(repository: Path, tmp_path: Path) -> None:
    (repository / "a.txt").write_text("2")
    check_out(change_since(repository, "main"), tmp_path / "base")
    assert (tmp_path / "base" / "a.txt").read_text() == "1"


@pytest.mark.parametrize("base", ["no-such-branch", "--upload-pack=x", "main:a.txt"])
def test_a_base_that_does_not_exist_is_said(repository: Path, base: str) -> None:
    with pytest.raises(ChangeError, match=r"base|no commit"):
        change_since(repository, base)


def test_a_folder_without_git_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChangeError, match="no git repository"):
        change_since(tmp_path, "main")
