"""The line between a replica and a candidate: one connection that carries all requests, many in each message.

A call through Ray Serve's handle costs both processes together fifteen times what the prediction costs (see ADR 0025).
So Ray only says where a candidate listens and what its secret is; requests then go over one TCP connection, those of
one turn of the event loop in one write, answers likewise. Whoever connects proves that Ray told it the secret, which a
process makes anew when it starts, and the candidate proves that it is the one that made it. Everything that goes wrong
(no connection, a lost one, an answer of unknown form) is an exception here, and a counted failure in `serving.arms`.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from serving.arms import Answer
from serving.protocol.request import Column
from serving.shadows import Copy, unpack_copies
from serving.wire import WireError, arrays, pack, unpack

log = logging.getLogger(__name__)

MAX_FRAME = 64 * 2**20
"""Bytes of one message; a longer one ends the connection."""
MAX_UNSENT = 64 * 2**20
"""Bytes that may wait for a candidate which does not read."""
PAUSE = 0.25
"""Seconds after a failed attempt to connect in which no other one is made."""
HANDSHAKE = 10.0
"""Seconds in which a connection must be there, both sides known to each other."""

_HEAD = struct.Struct("<IBI")  # bytes that follow the head, kind, number of the call
_HELLO, _PROOF, _CALL, _OBSERVE, _ANSWER = range(5)
_NONCE = 32
_MAX_STRANGER = 2 * _NONCE
"""Bytes of a message from somebody who has not proved anything yet."""


class LineError(Exception):
    """The candidate cannot be reached, or is not there any more."""


class Place(NamedTuple):
    """Where a candidate listens: address, port, and the secret that proves who was told so."""

    host: str
    port: int
    secret: str


Find = Callable[[], Awaitable[Place]]


class Candidate(Protocol):
    """What answers at the other end."""

    async def predict(self, columns: Mapping[str, Column], rows: int, identifier: str, split: int | None) -> Answer:
        """See `arms.Caller`."""
        ...

    async def observe(self, copies: Sequence[Copy]) -> Mapping[str, Any]:
        """See `candidate.CandidateModel`."""
        ...


class Line:
    """The way from a replica to one candidate or shadow; it connects when it is first used, and again after a loss."""

    def __init__(self, find: Find) -> None:
        """Make it.

        Args:
            find: asks where the candidate is.
        """
        self._find = find
        self._connection: _Caller | None = None
        self._reaching: asyncio.Task[_Caller] | None = None
        self._failed: tuple[float, str] = (0.0, "")  # when an attempt may be made again, why the last one failed

    async def __call__(self, columns: Mapping[str, Column], rows: int, identifier: str, split: int | None) -> Answer:
        """Let the candidate predict.

        Raises:
            LineError, WireError: there is no answer.
        """
        message = pack({"n": rows, "i": identifier, "s": split}, columns)
        fields, groups = unpack(await self._ask(_CALL, message))
        seconds, error, invalid = fields.get("t"), fields.get("e"), fields.get("v")
        if type(seconds) is not float or not (error is None or type(error) is str) or len(groups) > 1:
            raise WireError("malformed message: no answer")
        return Answer(arrays(groups[0]) if groups else None, seconds, error, invalid is True)

    async def observe(self, bundle: bytes) -> Mapping[str, Any]:
        """Let the shadow predict copies, as `shadows.pack_copies` made them.

        Raises:
            LineError, WireError: there is no answer.
        """
        fields, _ = unpack(await self._ask(_OBSERVE, bundle))
        if "e" in fields:
            raise LineError(str(fields["e"]))
        return fields

    def close(self) -> None:
        """Hang up; whoever waits gets a LineError."""
        if self._reaching is not None:
            self._reaching.cancel()
        if self._connection is not None:
            self._connection.hang_up()

    async def _ask(self, kind: int, message: bytes) -> bytes:
        connection = self._connection
        if connection is None or not connection.open:
            connection = await self._reach()
        return await connection.ask(kind, message)

    async def _reach(self) -> "_Caller":
        """Wait for a connection; all who wait share one attempt, which goes on when they give up."""
        if self._reaching is None:
            again, why = self._failed
            if time.monotonic() < again:
                raise LineError(why)
            self._reaching = asyncio.get_running_loop().create_task(self._connect())
            self._reaching.add_done_callback(self._reached)
        return await asyncio.shield(self._reaching)

    async def _connect(self) -> "_Caller":
        try:
            async with asyncio.timeout(HANDSHAKE):
                place = await self._find()
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(lambda: _Caller(place.secret), place.host, place.port)
                try:
                    await connection.known
                except BaseException:
                    connection.hang_up()
                    raise
                return connection
        except TimeoutError:
            raise LineError(f"not reached within {HANDSHAKE:g} s") from None
        except OSError as error:
            raise LineError(f"cannot be reached: {error.strerror or type(error).__name__}") from error

    def _reached(self, attempt: "asyncio.Task[_Caller]") -> None:
        self._reaching = None
        if attempt.cancelled():
            return
        error = attempt.exception()
        if error is None:
            self._connection = attempt.result()
        else:
            self._failed = (time.monotonic() + PAUSE, str(error) or type(error).__name__)


class Listener:
    """The candidate's end. All methods belong to the event loop that the candidate predicts in."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._secret = secrets.token_hex(32)
        self._server: asyncio.Server | None = None
        self._callers: set[_Called] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, host: str) -> Place:
        """Listen at a free port of an address; returns where, and with which secret."""
        self._server = await asyncio.get_running_loop().create_server(self._make, host, 0)
        return Place(host, self._server.sockets[0].getsockname()[1], self._secret)

    async def close(self, seconds: float = 5.0) -> None:
        """Take no more calls, give those under way some time, and hang up."""
        if self._server is not None:
            self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for caller in tuple(self._callers):
            caller.hang_up(flush=True)

    def _make(self) -> "_Called":
        return _Called(self._secret, self._take, self._callers)

    def _take(self, caller: "_Called", kind: int, call: int, message: bytes) -> None:
        work = self._predict if kind == _CALL else self._observe
        task = asyncio.get_running_loop().create_task(self._answer(caller, call, work(message)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, caller: "_Called", call: int, work: Awaitable[bytes]) -> None:
        try:
            message = await work
        except Exception as error:  # noqa: BLE001 - whatever it was, the caller must not wait for it
            message = pack({"t": 0.0, "e": f"{type(error).__name__}: {error}"[:500], "v": isinstance(error, WireError)})
        caller.send(_ANSWER, call, message)

    async def _predict(self, message: bytes) -> bytes:
        fields, (columns,) = unpack(message)
        answer = await self._candidate.predict(columns, fields["n"], fields["i"], fields["s"])
        told = {"t": answer.seconds, "e": answer.error, "v": answer.invalid}
        return pack(told) if answer.outputs is None else pack(told, answer.outputs)

    async def _observe(self, message: bytes) -> bytes:
        return pack(await self._candidate.observe(unpack_copies(message)))


class _End(asyncio.Protocol):
    """One end of a connection: finds messages in what arrives, and joins those that leave in one turn of the loop."""

    def __init__(self, secret: str) -> None:
        self.open = False
        """Whether the other side is there and known."""
        self._secret = secret.encode()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._due = _HEAD.size  # bytes below which there is no whole message in the buffer
        self._leaving: list[bytes] = []
        self._nonce = secrets.token_bytes(_NONCE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base class

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= self._due:
            length, kind, call = _HEAD.unpack_from(buffer, start)
            if length > (MAX_FRAME if self.open else _MAX_STRANGER):
                self.hang_up()
                return
            end = start + _HEAD.size + length
            if end > len(buffer):
                self._due = _HEAD.size + length
                break
            self._due = _HEAD.size
            with memoryview(buffer) as view:
                message = bytes(view[start + _HEAD.size : end])
            start = end
            self.received(kind, call, message)
            if self._transport is None:
                return
        del buffer[:start]

    def received(self, kind: int, call: int, message: bytes) -> None:
        """Take a message."""
        raise NotImplementedError

    def send(self, kind: int, call: int, message: bytes) -> None:
        """Let a message leave at the end of this turn of the loop; it is lost where the connection is."""
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._flush)
        self._leaving += (_HEAD.pack(len(message), kind, call), message)

    def hang_up(self, *, flush: bool = False) -> None:
        """End the connection."""
        transport, self.open = self._transport, False
        if transport is not None:
            if flush:
                self._flush()
                transport.close()
            else:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport, self.open = None, False

    @property
    def unsent(self) -> int:
        """Bytes that the other side has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _flush(self) -> None:
        leaving, self._leaving = self._leaving, []
        if leaving and self._transport is not None:
            self._transport.write(b"".join(leaving))

    def _proof(self, role: bytes, theirs: bytes, ours: bytes) -> bytes:
        return hmac.new(self._secret, role + theirs + ours, hashlib.sha256).digest()


class _Caller(_End):
    """The replica's end."""

    def __init__(self, secret: str) -> None:
        super().__init__(secret)
        self.known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the other side is known."""
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._last = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.send(_HELLO, 0, self._nonce)

    def received(self, kind: int, call: int, message: bytes) -> None:
        if self.open:
            future = self._waiting.pop(call, None)
            if future is not None and not future.done():
                future.set_result(message)
            return
        theirs, proof = message[:_NONCE], message[_NONCE:]
        if kind != _HELLO or not hmac.compare_digest(proof, self._proof(b"candidate", self._nonce, theirs)):
            self._lost(LineError("somebody else listens where it should be"))
            self.hang_up()
            return
        self.send(_PROOF, 0, self._proof(b"replica", theirs, self._nonce))
        self.open = True
        if not self.known.done():
            self.known.set_result(None)

    async def ask(self, kind: int, message: bytes) -> bytes:
        """Send a message and wait for its answer.

        Raises:
            LineError: there will be none.
        """
        if len(message) > MAX_FRAME:
            raise LineError(f"a message of {len(message)} bytes is more than the {MAX_FRAME} that are allowed")
        if self.unsent > MAX_UNSENT:
            raise LineError(f"it does not read: {self.unsent} bytes wait for it")
        self._last = call = (self._last + 1) % 2**32
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[call] = future
        self.send(kind, call, message)
        try:
            return await future
        finally:
            self._waiting.pop(call, None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost(LineError("its process has closed the connection"))

    def _lost(self, why: LineError) -> None:
        if not self.known.done():
            self.known.set_exception(why)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(why)
        self._waiting.clear()


class _Called(_End):
    """The candidate's end: takes nothing from anybody who was not told the secret."""

    def __init__(
        self, secret: str, take: Callable[["_Called", int, int, bytes], None], callers: set["_Called"]
    ) -> None:
        super().__init__(secret)
        self._take, self._callers = take, callers
        self._theirs: bytes | None = None
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._callers.add(self)
        self._limit = asyncio.get_running_loop().call_later(HANDSHAKE, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._callers.discard(self)
        if self._limit is not None:
            self._limit.cancel()

    def received(self, kind: int, call: int, message: bytes) -> None:
        if self.open:
            if kind in (_CALL, _OBSERVE):
                self._take(self, kind, call, message)
            return
        if self._theirs is None and kind == _HELLO and len(message) == _NONCE:
            self._theirs = message
            self.send(_HELLO, 0, self._nonce + self._proof(b"candidate", message, self._nonce))
        elif self._theirs is not None and kind == _PROOF:
            if not hmac.compare_digest(message, self._proof(b"replica", self._nonce, self._theirs)):
                self.hang_up()
                return
            self.open = True
        else:
            self.hang_up()

    def _expire(self) -> None:
        if not self.open:
            self.hang_up()
