"""Where captured predictions lie for the controller: the folder that replicas write to, or the store they put into.

An object store is asked sparingly: it is listed a page of a thousand names at a time and paid for by request. New
files are looked for in the last days every few seconds, in all days once an hour, since a file that could not be put
for a while comes under the day it was written.
"""

import datetime
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

T = TypeVar("T")

log = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
"""Between two looks for new files of a model in a store."""
LOOK_ALL_SECONDS = 3600.0
"""Between two looks through all days that a store holds."""
LATE_DAYS = 2
"""Days, today's included, that every look goes through."""
READERS = 8
"""Files of a store that are read at once: each takes a few round trips and one column's memory."""
_PIECE_BYTES = 1 << 20


@dataclass
class _Listed:
    """What is known of a model's files: by day, and when it was looked for."""

    days: dict[str, set[str]] = field(default_factory=dict)
    at: float = float("-inf")
    all_at: float = float("-inf")


class Captures:
    """Captured predictions: `<model>/<yyyy-mm-dd>/<file>.parquet` below a folder or below a store's prefix.

    Its methods are called from threads.
    """

    def __init__(
        self,
        place: Path | str,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say where they are; nothing is asked yet.

        Args:
            place: a folder, or the address of a store as pyarrow takes it, such as
                `s3://bucket/captures?region=eu-central-1`; the credentials are those of the process's role.
            clock: seconds since 1970: which day it is.
            monotonic: seconds that never jump.
        """
        self._place, self._clock, self._monotonic = place, clock, monotonic
        self._opened: tuple[Any, str] | None = None
        self._listed: dict[str, _Listed] = {}
        self._lock = threading.Lock()

    @property
    def readers(self) -> int:
        """How many files are best read at once: a disk gains nothing by more than one."""
        return READERS if isinstance(self._place, str) else 1

    def files(self, model: str) -> set[str]:
        """Return the complete files of a model, as paths below the place.

        Raises:
            OSError: the store is away.
        """
        if isinstance(self._place, Path):
            return {
                f"{model}/{day.name}/{file.name}"
                for day in (self._place / model).glob("????-??-??")
                for file in day.glob("[!.]*.parquet")
            }
        with self._lock:
            return self._in_store(model, self._listed.setdefault(model, _Listed()))

    def read(self, path: str, read: Callable[[pq.ParquetFile], list[T]]) -> list[T]:
        """Read from a file; nothing where it is gone or damaged.

        Raises:
            OSError: the store is away: nothing is known of the file, and it is to be asked again.
        """
        system, base = self._system()
        full = f"{base}/{path}"
        try:
            with system.open_input_file(full) as source, pq.ParquetFile(source) as file:
                return read(file)
        except FileNotFoundError:
            # The retention has taken it.
            return []
        except (OSError, pa.ArrowException) as error:
            # Arrow tells of damaged pages by the same error as of a connection that broke.
            if isinstance(self._place, str):
                _read_through(system, full)
            log.warning("captured predictions cannot be read, labels about them stay open: %s: %s", path, error)
            return []

    def _in_store(self, model: str, listed: _Listed) -> set[str]:
        now = self._monotonic()
        if now - listed.all_at >= LOOK_ALL_SECONDS:
            listed.days = self._list(model)
            listed.all_at = listed.at = now
        elif now - listed.at >= LOOK_SECONDS:
            today = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).date()
            for back in range(LATE_DAYS):
                day = (today - datetime.timedelta(days=back)).isoformat()
                listed.days[day] = self._list(f"{model}/{day}").get(day, set())
            listed.at = now
        return set().union(*listed.days.values())

    def _list(self, below: str) -> dict[str, set[str]]:
        system, base = self._system()
        selector = fs.FileSelector(f"{base}/{below}", recursive=True, allow_not_found=True)
        days: dict[str, set[str]] = {}
        for one in system.get_file_info(selector):
            name = one.path.removeprefix(f"{base}/")
            parts = name.split("/")
            if len(parts) == 3 and parts[2].endswith(".parquet") and not parts[2].startswith("."):
                days.setdefault(parts[1], set()).add(name)
        return days

    def _system(self) -> tuple[Any, str]:
        if self._opened is None:
            if isinstance(self._place, Path):
                self._opened = fs.LocalFileSystem(), str(self._place)
            else:
                system, base = fs.FileSystem.from_uri(self._place)
                self._opened = system, base.rstrip("/")
        return self._opened


def _read_through(system: Any, path: str) -> None:
    """Read a file from end to end and keep nothing of it; raises where the store does not hand it out."""
    with system.open_input_stream(path) as stream:
        while stream.read(_PIECE_BYTES):
            pass
