"""What replicas and candidates' applications reported last: conditions that need no memory beyond this process."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.rollout.observation import Candidate
from serving.state import StateError

LIVE_SECONDS = 15.0
"""A replica that was silent for longer is not waited for; it reports every 5."""
HEARD_SECONDS = 2.5
"""Without a report for longer there are no metrics; during a rollout replicas report at least every second."""

Key = tuple[str, str]  # version, digest


@dataclass(frozen=True, slots=True)
class Seen:
    """What one replica said about one model.

    `loaded` is version and digest → error and whose fault, or None where it is loaded; `serving` is what it answers
    with; `split` is the number of the split that it applies; `replay_failed` is a replay's number and why it failed;
    `failure` is the candidate's digest and what its last failed request failed of.
    """

    serving: Key | None = None
    loaded: Mapping[Key, tuple[str, str] | None] = field(default_factory=dict)
    split: int = -1
    replay_failed: tuple[int, str] | None = None
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One replica's last report, and when it came by a clock that never steps."""

    group: str
    at: float
    models: Mapping[str, Seen]


def read_models(models: Any) -> dict[str, Seen]:
    """Read what a report says about models.

    Raises:
        StateError, KeyError, TypeError, AttributeError, ValueError: it is malformed.
    """
    return {str(name): _seen(status) for name, status in models.items()}


def _seen(status: Any) -> Seen:
    serving = status["serving"]
    loaded: dict[Key, tuple[str, str] | None] = {}
    for one in status["versions"]:
        error = one["error"]
        if error is not None and not isinstance(error, str):
            raise StateError("error: expected text or null")
        fault = "model" if one.get("fault") == "model" else "platform"
        loaded[str(one["version"]), str(one["digest"])] = None if error is None else (error, fault)
    failed, failure = status.get("replayFailed"), status.get("failure")
    return Seen(
        serving and (str(serving["version"]), str(serving["digest"])),
        loaded,
        int(status.get("split", -1)),
        failed and (int(failed["generation"]), str(failed["reason"])),
        failure and (str(failure["digest"]), str(failure["reason"])),
    )


class Fleet:
    """All replicas and candidates' applications."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}
        self._applications: dict[str, tuple[str, Candidate]] = {}

    def put(self, replica: str, report: Report) -> None:
        """Take a report in place of the replica's last one."""
        self._reports[replica] = report

    def put_applications(self, applications: Mapping[str, tuple[str, Candidate]]) -> None:
        """Take over how the candidates' applications are: name → digest and condition."""
        self._applications.update(applications)

    def keep_applications(self, wanted: Collection[str]) -> None:
        """Forget candidates' applications that are not wanted any more; the next of such a name starts unknown."""
        self._applications = {name: one for name, one in self._applications.items() if name in wanted}

    def application(self, name: str, digest: str) -> Candidate | None:
        """Return how a candidate's application is; None if nobody has said."""
        found = self._applications.get(name)
        return found[1] if found is not None and found[0] == digest else None

    def live(self, group: str, now: float) -> dict[str, Report]:
        """Return the replicas of a group that are alive."""
        return {
            name: report
            for name, report in self._reports.items()
            if report.group == group and now - report.at <= LIVE_SECONDS
        }

    def counts(self, now: float) -> dict[str, int]:
        """Return the number of live replicas by group."""
        counts: dict[str, int] = {}
        for report in self._reports.values():
            if now - report.at <= LIVE_SECONDS:
                counts[report.group] = counts.get(report.group, 0) + 1
        return counts

    def forget(self, now: float) -> None:
        """Drop replicas that are gone."""
        self._reports = {name: one for name, one in self._reports.items() if now - one.at <= LIVE_SECONDS}


@dataclass(frozen=True, slots=True)
class View:
    """One model as the live replicas of one group see it."""

    seen: Sequence[Seen]
    replicas: tuple[str, ...]
    heard: bool

    @classmethod
    def of(cls, fleet: Fleet, model: str, group: str, now: float) -> "View":
        """Collect it."""
        live = fleet.live(group, now)
        return cls(
            [report.models.get(model, Seen()) for report in live.values()],
            tuple(sorted(live)),
            any(now - report.at <= HEARD_SECONDS for report in live.values()),
        )

    @property
    def serving(self) -> str | None:
        """The digest that all of them serve."""
        digests = {one.serving and one.serving[1] for one in self.seen}
        return digests.pop() if len(digests) == 1 else None

    @property
    def applied(self) -> int:
        """The oldest split that one of them applies."""
        return min((one.split for one in self.seen), default=-1)

    def loaded(self, key: Key) -> bool:
        """Say whether all have loaded a version, and there is at least one."""
        return bool(self.seen) and all(key in one.loaded and one.loaded[key] is None for one in self.seen)

    def failed(self, key: Key) -> tuple[str, str] | None:
        """Return why one of them cannot load a version, and whose fault that is."""
        return next((error for one in self.seen if (error := one.loaded.get(key))), None)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """The versions that one of them cannot load, each with why."""
        found = {key[0]: error[0] for one in self.seen for key, error in one.loaded.items() if error}
        return sorted(found.items())

    def failure(self, digest: str) -> str:
        """Return what a candidate's last failed request failed of; empty when nobody says."""
        said = (one.failure for one in self.seen)
        return next((failure[1] for failure in said if failure and failure[0] == digest), "")

    def replay_failed(self, generation: int) -> str | None:
        """Return why a replay failed."""
        failures = (one.replay_failed for one in self.seen)
        return next(
            (reason for failed in failures if failed and failed[0] == generation for reason in failed[1:]), None
        )
