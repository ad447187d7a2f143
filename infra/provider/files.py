"""Private files and folders of an environment: written whole or not at all, and readable by their owner only."""

import os
import stat
from pathlib import Path
from typing import IO

from infra.provider.resource import ResourceError


def make_private(directory: str) -> None:
    """Make `directory` and what is missing above it, with mode 0700."""
    missing = [path for path in (Path(directory), *Path(directory).parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def require_own(directory: str) -> None:
    """Raise `ResourceError` unless `directory` is a real folder that belongs to this user alone.

    For folders with guessable names below `/tmp`, which anyone could have made before us.
    """
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ResourceError(
            f"{directory} is not a folder of this user with mode 0700: somebody else made it; remove it"
        )


def write_private(path: str, content: str) -> None:
    """Write `content` to `path` with mode 0600, so that a reader sees either the old or the new content."""
    make_private(os.path.dirname(path))  # noqa: PTH120
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open_private(beside) as file:
            file.write(content.encode())
        os.replace(beside, path)  # noqa: PTH105
    except OSError as error:
        Path(beside).unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}: {error.strerror}") from error


def open_private(path: str) -> IO[bytes]:
    """Open `path` for writing, empty and with mode 0600."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def read_text(path: str) -> str | None:
    """Return the content of `path`, or None when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def tail(path: str, lines: int, start: int = 0) -> str:
    """Return the last `lines` lines of `path`, of what was written after byte `start` (unless it was rotated since)."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - 64 * 1024))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def size(path: str) -> int:
    """Return the size of `path` in bytes, 0 when there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
