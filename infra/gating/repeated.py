"""Whether a plan has been judged already: the same files, on the same day.

A local environment is brought up again and again, and a preview would double what a repeated `up` takes. What its plan
may hold is decided by the program, its rules and its settings alone, so that one judgement a day of the same files is
enough; the day counts because waivers and approvals end with days. Gated environments never ask this: their gate looks
for a verdict of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

_FOLDERS = ("components", "infra", "policies", "stacks")
_FILES = ("Pulumi.yaml", "PulumiPolicy.yaml", "pyproject.toml")
_NAME = "judged.json"


def files_digest(project: Path, stack: str) -> str:
    """Return the digest over the program, its rules and the settings of one stack.

    Args:
        project: the project's folder.
        stack: name of the stack; files of other stacks do not count.
    """
    whole = hashlib.sha256(f"{stack}\0".encode())
    for path in _files(project, stack):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(project).as_posix()}\0{content}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def judged_today(folder: Path, digest: str, now: datetime) -> bool:
    """Return whether a plan of these files passed on this day; a record that cannot be read says no.

    Args:
        folder: the gate's folder of the stack.
        digest: of the files, as of `files_digest`.
        now: the time, with its zone.
    """
    try:
        found = json.loads((folder / _NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found == _record(digest, now))


def remember(folder: Path, digest: str, now: datetime) -> None:
    """Keep that a plan of these files passed."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{_NAME}.{os.getpid()}"
    draft.write_text(json.dumps(_record(digest, now)) + "\n", "utf-8")
    draft.replace(folder / _NAME)


def _record(digest: str, now: datetime) -> dict[str, str]:
    return {"files": digest, "day": now.date().isoformat()}


def _files(project: Path, stack: str) -> Iterator[Path]:
    for folder in _FOLDERS:
        for path in sorted((project / folder).rglob("*")):
            hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(project).parts)
            others = path.parent.name == "stacks" and path.name.startswith("Pulumi.")
            if path.is_file() and not hidden and not (others and path.name != f"Pulumi.{stack}.yaml"):
                yield path
    yield from (project / name for name in _FILES if (project / name).is_file())
