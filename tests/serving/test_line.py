"""The connection to a candidate: many calls at once, only for whom Ray told the secret, and an error for all else."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from serving import line as module
from serving.arms import Answer
from serving.line import Line, LineError, Listener, Place
from serving.shadows import Copy, pack_copies
from serving.wire import WireError

HOST = "127.0.0.1"
OUTPUTS = {"probability": np.array([0.5], np.float32)}


class There:
    """A candidate that answers with what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Any = Answer(OUTPUTS, 0.002)

    async def predict(self, columns: Mapping[str, Any], rows: int, identifier: str, split: int | None) -> Answer:
        self.asked.append((dict(columns), rows, identifier, split))
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        answer: Answer = self.answer
        return answer

    async def observe(self, copies: Sequence[Copy]) -> Mapping[str, Any]:
        self.asked += copies
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"requests": len(copies), "latency": {"3": 1}}


class Stand:
    """A candidate that listens, and the way to it."""

    def __init__(self) -> None:
        self.there = There()
        self.listener = Listener(self.there)
        self.found, self.place = 0, Place(HOST, 0, "")
        self.line = Line(self.find)

    async def find(self) -> Place:
        self.found += 1
        return self.place

    async def ask(self, number: int = 0) -> Answer:
        async with asyncio.timeout(60):
            return await self.line({"hour": [number]}, 1, f"r{number}", 7)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    stand.place = await stand.listener.open(HOST)
    yield stand
    stand.line.close()
    await stand.listener.close()


async def test_a_call_arrives_and_is_answered(stand: Stand) -> None:
    answer = await stand.line({"hour": [9], "distance": [float("nan")]}, 1, "x", None)
    assert answer.outputs is not None
    assert answer.outputs["probability"] == pytest.approx([0.5])
    assert (answer.seconds, answer.error, answer.invalid) == (0.002, None, False)
    ((columns, *rest),) = stand.there.asked
    assert columns["hour"] == [9]
    assert rest == [1, "x", None]


async def test_calls_share_one_connection_and_find_their_answers(stand: Stand) -> None:
    stand.there.gate.clear()
    calls = [asyncio.create_task(stand.ask(number)) for number in range(200)]
    while len(stand.there.asked) < 200:
        await asyncio.sleep(0.001)
    stand.there.gate.set()
    assert all(answer.error is None for answer in await asyncio.gather(*calls))
    assert stand.found == 1
    assert {identifier for _, _, identifier, _ in stand.there.asked} == {f"r{n}" for n in range(200)}


async def test_large_messages_arrive_whole(stand: Stand) -> None:
    stand.there.answer = Answer({"x": np.arange(1_000_000, dtype=np.float64)}, 0.1)
    columns: dict[str, Any] = {"x": np.ones((1000, 300), np.float32)}
    answer = await stand.line(columns, 1000, "x", 7)
    assert answer.outputs is not None
    assert np.array_equal(answer.outputs["x"], np.arange(1_000_000))
    assert np.array_equal(stand.there.asked[0][0]["x"], columns["x"])


async def test_what_the_candidate_says_of_a_failure_is_told(stand: Stand) -> None:
    stand.there.answer = Answer(None, error="not finite", invalid=True)
    answer = await stand.ask()
    assert (answer.outputs, answer.error, answer.invalid) == (None, "not finite", True)


@pytest.mark.parametrize(
    ("gives", "says", "invalid"),
    [
        (RuntimeError("boom"), "RuntimeError: boom", False),
        (Answer({"x": np.array([1j])}), "cannot be sent", True),
        ("nonsense", "AttributeError", False),
    ],
)
async def test_a_candidate_that_breaks_is_a_failure_with_a_reason(
    stand: Stand, gives: Any, says: str, invalid: bool
) -> None:
    stand.there.answer = gives
    answer = await stand.ask()
    assert (answer.outputs, answer.invalid) == (None, invalid)
    assert says in (answer.error or "")


async def test_copies_are_counted_over_there(stand: Stand) -> None:
    bundle = pack_copies(Copy({"hour": [number]}, 1, "x", OUTPUTS) for number in range(3))
    assert await stand.line.observe(bundle) == {"requests": 3, "latency": {"3": 1}}
    stand.there.answer = RuntimeError("boom")
    with pytest.raises(LineError, match="RuntimeError: boom"):
        await stand.line.observe(bundle)


async def test_a_caller_that_gives_up_disturbs_nobody(stand: Stand) -> None:
    stand.there.gate.clear()
    call = asyncio.create_task(stand.ask())
    while not stand.there.asked:
        await asyncio.sleep(0.001)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    stand.there.gate.set()
    assert (await stand.ask()).error is None
    assert stand.found == 1


async def test_whoever_waits_hears_of_a_death_at_once_and_the_next_call_finds_the_new_process(stand: Stand) -> None:
    stand.there.gate.clear()
    call = asyncio.create_task(stand.ask())
    while not stand.there.asked:
        await asyncio.sleep(0.001)
    await stand.listener.close(seconds=0)
    with pytest.raises(LineError, match="closed the connection"):
        await call
    stand.there.gate.set()
    stand.listener = Listener(stand.there)
    stand.place = await stand.listener.open(HOST)
    assert (await stand.ask()).error is None
    assert stand.found == 2


async def test_attempts_to_connect_are_shared_and_not_made_all_the_time(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 60.0)
    await stand.listener.close()
    answers = await asyncio.gather(*(stand.ask(number) for number in range(20)), return_exceptions=True)
    assert all(isinstance(one, LineError) and "cannot be reached" in str(one) for one in answers)
    with pytest.raises(LineError, match="cannot be reached"):
        await stand.ask()
    assert stand.found == 1


async def test_an_error_of_ray_ends_the_attempt(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 60.0)

    async def broken() -> Place:
        raise RuntimeError("the application is gone")

    line = Line(broken)
    with pytest.raises(RuntimeError, match="is gone"):
        await line({}, 1, "x", 7)
    with pytest.raises(LineError, match="is gone"):
        await line({}, 1, "x", 7)


async def test_without_the_secret_nothing_is_taken(stand: Stand) -> None:
    stand.place = stand.place._replace(secret="another")
    with pytest.raises(LineError, match="somebody else listens"):
        await stand.ask()
    assert stand.there.asked == []


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("<IBI", 2, 2, 1) + b"{}",  # a call at once
        struct.pack("<IBI", 32, 0, 0) + bytes(32) + struct.pack("<IBI", 32, 1, 0) + bytes(32),  # a wrong proof
        struct.pack("<IBI", 2**31, 0, 0),  # more than a stranger may send
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_strangers_are_hung_up_on(stand: Stand, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection(stand.place.host, stand.place.port)
    writer.write(sent)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1000):
                pass
    writer.close()
    assert stand.there.asked == []
    assert (await stand.ask()).error is None


async def test_who_says_nothing_is_hung_up_on(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE", 0.05)
    reader, writer = await asyncio.open_connection(stand.place.host, stand.place.port)
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(1) == b""
    writer.close()


async def test_a_place_that_says_nothing_is_given_up(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE", 0.05)
    server = await asyncio.start_server(lambda _reader, _writer: None, HOST, 0)
    stand.place = Place(HOST, server.sockets[0].getsockname()[1], "x")
    with pytest.raises(LineError, match="not reached within"):
        await stand.ask()
    server.close()


async def test_messages_beyond_the_bounds_are_refused(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    await stand.ask()
    monkeypatch.setattr(module, "MAX_FRAME", 1000)
    with pytest.raises(LineError, match="more than the 1000"):
        await stand.line({"x": ["a" * 2000]}, 1, "x", 7)
    stand.there.answer = Answer({"x": np.zeros(2000)}, 0.1)
    with pytest.raises(LineError, match="closed the connection"):
        await stand.ask()


async def test_a_candidate_that_does_not_read_is_not_waited_for(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    await stand.ask()
    monkeypatch.setattr(module, "MAX_UNSENT", -1)
    with pytest.raises(LineError, match="does not read"):
        await stand.ask()


async def test_calls_under_way_are_answered_before_the_candidate_ends(stand: Stand) -> None:
    stand.there.gate.clear()
    call = asyncio.create_task(stand.ask())
    while not stand.there.asked:
        await asyncio.sleep(0.001)
    end = asyncio.create_task(stand.listener.close(seconds=60))
    await asyncio.sleep(0.01)
    stand.there.gate.set()
    assert (await call).error is None
    await end


@pytest.mark.parametrize("answer", [b"", b"\2\0\0\0{}", b"\x10\0\0\0" + b'{"f":{},"g":[]}'])
async def test_an_answer_of_unknown_form_is_an_error(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async def nonsense(message: bytes) -> bytes:
        return answer

    monkeypatch.setattr(stand.listener, "_predict", nonsense)
    with pytest.raises(WireError):
        await stand.ask()
