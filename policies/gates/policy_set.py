"""The digest of the policies: of everything that a verdict depends on besides the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from policies.waivers import FILE as WAIVERS

_FOLDER = "policies"


def policies_digest(project: Path) -> str:
    """Return the digest over rules, tables (the price book is one), and the waivers of a project.

    It covers names and contents of all files under `policies/`, so that a rule that was taken away shows too.

    Args:
        project: the project's folder.
    """
    whole = hashlib.sha256()
    for path in _files(project):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(project).as_posix()}\0{content}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _files(project: Path) -> Iterator[Path]:
    for path in sorted((project / _FOLDER).rglob("*")):
        hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(project).parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield path
    waivers = project / WAIVERS
    if waivers.is_file():
        yield waivers
