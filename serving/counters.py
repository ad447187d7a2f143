"""Prediction counters and latency histograms per model version, handed on as deltas.

A replica counts in plain integers and sends what was added since the last report in numbered batches, so that a batch
that is sent twice counts once. Series exist per model version and outcome only: their number does not grow with the
number of replicas or of callers.

Rollouts are judged by arms: what became of the requests that a version was chosen for, under one split of traffic.
While traffic is not divided an arm's counts are read off the version's own, so that counting costs nothing more.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.rollout.analysis.histogram import EDGES

Outcome = Literal["ok", "refused", "failed", "invalid", "timeout", "overload"]

# Upper bounds in seconds; the last bucket is open.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_BUCKETS, _EDGES = np.array(BUCKETS), np.array(EDGES)
_FOLD = 1_000
"""Latencies that are noted before they are folded, so that memory stays small however long nobody asks."""


class Slot:
    """The counters of one model version. Only the event loop touches it.

    Outcomes: `ok`; `refused` for a bad request; `failed` when the model raised; `invalid` when its output was not
    finite; `timeout`; `overload` when too many requests waited.
    """

    __slots__ = ("_new", "_own", "buckets", "digest", "fine", "model", "outcomes", "seconds", "version")

    def __init__(self, model: str, version: str, digest: str = "") -> None:
        self.model, self.version, self.digest = model, version, digest
        self.clear()

    def clear(self) -> None:
        """Start again at zero."""
        self.outcomes: dict[Outcome, int] = {}
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.fine = [0] * len(EDGES)
        self.seconds = 0.0
        self._new: list[float] = []
        self._own: list[float] = []

    def observe(self, seconds: float, stood: float = 0.0) -> None:
        """Count one answered request and how long it took.

        Args:
            seconds: all of it, what monitoring shows.
            stood: seconds of it that rollouts do not look at, see `serving.batching.Answered`.

        On the hot path it is only noted. It is put into the histograms by `fold`, many at a time, which costs a tenth.
        """
        self.outcomes["ok"] = self.outcomes.get("ok", 0) + 1
        self._new.append(seconds)
        self._own.append(seconds - stood)
        if len(self._new) >= _FOLD:
            self.fold()

    def fold(self) -> None:
        """Put what was noted into the histograms; needed before they are read."""
        if not self._new:
            return
        noted, own = np.array(self._new), np.array(self._own)
        self._new, self._own = [], []
        self.buckets = _filled(self.buckets, _BUCKETS, noted)
        self.fine = _filled(self.fine, _EDGES, own)
        self.seconds += float(noted.sum())

    def count(self, outcome: Outcome) -> None:
        """Count one request that was not answered with a prediction."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class ArmSlot:
    """What became of the requests that one version was chosen for under one split. Only the event loop touches it.

    Once it is `sent` nothing may be counted here any more: `Counters.arm` returns the one that follows it.
    """

    _COUNTS = (
        "assigned", "compared", "disagreed", "errors", "excused", "invalid",
        "labelled", "latency", "requests", "shed", "wrong",
    )  # fmt: skip
    __slots__ = (*_COUNTS, "sent")

    def __init__(self, *, sent: bool = False) -> None:
        self.sent = sent
        self.requests = self.errors = self.invalid = self.assigned = 0
        self.compared = self.disagreed = self.labelled = self.wrong = self.shed = self.excused = 0
        self.latency: dict[int, int] = {}

    def observe(self, seconds: float, *, timed: bool = True) -> None:
        """Count an answer and, unless another's stands for it, how long the arm took for it."""
        self.requests += 1
        if timed:
            bucket = bisect_left(EDGES, seconds)
            self.latency[bucket] = self.latency.get(bucket, 0) + 1

    def fail(self, *, invalid: bool = False) -> None:
        """Count a request that the arm did not answer, or answered with what is no answer."""
        self.requests += 1
        if invalid:
            self.invalid += 1
        else:
            self.errors += 1

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add what another process has counted, as `to_json` says it.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is malformed.
        """
        latency = {int(bucket): int(count) for bucket, count in counts.get("latency", {}).items()}
        added = {name: int(count) for name, count in counts.items() if name != "latency"}
        if unknown := added.keys() - set(self._COUNTS):
            raise KeyError(f"unknown counts: {', '.join(sorted(unknown))}")
        for name, count in added.items():
            setattr(self, name, getattr(self, name) + count)
        for bucket, count in latency.items():
            self.latency[bucket] = self.latency.get(bucket, 0) + count

    def to_json(self) -> dict[str, Any]:
        """Return the counts that are not zero, with the names of `serving.rollout`."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in self._COUNTS if getattr(self, name)}
        if self.latency:
            counts["latency"] = {str(bucket): count for bucket, count in self.latency.items()}
        return counts


class Counters:
    """All counters of a replica."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], Slot] = {}
        self._arms: dict[tuple[str, str, int], ArmSlot] = {}
        self._divided: set[str] = set()
        self._sequence = 0
        self._unsent: dict[str, Any] | None = None
        self._dropped: dict[str, int] = {}

    def slot(self, model: str, version: str, digest: str = "") -> Slot:
        """Return the counters of a model version."""
        slot = self._slots.get((model, version))
        if slot is None:
            slot = self._slots[model, version] = Slot(model, version, digest)
        elif digest:
            slot.digest = digest
        return slot

    def arm(self, model: str, digest: str, generation: int) -> ArmSlot:
        """Return the counters of an arm under a split or a replay; what was reported before is not in them."""
        key = (model, digest, generation)
        arm = self._arms.get(key)
        if arm is None:
            arm = self._arms[key] = ArmSlot()
        return arm

    def divide(self, models: set[str]) -> None:
        """Say of which models the traffic is divided: their arms are counted one by one, by `arm`."""
        self._divided = models

    @property
    def arms_wait(self) -> bool:
        """Whether there is something about arms to report, which a rollout waits for."""
        return bool(self._arms)

    def batch(self, dropped: dict[str, int]) -> dict[str, Any] | None:
        """Return what to report: the batch that was not acknowledged yet, else what was added since, else None.

        Args:
            dropped: rows that capture has dropped so far, by model.
        """
        if self._unsent is not None:
            return self._unsent
        series = []
        arms = [
            {"model": model, "digest": digest, "generation": generation, "counts": arm.to_json()}
            for (model, digest, generation), arm in self._arms.items()
        ]
        for arm in self._arms.values():
            arm.sent = True
        self._arms = {}
        for slot in self._slots.values():
            if slot.outcomes:
                slot.fold()
                if slot.digest and slot.model not in self._divided:
                    arms.append(_undivided(slot))
                series.append(
                    {
                        "model": slot.model,
                        "version": slot.version,
                        "outcomes": dict(slot.outcomes),
                        "buckets": list(slot.buckets),
                        "seconds": slot.seconds,
                    }
                )
                slot.clear()
        lost = {model: n - self._dropped.get(model, 0) for model, n in dropped.items()}
        lost = {model: n for model, n in lost.items() if n > 0}
        if not series and not lost and not arms:
            return None
        self._dropped = dict(dropped)
        self._sequence += 1
        self._unsent = {"sequence": self._sequence, "series": series, "dropped": lost, "arms": arms}
        return self._unsent

    def acknowledge(self, sequence: int) -> None:
        """Forget the batch that control has taken."""
        if self._unsent is not None and self._unsent["sequence"] <= sequence:
            self._unsent = None

    def forget(self, keep: set[tuple[str, str]]) -> None:
        """Drop the counters of versions that are gone, once what they hold was reported."""
        for key in [key for key, slot in self._slots.items() if key not in keep and not slot.outcomes]:
            del self._slots[key]


def _filled(counts: list[int], edges: NDArray[np.float64], values: NDArray[np.float64]) -> list[int]:
    """Add values to a histogram; a value on an edge belongs below it."""
    added = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(counts))
    return [count + int(more) for count, more in zip(counts, added, strict=True)]


def _undivided(slot: Slot) -> dict[str, Any]:
    """Read an arm's counts off those of its version; requests that were refused say nothing about the version."""
    count = slot.outcomes.get
    errors, invalid = count("failed", 0) + count("timeout", 0), count("invalid", 0)
    counts: dict[str, Any] = {"requests": count("ok", 0) + errors + invalid, "errors": errors, "invalid": invalid}
    counts["latency"] = {str(bucket): number for bucket, number in enumerate(slot.fine) if number}
    return {
        "model": slot.model,
        "digest": slot.digest,
        "generation": 0,
        "counts": {name: number for name, number in counts.items() if number},
    }
