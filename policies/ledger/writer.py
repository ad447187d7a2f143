"""Many threads, one commit: each append waits until it is durable, those that wait together share the disk's answer.

There is no thread of its own and no delay: whoever comes first commits for all who came while the commit before was
under way. Alone, an append costs what it costs without this.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from policies.ledger.chain import Entry, Prepared, prepare
from policies.ledger.events import AnyEvent
from policies.ledger.store import Ledger

# Bounds how long the database is locked for others at a time.
MAXIMUM_BATCH = 1000


class AppendError(Exception):
    """An append was not made; the cause says why."""


@dataclass(eq=False)
class _Waiting:
    """One call of `append`: `woken` is released when it is done or must commit for the others."""

    events: Sequence[Prepared]
    woken: threading.Lock = field(default_factory=threading.Lock)
    entries: list[Entry] | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.woken.acquire()

    @property
    def done(self) -> bool:
        return self.entries is not None or self.error is not None


class GroupWriter:
    """Appends to a ledger for many threads of one process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()  # guards the two below
        self._queue: list[_Waiting] = []
        self._committing = False

    def append(self, events: Iterable[AnyEvent]) -> list[Entry]:
        """Append events, all or none; on return they are durable.

        Raises:
            SecretRefusedError: an event holds what looks like a secret.
            ValueError: an event is too large.
            AppendError: the database refused; nothing was written.
        """
        mine = _Waiting([prepare(event) for event in events])
        with self._lock:
            self._queue.append(mine)
            leads = not self._committing
            self._committing = True
        if not leads:
            self._wait(mine)
        if not mine.done:
            self._lead()
        if mine.error is not None:
            raise AppendError("the append was not made") from mine.error
        assert mine.entries is not None
        return mine.entries

    def _wait(self, mine: _Waiting) -> None:
        try:
            mine.woken.acquire()
        except BaseException:  # Ctrl-C here must not leave the others without somebody who commits
            with self._lock:
                if mine in self._queue:
                    self._queue.remove(mine)
                    if not mine.woken.locked():
                        self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Make the first in the queue lead; called with the lock held."""
        if self._queue:
            self._queue[0].woken.release()
        else:
            self._committing = False

    def _lead(self) -> None:
        """Commit what waits, whose first is the caller's own, wake those and make the next one lead."""
        with self._lock:
            batch = self._take()
        try:
            entries = iter(self._ledger.append_prepared([event for one in batch for event in one.events]))
            for one in batch:
                one.entries = [next(entries) for _ in one.events]
        except BaseException as error:
            for one in batch:
                one.error = error if isinstance(error, Exception) else InterruptedError(repr(error))
            if not isinstance(error, Exception):
                raise
        finally:
            for one in batch:
                one.woken.release()
            with self._lock:
                self._pass_on()

    def _take(self) -> list[_Waiting]:
        size, count = 0, 0
        while count < len(self._queue) and (count == 0 or size + len(self._queue[count].events) <= MAXIMUM_BATCH):
            size += len(self._queue[count].events)
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch
