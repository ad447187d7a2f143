"""A small HTTP/1.1 load client: closed loop at a fixed concurrency, or open loop at a fixed rate, one process.

It writes prepared bytes to keep-alive connections and reads only what it must (status and Content-Length), so that on a
machine with two cores the client takes little away from the server that is measured.
"""

import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop


@dataclass(frozen=True)
class Target:
    """One HTTP request, to be sent over and over."""

    host: str
    port: int
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def wire(self) -> bytes:
        """The request as it goes over the wire."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body


@dataclass(frozen=True)
class Measurement:
    """Outcome of one load run; latencies in seconds, ascending."""

    seconds: float
    latencies: tuple[float, ...]
    failed: int

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, q: float) -> float:
        """Latency in seconds below which the share `q` of answers stays (nearest rank); NaN without answers."""
        if not self.latencies:
            return float("nan")
        return self.latencies[min(len(self.latencies) - 1, int(q * len(self.latencies)))]

    def summary(self) -> dict[str, float | int]:
        """The figures that tables show: requests/s, milliseconds, counts."""
        return {
            "requests_per_second": round(self.per_second, 1),
            "p50_ms": round(self.quantile(0.50) * 1e3, 3),
            "p99_ms": round(self.quantile(0.99) * 1e3, 3),
            "max_ms": round(self.quantile(1.0) * 1e3, 3),
            "answered": len(self.latencies),
            "failed": self.failed,
        }


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight; parses just enough of an answer to find its end."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            stop = head.find(b"\r\n", at)
            length = int(head[at + 15 : stop if stop > 0 else len(head)])
            complete = len(self.buffer) >= end + 4 + length
        else:
            complete = self.buffer.endswith(b"0\r\n\r\n")
        if complete:
            status = int(head[9:12])
            self.buffer.clear()
            if self.answer is not None and not self.answer.done():
                self.answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("closed by the server"))
        self.transport = None

    def send(self, wire: bytes) -> "asyncio.Future[int]":
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(wire)
        return self.answer


async def _connect(target: Target) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, target.host, target.port)
    return connection


async def _closed_loop(target: Target, concurrency: int, seconds: float) -> Measurement:
    wire, latencies, failed = target.wire(), [], 0
    stop_at = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal failed
        connection = await _connect(target)
        while (begin := time.perf_counter()) < stop_at:
            try:
                status = await asyncio.wait_for(connection.send(wire), 30)
            except (OSError, TimeoutError):
                failed += 1
                connection = await _connect(target)
                continue
            if status == 200:
                latencies.append(time.perf_counter() - begin)
            else:
                failed += 1
        if connection.transport is not None:
            connection.transport.close()

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return Measurement(time.perf_counter() - begin, tuple(sorted(latencies)), failed)


async def _open_loop(target: Target, per_second: float, seconds: float) -> Measurement:
    wire, latencies, failed = target.wire(), [], 0
    idle: list[_Connection] = [await _connect(target)]

    async def one(due: float) -> None:
        nonlocal failed
        connection = idle.pop() if idle else await _connect(target)
        try:
            status = await asyncio.wait_for(connection.send(wire), 30)
        except (OSError, TimeoutError):
            failed += 1
            return
        # Measured from when it was due, so that a stalled server cannot hide its stall (coordinated omission).
        if status == 200:
            latencies.append(time.perf_counter() - due)
        else:
            failed += 1
        idle.append(connection)

    begin, tasks = time.perf_counter(), []
    for number in range(int(per_second * seconds)):
        due = begin + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    took = time.perf_counter() - begin
    for connection in idle:
        if connection.transport is not None:
            connection.transport.close()
    return Measurement(took, tuple(sorted(latencies)), failed)


def closed_loop(target: Target, *, concurrency: int, seconds: float) -> Measurement:
    """Send as fast as answers come on `concurrency` connections for `seconds`."""
    return uvloop.run(_closed_loop(target, concurrency, seconds))


def open_loop(target: Target, *, per_second: float, seconds: float) -> Measurement:
    """Send at a fixed rate for `seconds`; latency counts from when each request was due."""
    return uvloop.run(_open_loop(target, per_second, seconds))


def median_between(values: Sequence[float]) -> tuple[float, float]:
    """Return between what the median lies, in 95 of 100 such measurements, to three digits; needs six values.

    The values themselves bound it, by their order alone (the sign test's interval, normal approximation): nothing is
    assumed of how they are spread.
    """
    ordered, half = sorted(values), len(values) / 2
    low = max(0, math.floor(half - 0.98 * math.sqrt(len(values))))
    return round(ordered[low], 3), round(ordered[-1 - low], 3)


def json_body(request: Any) -> bytes:
    """Compact JSON of a request."""
    return json.dumps(request, separators=(",", ":")).encode()
