"""Users of a model: requests to the real service at an even rate, each answer looked at.

Runs in a thread of its own, so that whoever watches the rollout does not slow them down. An answer is good when its
status is 200 and every output is a number; anything else is a failed request, a closed connection too.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

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


def bodies(sample: dict[str, Any], limit: int = 200) -> list[bytes]:
    """Return one V2 request for each of the first complete rows of an evaluation sample."""
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
        made.append(json.dumps({"inputs": inputs}, separators=(",", ":")).encode())
        if len(made) == limit:
            break
    return made


class Users:
    """Asks from `start` (or `with`) until `stop`."""

    def __init__(
        self, url: str, token: str, path: str, requests: Sequence[bytes], *, per_second: float, connections: int = 8
    ) -> None:
        """Make it.

        Args:
            url: address of the service.
            token: its bearer token.
            path: what is asked.
            requests: bodies, sent in turn.
            per_second: requests a second, all connections together; the service may allow fewer.
            connections: how many ask at once.
        """
        at = urlsplit(url)
        self._host, self._port = at.hostname or "127.0.0.1", at.port or 80
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {token}\r\ncontent-length: "
        )
        self._wires = [
            f"{head}{len(body)}\r\nx-subject: user-{number}\r\n\r\n".encode() + body
            for number, body in enumerate(requests)
        ]
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

    async def _ask_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._ask(number))

    async def _ask(self, number: int) -> None:
        await asyncio.sleep(number * self._every / self._connections)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        due, turn = time.monotonic(), number
        while not self._stop.is_set():
            begun = time.perf_counter()
            try:
                if streams is None:
                    streams = await asyncio.open_connection(self._host, self._port)
                async with asyncio.timeout(_SECONDS):
                    status, body = await _exchange(*streams, self._wires[turn % len(self._wires)])
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                self.answers.append(Answered(time.time(), "", f"{type(error).__name__}: {error}"))
                if streams is not None:
                    streams[1].close()
                streams = None
            else:
                self.answers.append(_judged(status, body, time.perf_counter() - begun))
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


def _judged(status: int, body: bytes, seconds: float) -> Answered:
    found = _VERSION.search(body)
    version = found[1].decode() if found else ""
    problem = ""
    if status != 200:
        problem = f"status {status}: {body[:200].decode(errors='replace')}"
    elif b"null" in body or b"NaN" in body:
        problem = "an output is no number"
    return Answered(time.time(), version, problem, seconds)
