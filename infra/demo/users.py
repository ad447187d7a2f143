"""Users of a model: requests to the real service at an even rate, each answer looked at.

Runs in a thread of its own, so that whoever watches the rollout does not slow them down. An answer is good when its
status is 200 and every output is a number; anything else is a failed request, a closed connection too.
"""

import asyncio
import json
import re
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

_SECONDS = 30.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb'"model_version" *: *"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: when its answer came (seconds since 1970), who answered, and what was wrong (empty: nothing)."""

    at: float
    version: str
    problem: str = ""
    seconds: float = 0.0
    id: str = ""
    row: int = -1
    """Which of the requests it was."""


@dataclass(frozen=True, slots=True)
class Row:
    """One complete row of an evaluation sample: a V2 request, and what really happened."""

    body: bytes
    outcome: Any


def rows(sample: dict[str, Any], limit: int = 200) -> list[Row]:
    """Return the first complete rows of an evaluation sample."""
    made = []
    count = len(sample["inputs"][0]["data"])
    for row in range(count):
        values = [one["data"][row] for one in sample["inputs"]]
        if None in values:
            continue
        inputs = [
            {"name": one["name"], "datatype": one["datatype"], "shape": [1], "data": [value]}
            for one, value in zip(sample["inputs"], values, strict=True)
        ]
        made.append(Row(json.dumps({"inputs": inputs}, separators=(",", ":")).encode(), sample["outcome"][row]))
        if len(made) == limit:
            break
    return made


class Users:
    """Asks from `start` (or `with`) until `stop`."""

    def __init__(
        self, url: str, token: str, path: str, rows: Sequence[Row], *, per_second: float, connections: int = 8
    ) -> None:
        """Make it.

        Args:
            url: address of the service.
            token: its bearer token.
            path: what is asked.
            rows: what is asked, in turn; each is a subject of its own.
            per_second: requests a second, all connections together; the service may allow fewer.
            connections: how many ask at once.
        """
        at = urlsplit(url)
        self._host, self._port = at.hostname or "127.0.0.1", at.port or 80
        self._rows, self._run = rows, uuid.uuid4().hex[:12]
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {token}\r\n"
        )
        self._every, self._connections = connections / per_second, connections
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_all()), name="users", daemon=True)
        self.answers: list[Answered] = []
        """All answers so far, oldest first; grows while they ask."""

    def __enter__(self) -> "Users":
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the requests under way be answered, and send no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_SECONDS + 5)

    @property
    def failed(self) -> list[Answered]:
        """The requests that failed."""
        return [one for one in self.answers if one.problem]

    def _wire(self, row: int, identifier: str) -> bytes:
        body = self._rows[row].body
        own = f"x-subject: user-{row}\r\nx-request-id: {identifier}\r\ncontent-length: {len(body)}\r\n\r\n"
        return (self._head + own).encode() + body

    async def _ask_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._ask(number))

    async def _ask(self, number: int) -> None:
        await asyncio.sleep(number * self._every / self._connections)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        due, turn = time.monotonic(), number
        while not self._stop.is_set():
            begun, row, identifier = time.perf_counter(), turn % len(self._rows), f"{self._run}-{turn}"
            try:
                if streams is None:
                    streams = await asyncio.open_connection(self._host, self._port)
                async with asyncio.timeout(_SECONDS):
                    status, body = await _exchange(*streams, self._wire(row, identifier))
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
                self.answers.append(Answered(time.time(), "", problem, id=identifier, row=row))
                if streams is not None:
                    streams[1].close()
                streams = None
            else:
                version, problem = _judged(status, body)
                seconds = time.perf_counter() - begun
                self.answers.append(Answered(time.time(), version, problem, seconds, identifier, row))
            turn += self._connections
            # A late one is not made up for: users do not come in bursts because the service was slow.
            due = max(due + self._every, time.monotonic() - self._every)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if streams is not None:
            streams[1].close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes) -> tuple[int, bytes]:
    writer.write(wire)
    head = await reader.readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    if found is None:
        raise ValueError("the answer states no length")
    return int(head[9:12]), await reader.readexactly(int(found[1]))


def _judged(status: int, body: bytes) -> tuple[str, str]:
    """Return the version that answered, and what is wrong with its answer."""
    found = _VERSION.search(body)
    version = found[1].decode() if found else ""
    if status != 200:
        return version, f"status {status}: {body[:200].decode(errors='replace')}"
    return version, "an output is no number" if b"null" in body or b"NaN" in body else ""


class Labels:
    """What really happened, told to the service for each answer as it comes: labels by prediction id."""

    def __init__(self, http: httpx.Client, model: str, rows: Sequence[Row]) -> None:
        self._http, self._path, self._rows = http, f"/v2/models/{model}/feedback", rows
        self._waiting: list[dict[str, Any]] = []

    def tell(self, answers: Sequence[Answered]) -> None:
        """Send the labels of answers; what cannot be stored now is sent again with the next ones.

        Raises:
            httpx.HTTPStatusError: the service refuses them for good.
        """
        self._waiting += [{"id": one.id, "label": self._rows[one.row].outcome} for one in answers if not one.problem]
        if not self._waiting:
            return
        batch = self._waiting[:1000]
        try:
            answer = self._http.post(self._path, json={"labels": batch})
        except httpx.TransportError:
            return
        if answer.status_code == 503:
            return
        answer.raise_for_status()
        del self._waiting[: len(batch)]
