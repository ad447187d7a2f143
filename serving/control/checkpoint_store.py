"""Checkpoints of the ledger in an object store: put by the controller's role, which can take none away again.

An object's name says the number of its last entry and the SHA-256 of its content. So a checkpoint that is put over
another one shows (its content is not what its name says), and so does a second one of the same entry (it has a name of
its own, and verification reads both). Under Object Lock the versions that were there first stay besides.

The disk comes first: a checkpoint is signed and kept on it before a step of a release is told as done, and a thread of
its own puts what is there into the store, in order. A store that is away delays nothing else.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyarrow import fs

from policies.ledger.checkpoint import Checkpoint
from policies.ledger.checkpointer import CheckpointPlace, DirectoryPlace
from policies.releases.record import canonical

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""Between two tries while the store is away."""
READERS = 16
"""Checkpoints that are read at once: each is a round trip, and there may be tens of thousands."""
_FOLDER = 100_000
"""Entries whose checkpoints share a folder, so that the last one is found by two short listings."""


class StorePlace:
    """Checkpoints in an object store: `0000000001/000000000123456-<sha256>.json`."""

    def __init__(self, address: str) -> None:
        """Say where it is; nothing is asked yet.

        Args:
            address: as pyarrow takes it, such as `s3://bucket/ledger?region=eu-central-1`; credentials are those of the
                process's role.
        """
        self._address = address
        self._opened: tuple[Any, str] | None = None

    @property
    def name(self) -> str:
        """Bucket and prefix."""
        return self._address.partition("?")[0]

    def put(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; on return it is durable.

        Raises:
            OSError: the store did not take it.
        """
        system, base = self._system()
        content = canonical(checkpoint.to_json())
        folder = f"{base}/{checkpoint.seq // _FOLDER:010d}"
        if system.type_name == "local":  # object stores have no folders
            system.create_dir(folder, recursive=True)
        with system.open_output_stream(f"{folder}/{_named(checkpoint.seq, content)}") as out:
            out.write(content)

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint that goes furthest.

        Raises:
            OSError: the store is away.
            ValueError: it can't be read.
        """
        for folder in sorted(self._list(""), reverse=True):
            if names := [name for name in self._list(folder) if name.endswith(".json")]:
                return self._read(max(names))
        return None

    def read(self) -> tuple[list[Checkpoint], list[str]]:
        """Return all checkpoints, and what is wrong with those that can't be read.

        Raises:
            OSError: the store is away.
        """
        names = [name for folder in sorted(self._list("")) for name in sorted(self._list(folder))]
        found: list[Checkpoint] = []
        problems: list[str] = []
        with ThreadPoolExecutor(READERS, thread_name_prefix="checkpoints") as readers:
            for one in readers.map(self._tried, names):
                if isinstance(one, str):
                    problems.append(one)
                else:
                    found.append(one)
        return found, problems

    def _tried(self, name: str) -> Checkpoint | str:
        try:
            return self._read(name)
        except ValueError as error:
            return str(error)

    def _read(self, name: str) -> Checkpoint:
        system, base = self._system()
        with system.open_input_stream(f"{base}/{name}") as source:
            content = source.read()
        where = f"{self.name}/{name}"
        try:
            checkpoint = Checkpoint.model_validate_json(content)
        except ValueError as error:
            raise ValueError(f"{where}: not a checkpoint: {error}") from None
        if name.rpartition("/")[2] != _named(checkpoint.seq, content):
            raise ValueError(f"{where}: something else was put over it; its first version is the one that counts")
        return checkpoint

    def _list(self, folder: str) -> list[str]:
        """Return what lies directly in a folder, as paths below the place; folders without the last stroke."""
        system, base = self._system()
        below = f"{base}/{folder}".rstrip("/")
        found = system.get_file_info(fs.FileSelector(below, allow_not_found=True))
        return [one.path.removeprefix(f"{base}/") for one in found]

    def _system(self) -> tuple[Any, str]:
        if self._opened is None:
            system, base = fs.FileSystem.from_uri(self._address)
            self._opened = system, base.rstrip("/")
        return self._opened


class ShippedPlace:
    """Checkpoints on the disk until they are in the store. `put` never waits for the store."""

    def __init__(
        self, disk: DirectoryPlace, store: CheckpointPlace, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Make it; `run` belongs in a thread of its own.

        Args:
            disk: where they are kept first.
            store: where they are kept for good.
            monotonic: seconds that never jump.
        """
        self._disk, self._store, self._monotonic = disk, store, monotonic
        self._wake = threading.Event()
        self._since: float | None = None
        self.error: str | None = None
        """Why the last try failed; None when it did not."""

    @property
    def name(self) -> str:
        """What to call the place in the ledger: the store."""
        return self._store.name

    @property
    def waiting_seconds(self) -> float:
        """For how long a checkpoint has been waiting to be put; 0 when none is."""
        since = self._since
        return 0.0 if since is None else self._monotonic() - since

    def put(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint on the disk, and have it put into the store at once.

        Raises:
            OSError: the disk did not take it.
        """
        self._disk.put(checkpoint)
        if self._since is None:
            self._since = self._monotonic()
        self._wake.set()

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint that goes furthest, on the disk or in the store. Raises as `StorePlace.latest`."""
        found = [one for one in (self._disk.latest(), self._store.latest()) if one is not None]
        return max(found, key=lambda one: one.seq, default=None)

    def read(self) -> tuple[list[Checkpoint], list[str]]:
        """Return all checkpoints, those that still wait among them. Raises as `StorePlace.read`."""
        # The disk first: what is put meanwhile is then read twice, and not missed.
        here, here_problems = self._disk.read()
        there, problems = self._store.read()
        return there + here, problems + here_problems

    def ship(self) -> None:
        """Put everything that waits into the store, oldest first.

        Raises:
            OSError: the store did not take one; it and those after it still wait.
        """
        self._wake.clear()
        checkpoints, problems = self._disk.read()
        for one in sorted(checkpoints, key=lambda one: one.seq):
            self._store.put(one)
            self._disk.drop(one)
        if problems:
            raise OSError("; ".join(problems))
        if not self._wake.is_set():
            self._since = None

    def hurry(self) -> None:
        """Have `run` look now."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Put what comes until `stop`, then once more. Failures are logged once, kept in `error` and tried again."""
        self._try()  # what a process before this one left
        while not stop.is_set():
            if self._wake.wait(PAUSE_SECONDS) or self.error:
                self._try()
                if self.error:
                    stop.wait(PAUSE_SECONDS)
        self._try()

    def _try(self) -> None:
        try:
            self.ship()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try must come
            if str(error) != self.error:
                log.warning("checkpoints of the ledger stay on the disk until they can be put: %s", error)
            self.error = str(error)
            if self._since is None:
                self._since = self._monotonic()
        else:
            self.error = None


def _named(seq: int, content: bytes) -> str:
    return f"{seq:015d}-{hashlib.sha256(content).hexdigest()}.json"
