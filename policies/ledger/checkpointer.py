"""Makes checkpoints in time and keeps them away from the ledger: the part with files, clocks and threads.

A checkpoint is never signed over a chain that does not continue the one before: if the ledger was rewritten between two
checkpoints, the checkpointer says so instead of vouching for it.
"""

import contextlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from policies.ledger.chain import Entry, Head, genesis
from policies.ledger.checkpoint import (
    CHECKPOINT_NAMESPACE,
    INTERVAL_SECONDS,
    Checkpoint,
    due,
    make_checkpoint,
    signed_bytes,
)
from policies.ledger.events import RELEASE_KINDS, CheckpointKey
from policies.ledger.store import Clock, Ledger, Query
from policies.ledger.verification import Finding, Report, walk
from policies.releases.keys import key_signer
from policies.releases.signing import PrivateKey, PublicKey, SignatureError, public_key, verify

TICK_SECONDS = 2.0

_log = logging.getLogger(__name__)


class LedgerBrokenError(Exception):
    """The ledger does not continue what the last checkpoint states; no checkpoint is signed any more."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found}. Somebody changed the ledger's database: keep it and the checkpoints as evidence, see what is "
            "missing in the last export, and restore the database from its backup (docs/ledger.md, After a finding)"
        )


class CheckpointPlace(Protocol):
    """Where checkpoints lie: another folder, another disk, a bucket with object lock. Nothing is ever replaced."""

    @property
    def name(self) -> str:
        """What to call the place in the ledger."""

    def put(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; on return it is durable. One that is there already stays as it is."""

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint that goes furthest."""

    def read(self) -> tuple[list[Checkpoint], list[str]]:
        """Return all checkpoints, and what is wrong with those that can't be read."""


class DirectoryPlace:
    """Checkpoints as files, a folder a day: `2026-11-20/000000000012345.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The name of the folder; where it lies differs between machines."""
        return self._path.name

    def put(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; on return it is durable. One that is there already stays as it is."""
        target = self._path_of(checkpoint)
        folder = target.parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".new-", encoding="utf-8") as file:
            json.dump(checkpoint.to_json(), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
            try:
                target.hardlink_to(file.name)
            except FileExistsError:
                return
        for changed in (folder, self._path):
            _sync(changed)

    def drop(self, checkpoint: Checkpoint) -> None:
        """Forget a checkpoint that is kept elsewhere by now."""
        self._path_of(checkpoint).unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint that goes furthest.

        Raises:
            ValueError: it can't be read.
        """
        # By number and not by day: the clock may have been put back.
        for path in sorted(self._files(), key=lambda path: path.name, reverse=True):
            with contextlib.suppress(FileNotFoundError):
                return _read(path)
        return None

    def read(self) -> tuple[list[Checkpoint], list[str]]:
        """Return all checkpoints, and what is wrong with those that can't be read."""
        checkpoints, problems = [], []
        for path in self._files():
            try:
                checkpoints.append(_read(path))
            except FileNotFoundError:
                continue
            except ValueError as error:
                problems.append(str(error))
        return checkpoints, problems

    def _path_of(self, checkpoint: Checkpoint) -> Path:
        return self._path / f"{checkpoint.time.astimezone(UTC):%Y-%m-%d}" / f"{checkpoint.seq:015d}.json"

    def _files(self) -> list[Path]:
        return sorted(path for path in self._path.glob("*/*.json") if not path.name.startswith("."))


def _read(path: Path) -> Checkpoint:
    """Read a file; a FileNotFoundError says that it was dropped since it was listed."""
    try:
        return Checkpoint.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a checkpoint: {error}") from None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Checkpointer:
    """Seals a ledger: at most ten seconds after an entry, and at once after a step of a release.

    Run one for each ledger, beside its main writer. Several do no harm.
    """

    def __init__(
        self,
        ledger: Ledger,
        place: CheckpointPlace,
        key: PrivateKey,
        *,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        tick: float = TICK_SECONDS,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        """Take up where the last checkpoint ends, and announce the key in the ledger if it is a new one.

        Args:
            ledger: the ledger.
            place: where checkpoints are kept.
            key: signs them.
            clock: returns the time that a checkpoint states.
            monotonic: returns seconds by a clock that never steps.
            tick: seconds between two looks of `run`.
            interval: how old an entry may become before it is covered, in seconds.

        Raises:
            LedgerBrokenError: the last checkpoint is none of this ledger, does not fit it or can't be read.
            OSError: the place can't be asked.
        """
        self._ledger = ledger
        self._place = place
        self._key = key
        self._clock = clock or (lambda: datetime.now(UTC))
        self._monotonic = monotonic
        self._tick = tick
        self._interval = interval
        self._lock = threading.Lock()
        self._noticed: float | None = None
        self._sealed = genesis(ledger.id)
        self.error: str | None = None
        """Why the last look failed; None when it did not. While it is set, new entries may be without a checkpoint."""
        try:
            latest = place.latest()
        except ValueError as error:
            raise LedgerBrokenError(f"the last checkpoint can't be read: {error}") from None
        if latest is not None:
            self._resume(latest)
        if latest is None or _signer(latest) != public_key(key):
            ledger.append([CheckpointKey(person="ledger", key=public_key(key).fingerprint, place=place.name)])

    @property
    def sealed(self) -> Head:
        """Up to where the last checkpoint goes."""
        return self._sealed

    def after(self, entries: Iterable[Entry]) -> None:
        """Tell of entries that were committed: after a step of a release a checkpoint is made before this returns.

        Raises:
            LedgerBrokenError: the chain does not continue the last checkpoint.
            OSError: the checkpoint can't be kept.
        """
        self._look(release_step=any(entry.kind in RELEASE_KINDS for entry in entries))

    def look(self) -> None:
        """Make a checkpoint if one is due. Raises as `after`."""
        self._look(release_step=False)

    def seal(self) -> None:
        """Make a checkpoint of all that is not covered yet, due or not. Raises as `after`."""
        self._look(release_step=True)

    def run(self, stop: threading.Event) -> None:
        """Look every `tick` seconds until `stop`, then seal. Failures are logged, kept in `error` and tried again."""
        while not stop.wait(self._tick):
            self._try(self.look)
        self._try(self.seal)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look must come
            if str(error) != self.error:  # once, not every two seconds
                _log.exception("no checkpoint of the ledger could be made")
            self.error = str(error)
        else:
            self.error = None

    def _look(self, *, release_step: bool) -> None:
        with self._lock:
            head, now = self._ledger.head(), self._monotonic()
            if head == self._sealed:
                self._noticed = None
                return
            if head.seq <= self._sealed.seq:
                raise LedgerBrokenError(
                    f"the ledger ends at entry {head.seq}, but another end, {self._sealed.seq}, was sealed before"
                )
            if self._noticed is None:
                self._noticed = now
            waiting = now - self._noticed
            if due(head.seq, self._sealed.seq, waiting, release_step, self._tick, self._interval):
                self._seal(head)

    def _seal(self, head: Head) -> None:
        start = self._sealed
        new = self._ledger.entries(Query(after=start.seq, up_to=head.seq))
        report = walk(new, start, {head.seq: head.hash})
        if not report.ok or report.head != head:
            found = report.findings[0].message if report.findings else f"entry {head.seq} is not there"
            raise LedgerBrokenError(f"the ledger does not continue its checkpoint at entry {start.seq}: {found}")
        self._place.put(make_checkpoint(self._ledger.id, head, self._clock(), start.seq, key_signer(self._key)))
        self._sealed, self._noticed = head, None

    def _resume(self, latest: Checkpoint) -> None:
        if latest.ledger != self._ledger.id:
            raise LedgerBrokenError(
                f"{self._place.name} holds checkpoints of ledger {latest.ledger}, not of {self._ledger.id}"
            )
        entry = next(self._ledger.entries(Query(after=latest.seq - 1, up_to=latest.seq)), None)
        if entry is None or entry.head != latest.head:
            state = "missing" if entry is None else "another one"
            raise LedgerBrokenError(f"the last checkpoint covers entry {latest.seq}, which is {state} in the ledger")
        self._sealed = latest.head


def _signer(checkpoint: Checkpoint) -> PublicKey | None:
    try:
        return verify(checkpoint.signature, CHECKPOINT_NAMESPACE, signed_bytes(checkpoint))
    except SignatureError:
        return None


def audit(ledger: Ledger, place: CheckpointPlace, keys: Collection[PublicKey]) -> Report:
    """Verify a ledger against the checkpoints that lie in a place. See `verification.verify`."""
    checkpoints, problems = place.read()
    report = ledger.verify(checkpoints, keys)
    return replace(report, findings=(*(Finding(problem) for problem in problems), *report.findings))
