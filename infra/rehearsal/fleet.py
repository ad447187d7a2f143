"""The replicas of a rehearsal: they do what the controller publishes, and say so. They serve nobody.

One replica a group is played, and the actuator of the candidates' applications. Each version that they are told to load
they call loaded, and each row of the evaluation sample that they are told to replay they call answered, but for the
digests that a rehearsal breaks: their applications do not start.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from infra.provider import rest
from infra.provider.resource import ResourceError
from infra.rehearsal.controller import RunningController

_SECONDS = 0.3
_LATENCY = "20"
"""Bucket of the latency histogram that every played answer falls into."""


class Fleet:
    """Played replicas and actuator.

    Attributes:
        broken: digests whose applications fail.
    """

    def __init__(self, controller: RunningController) -> None:
        self._controller = controller
        self._sequence = 0
        self.broken: set[str] = set()

    def tell(self) -> None:
        """Read what is wanted, and report it done.

        Raises:
            ResourceError: the controller refuses the report.
        """
        wanted = self._ask("GET", "/v1/state?timeout=0")["models"]
        applications = {
            one["name"]: {"digest": one["digest"], **self._condition(one["digest"])}
            for entry in wanted.values()
            for one in entry["candidates"]
        }
        self._ask("POST", "/v1/applications", {"applications": applications})
        for group in sorted({entry["group"] for entry in wanted.values()}):
            models = {name: entry for name, entry in wanted.items() if entry["group"] == group}
            self._sequence += 1
            arms = [arm for name, entry in models.items() for arm in _replayed(name, entry)]
            batch = {"sequence": self._sequence, "series": [], "dropped": {}, "arms": arms}
            report = {
                "group": group,
                "generation": 1,
                "models": {name: _status(entry) for name, entry in models.items()},
                "counters": [batch] if arms else [],
            }
            self._ask("POST", f"/v1/replicas/played-{group}", report)

    def _condition(self, digest: str) -> dict[str, str]:
        if digest in self.broken:
            return {"status": "failed", "reason": "the rehearsal broke it", "fault": "model"}
        return {"status": "ready", "reason": "", "fault": "platform"}

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        made = self._controller
        answer = rest.request(method, f"http://127.0.0.1:{made.port}{path}", token=made.replica_token, body=body)
        if not answer.ok:
            raise ResourceError(f"the controller refuses the played replicas, {answer.reason()}")
        return answer.body


def _status(entry: Mapping[str, Any]) -> dict[str, Any]:
    loaded = [one for one in (entry["stable"], entry["previous"], entry["next"]) if one]
    stable = entry["stable"]
    return {
        "serving": stable and {"version": stable["version"], "digest": stable["digest"]},
        "versions": [{"version": one["version"], "digest": one["digest"], "error": None} for one in loaded],
        "split": entry["split"]["generation"],
    }


def _replayed(name: str, entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Both arms answer the rows of the evaluation sample that they are to."""
    replay = entry["split"]["replay"]
    if not replay:
        return
    for release in (entry["stable"], *entry["candidates"]):
        if release:
            counts = {"requests": replay["rows"], "latency": {_LATENCY: replay["rows"]}}
            yield {"model": name, "digest": release["digest"], "generation": replay["generation"], "counts": counts}


@contextlib.contextmanager
def fleet(controller: RunningController) -> Iterator[Fleet]:
    """Play the replicas of a controller while the block runs."""
    made, end = Fleet(controller), threading.Event()

    def work() -> None:
        while not end.wait(_SECONDS):
            with contextlib.suppress(ResourceError):  # the next report says it again
                made.tell()

    thread = threading.Thread(target=work, name="fleet", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        end.set()
        thread.join()
