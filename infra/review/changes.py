"""What a change is: the commit that it starts from, the files that differ, and a checkout of what was there before."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from infra import git

_SECONDS = 120


class ChangeError(Exception):
    """There is nothing to compare with; the text says why and what to do."""


@dataclass(frozen=True)
class Change:
    """A change.

    Attributes:
        project: folder of the checkout that is reviewed.
        base: commit that it starts from.
        head: commit that is checked out; `-dirty` at its end where files differ from it.
        files: paths that differ between the base and the files that are there, sorted.
    """

    project: Path
    base: str
    head: str
    files: tuple[str, ...]


def change_since(project: Path, base: str) -> Change:
    """Return what has changed since a ref.

    The base is the commit at which the two parted, so that what others have merged meanwhile is not taken for a part of
    this change.

    Args:
        project: folder of the checkout.
        base: name of the ref.

    Raises:
        ChangeError: there is no git, no repository, or no such ref.
    """
    if base.startswith("-"):
        raise ChangeError(f"--base {base!r} is no name of a commit")
    head = _git(project, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not head:
        raise ChangeError(f"{project.name} is no git repository with a commit: a review compares two commits")
    tip = _git(project, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    if not tip:
        raise ChangeError(
            f"there is no commit {base!r} in this repository; `git fetch origin {base}` gets a branch, and"
            f" `--base origin/{base}` names it"
        )
    start = _git(project, "merge-base", tip, head)
    if not start:
        raise ChangeError(
            f"{base} and what is checked out have no commit in common, as far as this clone goes back;"
            " `git fetch --unshallow` gets the whole history"
        )
    own = _paths(project, "diff", "--name-only", "--no-renames", "-z", start)
    new = _paths(project, "ls-files", "--others", "--exclude-standard", "-z")
    dirty = bool(new) or bool(_paths(project, "diff", "--name-only", "-z", "HEAD"))
    return Change(project, start, head + ("-dirty" if dirty else ""), tuple(sorted({*own, *new})))


def check_out(change: Change, folder: Path) -> None:
    """Put the files of the base into a folder.

    Raises:
        ChangeError: git could not tell them.
    """
    try:
        files = git.run(change.project, "archive", "--format=tar", change.base, seconds=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise ChangeError(f"the files of {change.base[:12]} cannot be read from git: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(files)) as archive:
        archive.extractall(folder, filter="data")


def _paths(project: Path, *arguments: str) -> list[str]:
    found = _git(project, *arguments)
    if found is None:
        raise ChangeError(f"git {arguments[0]} failed in {project.name}")
    return [one for one in found.split("\0") if one]


def _git(project: Path, *arguments: str) -> str | None:
    return git.answer(project, *arguments, seconds=_SECONDS)
