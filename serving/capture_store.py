"""Where finished files of captures go when the disk that they are written to ends with its pod: an object store.

Files are put whole: an object is there when it is complete, or not at all. What could not be put stays on the disk and
is tried again; what was put is removed from it. Prediction never waits for any of this.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import fs

log = logging.getLogger(__name__)

PAUSE_SECONDS = 30.0
"""Pause after a failure, so that a store that is away is not asked five times a second."""


class Store:
    """An object store.

    Args:
        address: its address as pyarrow takes it, such as `s3://bucket/captures?region=eu-central-1`; the credentials
            are those of the process's role.
        clock: seconds, growing.
    """

    def __init__(self, address: str, clock: Callable[[], float]) -> None:
        self._address, self._clock = address, clock
        self._opened: tuple[Any, str] | None = None
        self._rest = 0.0

    def put(self, directory: Path) -> int:
        """Put all finished files below a directory, and remove them there.

        Returns:
            How many were put. None is lost: those that could not be put are still there.
        """
        if self._clock() < self._rest:
            return 0
        done = 0
        for file in sorted(directory.glob("*/*/[!.]*.parquet")):
            try:
                # Whole before a stream is opened, which on its end is an object even where nothing was read.
                content = file.read_bytes()
            except FileNotFoundError:
                # Another process that captures into this folder has put it since it was listed.
                continue
            try:
                self._put(content, file.relative_to(directory))
            except Exception:
                self._rest = self._clock() + PAUSE_SECONDS
                log.exception("captures stay on the disk, and are tried again in %.0f s", PAUSE_SECONDS)
                break
            file.unlink(missing_ok=True)
            done += 1
        return done

    def _put(self, content: bytes, name: Path) -> None:
        if self._opened is None:
            self._opened = fs.FileSystem.from_uri(self._address)
        system, base = self._opened
        target = f"{base.rstrip('/')}/{name.as_posix()}"
        if system.type_name == "local":  # object stores have no folders
            system.create_dir(target.rpartition("/")[0], recursive=True)
        with system.open_output_stream(target) as out:
            out.write(content)
