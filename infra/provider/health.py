"""Whether a process is up: one look from outside, and the judgement over many looks while it starts."""

import socket
import urllib.parse
from dataclasses import dataclass
from typing import Any, Literal

_PROBE_SECONDS = 3.0


def probe(health: dict[str, Any] | None, timeout: float = _PROBE_SECONDS) -> str | None:
    """Look once; return None when healthy, else what is wrong, in words.

    Args:
        health: The input `health` of a `Process`; without one every living process is healthy.
        timeout: Seconds to wait for an answer.
    """
    if not health:
        return None
    try:
        if "http" in health:
            status = _http_status(health["http"], health.get("headers", {}), timeout)
            return None if 200 <= status < 400 else f"{health['http']} answers {status}"
        with socket.create_connection(("127.0.0.1", health["tcp"]), timeout):
            return None
    except OSError as error:
        where = health.get("http") or f"port {health['tcp']}"
        return f"{where}: {error.strerror or 'no answer' if not isinstance(error, TimeoutError) else 'no answer'}"
    except ValueError as error:  # http.client's HTTPException too: something else speaks there
        return f"{health.get('http')}: {error}"


def _http_status(address: str, headers: dict[str, str], timeout: float) -> int:
    import http.client

    parts = urllib.parse.urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", target, headers=headers)
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise ValueError(f"no HTTP answer ({type(error).__name__})") from error
    finally:
        connection.close()


Verdict = Literal["healthy", "waiting", "failed"]


@dataclass(frozen=True)
class Observation:
    """One look at a starting process.

    Attributes:
        state: The supervisor's name for its state.
        exits: How often it has ended by itself since the start.
        problem: What the probe found, or None when it is healthy.
        waited: Seconds since the wait began.
    """

    state: str
    exits: int
    problem: str | None
    waited: float


def judge(seen: Observation, timeout: float, *, probed: bool, tolerated_exits: int) -> Verdict:
    """Decide over a starting process.

    Of a process that is restarted one exit is forgiven, since a port may linger or a neighbour be a moment late; a
    second one is a failure, so that a wrong setting shows in seconds and not after the whole timeout.

    Args:
        seen: The latest look.
        timeout: Seconds until a process that is not healthy has failed.
        probed: Whether there is a health check; without one, living for a second is healthy.
        tolerated_exits: Exits that are forgiven.
    """
    if seen.state in ("FATAL", "STOPPED", "UNKNOWN") or seen.exits > tolerated_exits:
        return "failed"
    alive = seen.state == "RUNNING" or (probed and seen.state == "STARTING")  # starting: alive for less than a second
    if alive and seen.problem is None:
        return "healthy"
    return "failed" if seen.waited >= timeout else "waiting"
