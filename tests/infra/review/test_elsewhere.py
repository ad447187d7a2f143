"""A commit that is not checked out is reviewed by its own code, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.review.changes import ChangeError
from infra.review.elsewhere import review_of

PROJECT = Path(__file__).parents[3]
CLI = """
import json, pathlib, subprocess, sys
told = {
    "code": "LETTER", "arguments": sys.argv[1:], "here": pathlib.Path(__file__).parents[2] == pathlib.Path.cwd(),
    "head": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
    "dirty": subprocess.check_output(["git", "status", "--porcelain"], text=True),
    "cwd": str(pathlib.Path.cwd()), "kept": sorted(one.name for one in pathlib.Path(".mlops/review").iterdir()),
}
pathlib.Path(sys.argv[-3]).write_text(json.dumps(told))
raise SystemExit(1)
"""


def _git(folder: Path, *arguments: str) -> str:
    own = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run([*own, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository on `main` whose branch `topic` has other code for the review."""
    folder = tmp_path / "repository"
    (folder / "infra" / "cli").mkdir(parents=True)
    for name in ("infra/__init__.py", "infra/cli/__init__.py", "requirements.lock"):
        (folder / name).write_text("")
    (folder / ".gitignore").write_text(".mlops/\n__pycache__/\n")
    (folder / ".mlops/review").mkdir(parents=True)
    (folder / ".mlops/review/base.json").write_text("{}")
    (folder / ".mlops/venv").symlink_to(Path(sys.prefix))
    _git(folder, "init", "-q", "-b", "main")
    for branch, letter in (("main", "base"), ("topic", "head")):
        if branch != "main":
            _git(folder, "switch", "-q", "-c", branch)
        (folder / "infra/cli/__main__.py").write_text(CLI.replace("LETTER", letter))
        _git(folder, "add", "-A")
        _git(folder, "commit", "-q", "-m", branch)
    _git(folder, "switch", "-q", "main")
    return folder


def test_the_heads_own_code_reviews_it_in_a_copy_that_is_gone_afterwards(repository: Path, tmp_path: Path) -> None:
    before = _git(repository, "for-each-ref"), sorted(one.name for one in (repository / ".git").iterdir())
    code = review_of(repository, "topic", "main", ["prod", "--told", str(tmp_path / "told")])
    told = json.loads((tmp_path / "told").read_text())
    main, topic = (_git(repository, "rev-parse", one) for one in ("main", "topic"))
    assert code == 1
    assert (told["code"], told["head"], told["here"], told["dirty"]) == ("head", topic, True, "")
    assert told["arguments"] == ["review", "prod", "--told", str(tmp_path / "told"), "--base", main]
    assert told["kept"] == ["base.json"]
    assert not Path(told["cwd"]).exists()
    assert before == (_git(repository, "for-each-ref"), sorted(one.name for one in (repository / ".git").iterdir()))


@pytest.mark.parametrize(
    ("head", "base", "said"),
    [
        ("nowhere", "main", "there is no commit 'nowhere'"),
        ("topic", "nowhere", "there is no commit 'nowhere'"),
        ("--output=x", "main", "--head '--output=x' is no name"),
        ("topic", "-x", "--base '-x' is no name"),
    ],
)
def test_a_commit_that_does_not_exist_is_said(repository: Path, head: str, base: str, said: str) -> None:
    with pytest.raises(ChangeError, match=said):
        review_of(repository, head, base, [])


def test_a_head_with_other_dependencies_has_to_be_checked_out(repository: Path) -> None:
    (repository / "requirements.lock").write_text("other==1\n")
    with pytest.raises(ChangeError, match=r"other dependencies .* check it out"):
        review_of(repository, "topic", "main", [])
