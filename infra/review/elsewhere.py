"""The review of a commit that is not checked out: its own code reviews it, in a copy beside this repository."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra import git
from infra.planning.runs import tools_home
from infra.review.changes import ChangeError

_SECONDS = 120
_LOCK = "requirements.lock"


def review_of(project: Path, head: str, base: str, arguments: Sequence[str]) -> int:
    """Review a commit by its own command line; what that prints and writes is this command's.

    Args:
        project: folder of the checkout.
        head: name of the commit.
        base: name of the commit that it is compared with.
        arguments: further arguments of `mlops review`; files are named by absolute paths.

    Returns:
        The exit code.

    Raises:
        ChangeError: a commit does not exist, or the head asks for other dependencies than are installed here.
    """
    commit, start = (_commit(project, option, name) for option, name in (("--head", head), ("--base", base)))
    if git.answer(project, "show", f"{commit}:{_LOCK}", seconds=_SECONDS) != (project / _LOCK).read_text().strip("\n"):
        raise ChangeError(f"{head} asks for other dependencies ({_LOCK}) than are installed here: check it out")
    with _checkout(project, commit) as copy:
        python = copy / ".mlops" / "venv" / "bin" / "python"
        command = [str(python), "-P", "-m", "infra.cli", "review", *arguments, "--base", start]
        return subprocess.run(command, cwd=copy, stdin=subprocess.DEVNULL, check=False).returncode


@contextmanager
def _checkout(project: Path, commit: str) -> Iterator[Path]:
    """Check a commit out in a clone that shares the repository's objects; nothing of it stays, in neither place."""
    with tempfile.TemporaryDirectory(prefix="mlops-head-") as folder:
        copy = Path(folder) / "checkout"
        try:
            git.run(project, "clone", "--quiet", "--shared", "--no-checkout", ".", str(copy), seconds=_SECONDS)
            git.run(copy, "-c", "core.hooksPath=/dev/null", "checkout", "--quiet", commit, seconds=_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or b""
            raise ChangeError(f"{commit[:12]} cannot be checked out: {said.decode().strip() or error}") from None
        tools_home(project, copy)
        kept = project / ".mlops" / "review"
        kept.mkdir(exist_ok=True)
        (copy / ".mlops" / "review").symlink_to(kept)
        yield copy


def _commit(project: Path, option: str, name: str) -> str:
    if name.startswith("-"):
        raise ChangeError(f"{option} {name!r} is no name of a commit")
    found = git.answer(project, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", seconds=_SECONDS)
    if not found:
        raise ChangeError(f"there is no commit {name!r} in this repository; `git fetch origin {name}` gets a branch")
    return found
