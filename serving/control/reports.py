"""What replicas and the actuator report: read and checked as a whole before any of it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from serving.control.admission import RefusedError
from serving.control.fleet import Seen, read_models
from serving.control.series import Key, SeriesError, read_arms, read_batch
from serving.rollout.observation import Batch, Candidate
from serving.state import StateError


@dataclass(frozen=True, slots=True)
class Counted:
    """One batch of counters: its number, what to add to which series, and the counts of arms by model."""

    sequence: int
    added: Mapping[Key, float]
    arms: tuple[tuple[str, Batch], ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """One report of a replica, its batches in order."""

    group: str
    models: Mapping[str, Seen]
    counted: tuple[Counted, ...]


def read_report(report: Any) -> Reported:
    """Read a replica's report.

    Raises:
        RefusedError: it is malformed.
    """
    try:
        models = read_models(report["models"])
        counted = [Counted(*read_batch(batch), tuple(read_arms(batch))) for batch in report["counters"]]
        return Reported(str(report["group"]), models, tuple(sorted(counted, key=lambda one: one.sequence)))
    except (KeyError, TypeError, AttributeError, ValueError, StateError, SeriesError) as error:
        raise RefusedError(f"the report is malformed: {error}") from None


def read_applications(reported: Any) -> dict[str, tuple[str, Candidate]]:
    """Read the actuator's report about candidates' applications: name → digest and condition.

    Raises:
        RefusedError: it is malformed.
    """
    try:
        return {
            str(name): (
                str(one["digest"]),
                Candidate(status=one["status"], reason=str(one["reason"]), fault=one["fault"]),
            )
            for name, one in reported.items()
        }
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise RefusedError(f"the report is malformed: {error}") from None
