"""The tool cache in the user's cache folder: where tools lie, who may write, and how a tool appears there at once.

Layout under `${XDG_CACHE_HOME:-~/.cache}/mlops-blueprint/`:

    tools/<tool>-<version>-<checksum8>/   finished tools; a folder that is there is complete
    downloads/                            release archives under way (resumable)
    build/                                Go's own caches while something is built (resumable), removed afterwards
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.engine.catalogue import Version, show
from infra.engine.errors import ToolError

Progress = Callable[[str], None]
"""Takes one line for people."""


def silent(_message: str) -> None:
    """Progress that nobody looks at."""


class Cache:
    """The cache folder of this user."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".cache")
        self.root = Path(base) / "mlops-blueprint"
        self.tools = self.root / "tools"
        self.downloads = self.root / "downloads"
        self.build = self.root / "build"

    def folder(self, tool: str, version: Version, checksum: str) -> Path:
        """Return where a tool of this version and origin lies once it is there."""
        return self.tools / f"{tool}-{show(version)}-{checksum[:8]}"

    @contextlib.contextmanager
    def exclusive(self, progress: Progress) -> Iterator[None]:
        """Hold the cache's lock: one download or build at a time, whoever asks.

        Raises:
            ToolError: The cache folder can't be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = (self.root / "lock").open("a")
        except OSError as error:
            raise ToolError(
                f"the tool cache {self.root} can't be written ({error.strerror}). "
                "Set XDG_CACHE_HOME to a folder of yours."
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("another process is getting tools into the same cache; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def exclusive_if_free(self) -> Iterator[bool]:
        """Hold the cache's lock if nobody has it, and say whether it was to be had."""
        with contextlib.ExitStack() as stack:
            try:
                fcntl.flock(stack.enter_context((self.root / "lock").open("a")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True

    @contextlib.contextmanager
    def installing(self, folder: Path) -> Iterator[Path]:
        """Give an empty folder to fill, and let it appear under its real name only when nothing failed."""
        draft = folder.with_name(f".{folder.name}.draft")
        remove(draft)
        draft.mkdir(parents=True)
        try:
            yield draft
            draft.rename(folder)
        finally:
            remove(draft)


def remove(folder: Path) -> None:
    """Remove a folder, also where its folders are read-only as in Go's module cache."""

    def make_writable(function: Callable[[str], Any], path: str, _error: object) -> None:
        for each in (Path(path).parent, Path(path)):
            with contextlib.suppress(OSError):
                each.chmod(each.stat().st_mode | stat.S_IRWXU)
        with contextlib.suppress(OSError):
            function(path)

    if folder.exists():
        # What this leaves behind, if anything, is only disk space: `./mlops doctor` names it.
        shutil.rmtree(folder, onerror=make_writable)
