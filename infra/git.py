"""Asks git about the project's own repository, and changes nothing in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run(project: Path, *arguments: str, seconds: float) -> bytes:
    """Return what git prints; nothing of what a git hook sets counts, since the repository is the project's.

    Args:
        project: the project's folder.
        arguments: git's arguments.
        seconds: how long it may take.

    Raises:
        OSError: there is no git.
        subprocess.SubprocessError: it failed, or took too long.
    """
    done = subprocess.run(
        ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments],
        cwd=project,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=seconds,
    )
    return done.stdout


def answer(project: Path, *arguments: str, seconds: float) -> str | None:
    """Return what git answers, None where it cannot: no git, no repository, or nothing of that name."""
    try:
        return run(project, *arguments, seconds=seconds).decode().strip("\n")
    except (OSError, subprocess.SubprocessError):
        return None
