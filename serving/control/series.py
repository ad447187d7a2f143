"""Counters of all replicas together: they only grow, survive restarts, and take each report once."""

from collections.abc import Iterable, Mapping
from typing import Any

from serving.counters import BUCKETS
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.observation import Batch

# kind, model, version, label. The kinds and their labels: predictions (outcome), bucket (number), seconds, dropped,
# rollouts (how they ended), labels (received, joined, expired), labelled (right, wrong), alarms (what they ask for),
# shadow (what became of a copy)
Key = tuple[str, str, str, str]

# Old versions of a model leave the page when there are more than this many.
VERSIONS = 50


class SeriesError(Exception):
    """A report is malformed."""


def read_batch(batch: Any) -> tuple[int, dict[Key, float]]:
    """Read one batch of deltas.

    Returns:
        Its sequence number, and what to add to which series.

    Raises:
        SeriesError: it is malformed.
    """
    try:
        added: dict[Key, float] = {}
        for one in batch["series"]:
            model, version = str(one["model"]), str(one["version"])
            for outcome, count in one["outcomes"].items():
                added["predictions", model, version, str(outcome)] = _positive(count)
            buckets = one["buckets"]
            if len(buckets) != len(BUCKETS) + 1:
                raise SeriesError(f"buckets: expected {len(BUCKETS) + 1} numbers")
            for index, count in enumerate(buckets):
                if count:
                    added["bucket", model, version, str(index)] = _positive(count)
            added["seconds", model, version, ""] = _positive(one["seconds"])
        for model, rows in batch["dropped"].items():
            added["dropped", str(model), "", ""] = _positive(rows)
        sequence = int(batch["sequence"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SeriesError(f"a batch of counters is malformed: {error}") from None
    return sequence, added


def read_arms(batch: Any) -> list[tuple[str, Batch]]:
    """Read the counts of arms in a batch: by model, as the rollout machine takes them.

    Raises:
        SeriesError: they are malformed.
    """
    try:
        return [
            (
                str(one["model"]),
                Batch(
                    generation=int(one["generation"]),
                    digest=str(one["digest"]),
                    counts=ArmCounts.model_validate(one["counts"]),
                ),
            )
            for one in batch.get("arms", ())
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SeriesError(f"counts of arms are malformed: {error}") from None


def surplus(keys: Iterable[Key], served: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """Return the (model, version) pairs to drop: the oldest beyond VERSIONS that are not served.

    Args:
        keys: all series, oldest first.
        served: the versions of each model that stay in any case.
    """
    versions: dict[str, dict[str, None]] = {}
    for _, model, version, _ in keys:
        if version:
            versions.setdefault(model, {})[version] = None
    dropped = set()
    for model, found in versions.items():
        old = [version for version in found if version not in served.get(model, set())]
        dropped |= {(model, version) for version in old[: max(0, len(found) - VERSIONS)]}
    return dropped


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise SeriesError(f"{value!r} is no count")
    return number
