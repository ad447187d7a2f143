"""What a plugin made and never told: after a crash half-way the engine knows nothing of it.

A line is written when the API has made an object and another when the engine has the answer. What has only the first
is an orphan, and is removed when its resource is made again. The official provider keeps no such journal: there a
person finds orphans by the environment's tags and removes or imports them. The report of a rehearsal names them.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path


class Journal:
    """The journal of one rehearsal, in a file that outlives the plugin.

    Args:
        file: Where it is; without one nothing is kept.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._orphans: dict[str, list[str]] = {}
        if file is not None and file.exists():
            for line in file.read_text().splitlines():
                entry = json.loads(line)
                self._take(entry["event"], entry["urn"], entry["id"])

    def _take(self, event: str, urn: str, identity: str) -> None:
        ids = self._orphans.setdefault(urn, [])
        if event in ("made", "found"):
            ids.append(identity) if event == "made" else None
        elif identity in ids:
            ids.remove(identity)

    def _write(self, event: str, urn: str, identity: str) -> None:
        if self._file is None:
            return
        with self._lock:
            self._take(event, urn, identity)
            with self._file.open("a") as stream:
                stream.write(json.dumps({"event": event, "urn": urn, "id": identity}) + "\n")

    def made(self, urn: str, identity: str) -> None:
        """Note that the API has made something."""
        self._write("made", urn, identity)

    def told(self, urn: str, identity: str) -> None:
        """Note that the engine knows of it, or that it is gone."""
        self._write("told", urn, identity)

    def orphans(self, urn: str) -> tuple[str, ...]:
        """Return ids that were made for a resource and never told."""
        with self._lock:
            return tuple(self._orphans.get(urn, ()))
