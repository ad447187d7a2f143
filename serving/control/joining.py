"""Labels meet the predictions that they are about, beside the controller's own work.

Every label is compared with every capture file of its model once, whichever came first: a new file with the labels
that are here, a new label with the files that are here. Reading happens in a thread; what is found becomes counts of
the version that predicted, under the split that chose it, in one transaction with the marks that say so. A controller
that is killed goes on where it stopped and counts nothing twice.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import sqlalchemy as sa

from serving.control.captures import Captures
from serving.control.database import LeaseLostError
from serving.control.labels import Labels, Pending, Received
from serving.control.predictions import Match, joined, match, request_ids
from serving.control.records import Draft
from serving.control.store import Store, UnknownError
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.observation import Batch

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_AT_ONCE = 5_000
_REST = 3.0
_FORGET_SECONDS = 3600.0
_DAY = 86_400.0
UNSPLIT = -1
"""Number of no split: the rollout's comparison passes such counts over, the version's own record takes them."""


class Joiner:
    """The labels of all models. Its methods belong to the controller's event loop."""

    def __init__(
        self, store: Store, captures: Captures, retention_days: int, clock: Callable[[], float], *, rest: float = _REST
    ) -> None:
        """Make it.

        Args:
            store: the controller's state.
            captures: where the captured predictions lie.
            retention_days: how long they are kept.
            clock: seconds since 1970.
            rest: pause after a search through the files that are there, as a multiple of what it took: labels that come
                one by one then share searches, and the controller's machine has its time for other things.
        """
        self._rest, self._search_at = rest, dict[str, float]()
        self._store, self._captures, self._days, self._clock = store, captures, retention_days, clock
        self._labels = Labels(store.database)
        self._models = self._labels.models()
        self._files: dict[str, set[str]] = {}
        self._new = asyncio.Event()

    def take(self, model: str, received: Received) -> dict[str, int]:
        """Store labels, all or none.

        Returns:
            How many are new (`accepted`) and how many were stored before (`known`).

        Raises:
            UnknownError: there is no such model.
            DifferentLabelError: another label is stored already.
        """
        if self._store.model(model) is None:
            raise UnknownError(f"unknown model {model!r}")
        new, now = self._labels.new(model, received), self._clock()
        if new:
            draft = Draft(writes=[partial(self._labels.insert, model=model, received=received, new=new, now=now)])
            draft.add({("labels", model, "", "received"): float(len(new))})
            self._store.take_in(draft)
            self._models.add(model)
            self._new.set()
        return {"accepted": len(new), "known": len(received.labels) - len(new)}

    async def run(self) -> None:
        """Look for new labels and new files until cancelled."""
        loop = asyncio.get_running_loop()
        forgotten = -_FORGET_SECONDS
        while True:
            try:
                for model in sorted(self._models):
                    await self.join(model)
                if loop.time() - forgotten >= _FORGET_SECONDS:
                    await self.forget()
                    forgotten = loop.time()
            except LeaseLostError:
                # The controller ends; its successor goes on from what was committed.
                return
            except Exception:
                log.exception("labels could not be joined; it is tried again")
                # What was being written may be stored or not: which files were compared is asked anew.
                self._files.clear()
            self._new.clear()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._new.wait()
            except TimeoutError:
                pass

    async def join(self, model: str) -> None:
        """Compare what is new of one model."""
        seen = self._files.get(model)
        if seen is None:
            seen = self._files[model] = await asyncio.to_thread(self._labels.files, model)
        there = await asyncio.to_thread(self._captures.files, model)
        new = sorted(there - seen)
        if new and not await asyncio.to_thread(self._labels.any_searched, model):
            # There is nothing to compare them with: the search for what is new goes through them.
            self._store.take_in(Draft(writes=[partial(self._labels.add_files, model=model, paths=new)]))
            seen.update(new)
            new = []
        for path in new:
            matches = await asyncio.to_thread(self._in_file, model, path)
            self._count(model, matches, partial(self._labels.add_files, model=model, paths=[path]))
            seen.add(path)
        if gone := seen - there:
            self._store.take_in(Draft(writes=[partial(self._labels.drop_files, model=model, paths=gone)]))
            seen -= gone
        began = asyncio.get_running_loop().time()
        if began < self._search_at.get(model, began):
            return
        if labels := await asyncio.to_thread(self._labels.unsearched, model, _AT_ONCE):
            matches = await asyncio.to_thread(self._in_files, sorted(seen, reverse=True), labels)
            self._count(model, matches, partial(self._labels.mark_searched, model=model, labels=labels))
            ended = asyncio.get_running_loop().time()
            self._search_at[model] = ended + self._rest * (ended - began)

    async def forget(self) -> None:
        """Delete labels that are older than any captured prediction; those that never met one are counted."""
        before = self._clock() - (self._days + 1) * _DAY
        while old := await asyncio.to_thread(self._labels.old, before, _AT_ONCE):
            keys = [one[:3] for one in old]
            draft = Draft(writes=[partial(self._labels.delete, keys=keys)])
            for model, _, _, found in old:
                if not found:
                    draft.add({("labels", model, "", "expired"): 1.0})
            self._store.take_in(draft)

    def _in_file(self, model: str, path: str) -> list[Match]:
        labels = self._labels.searched(model, request_ids(self._captures, path))
        return match(self._captures, path, labels) if labels else []

    def _in_files(self, paths: Sequence[str], labels: Sequence[Pending]) -> list[Match]:
        found: dict[tuple[str, int, str], Match] = {}
        with ThreadPoolExecutor(self._captures.readers, thread_name_prefix="captures") as readers:
            # In the order of the paths, whichever comes first: which prediction counts does not depend on the store.
            for matches in readers.map(lambda path: match(self._captures, path, labels), paths):
                for one in matches:
                    found.setdefault((one.label.id, one.label.row, one.digest), one)
        return list(found.values())

    def _count(self, model: str, matches: Iterable[Match], mark: Callable[[sa.Connection], None]) -> None:
        """Store what was found, and let the model move by it."""
        matches = list(matches)
        draft, counts = Draft(), dict[tuple[str, int], ArmCounts]()
        for one in matches:
            key = (one.digest, one.split if one.split > 0 else UNSPLIT)
            counts[key] = counts.get(key, ArmCounts()).plus(ArmCounts(labelled=1, wrong=int(one.wrong)))
            draft.add({("labelled", model, one.version, "wrong" if one.wrong else "right"): 1.0})
        digests = joined(matches)
        first = {(one.label.id, one.label.row) for one in matches if not one.label.joined}
        if first:
            draft.add({("labels", model, "", "joined"): float(len(first))})
        draft.writes = [partial(self._labels.mark_joined, model=model, joined=digests), mark]
        batches = [Batch(generation=split, digest=digest, counts=one) for (digest, split), one in counts.items()]
        self._store.take_in(draft, batches={model: batches} if batches else {})
