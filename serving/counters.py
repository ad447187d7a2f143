"""Prediction counters and latency histograms per model version, handed on as deltas.

A replica counts in plain integers and sends what was added since the last report in numbered batches, so that a batch
that is sent twice counts once. Series exist per model version and outcome only: their number does not grow with the
number of replicas or of callers.
"""

from bisect import bisect_left
from typing import Any, Literal

Outcome = Literal["ok", "refused", "failed", "invalid", "timeout", "overload"]

# Upper bounds in seconds; the last bucket is open.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Slot:
    """The counters of one model version. Only the event loop touches it.

    Outcomes: `ok`; `refused` for a bad request; `failed` when the model raised; `invalid` when its output was not
    finite; `timeout`; `overload` when too many requests waited.
    """

    __slots__ = ("buckets", "model", "outcomes", "seconds", "version")

    def __init__(self, model: str, version: str) -> None:
        self.model, self.version = model, version
        self.clear()

    def clear(self) -> None:
        """Start again at zero."""
        self.outcomes: dict[Outcome, int] = {}
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one answered request and how long it took."""
        self.outcomes["ok"] = self.outcomes.get("ok", 0) + 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def count(self, outcome: Outcome) -> None:
        """Count one request that was not answered with a prediction."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class Counters:
    """All counters of a replica."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], Slot] = {}
        self._sequence = 0
        self._unsent: dict[str, Any] | None = None
        self._dropped: dict[str, int] = {}

    def slot(self, model: str, version: str) -> Slot:
        """Return the counters of a model version."""
        return self._slots.setdefault((model, version), Slot(model, version))

    def batch(self, dropped: dict[str, int]) -> dict[str, Any] | None:
        """Return what to report: the batch that was not acknowledged yet, else what was added since, else None.

        Args:
            dropped: rows that capture has dropped so far, by model.
        """
        if self._unsent is not None:
            return self._unsent
        series = []
        for slot in self._slots.values():
            if slot.outcomes:
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
        if not series and not lost:
            return None
        self._dropped = dict(dropped)
        self._sequence += 1
        self._unsent = {"sequence": self._sequence, "series": series, "dropped": lost}
        return self._unsent

    def acknowledge(self, sequence: int) -> None:
        """Forget the batch that control has taken."""
        if self._unsent is not None and self._unsent["sequence"] <= sequence:
            self._unsent = None

    def forget(self, keep: set[tuple[str, str]]) -> None:
        """Drop the counters of versions that are gone, once what they hold was reported."""
        for key in [key for key, slot in self._slots.items() if key not in keep and not slot.outcomes]:
            del self._slots[key]
