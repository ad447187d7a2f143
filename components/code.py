"""Digests of the project's code: what a process runs, and what the result of a job depends on.

Two checkouts of the same files have the same digest; byte code, caches and editors' leftovers do not count.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_SKIPPED = frozenset({"__pycache__", "node_modules"})
MODEL_FILE = "model.py"
"""The file that makes a folder a model."""


def digest(project: str, paths: Iterable[str]) -> str:
    """Digest of files and folders, by their paths relative to the project; 16 hexadecimal digits.

    Raises:
        FileNotFoundError: one of them is not there.
    """
    return _digest(project, tuple(sorted(set(paths))), "")


def job_digest(project: str, folder: str, shared: Iterable[str]) -> str:
    """Digest of what a model's jobs run: the model's folder and shared code, without the folders of other models.

    Args:
        project: folder of the project.
        folder: the model's folder, relative to the project.
        shared: files and folders that all models share, relative to the project.
    """
    return _digest(project, tuple(sorted({*shared, folder})), folder)


@cache
def _digest(project: str, paths: tuple[str, ...], model: str) -> str:
    root = Path(project)
    total = hashlib.sha256()
    seen: set[str] = set()
    for path in paths:
        for file in _files(root / path, root / model if model else None):
            name = file.relative_to(root).as_posix()
            if name not in seen:
                seen.add(name)
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()[:16]


def _files(path: Path, model: Path | None) -> Iterator[Path]:
    """The files at a path in order; folders of models other than `model` are left out when one is given."""
    if not path.is_dir():
        yield path
        return
    with os.scandir(path) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    if model is not None and path != model and any(entry.name == MODEL_FILE for entry in listed):
        return
    for entry in listed:
        if entry.name.startswith(".") or entry.name in _SKIPPED or entry.name.endswith((".pyc", "~")):
            continue
        if entry.is_dir():
            yield from _files(Path(entry.path), model)
        elif entry.is_file():
            yield Path(entry.path)
