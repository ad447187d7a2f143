"""Copies for shadows: sent in bundles, compared over there, shed when there is no room, and nobody waits for them."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving import shadows
from serving.arms import Answer
from serving.capture import OUTSIDE
from serving.counters import ArmSlot, Counters
from serving.shadows import FLIGHTS, LEAST, QUEUE, QUEUE_BYTES, TOGETHER, Copy, Shadow, agree, observed, unpack_copies

DIGEST = "sha256:" + "3" * 64
OUTPUTS: dict[str, NDArray[Any]] = {"label": np.array([1], np.int64), "probability": np.array([0.5], np.float32)}


def copy(identifier: str = "x") -> Copy:
    return Copy({"hour": [9]}, 1, identifier, OUTPUTS)


class There:
    """A shadow's process that takes what it gets, or fails as it is told."""

    def __init__(self) -> None:
        self.bundles: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.says: Any = None
        self.closed = False

    def close(self) -> None:
        self.closed = True

    async def observe(self, bundle: bytes) -> Mapping[str, Any]:
        copies = unpack_copies(bundle)
        self.bundles.append(len(copies))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        told: Mapping[str, Any] = self.says or {"requests": len(copies), "compared": len(copies), "latency": {"20": 1}}
        return told


class Stand:
    def __init__(self) -> None:
        self.there, self.counters = There(), Counters()
        self.drawn = 0.0
        self.shadow = Shadow("m", DIGEST, self.there, self.counters, 0.2, lambda: self.drawn)

    async def offer(
        self, number: int, counted: int | None = None, *, copied: Copy | None = None, size: int = 100
    ) -> dict[str, Any]:
        """Offer copies, and wait until so many of them (all) are accounted for."""
        arm = self.counters.arm("m", DIGEST, 7)
        for _ in range(number):
            if self.shadow.takes(7, room=True):
                self.shadow.offer(copied or copy(), size, 7)
        async with asyncio.timeout(60):
            while arm.requests + arm.shed < (number if counted is None else counted):
                await asyncio.sleep(0.01)
        batch = self.counters.batch({})
        assert batch is not None
        self.counters.acknowledge(batch["sequence"])
        (reported,) = [one for one in batch["arms"] if one["generation"] == 7]
        assert (reported["model"], reported["digest"]) == ("m", DIGEST)
        counts: dict[str, Any] = reported["counts"]
        return counts


@pytest.fixture
async def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setattr(shadows, "WAIT", 0.01)
    return Stand()


async def test_copies_travel_together(stand: Stand) -> None:
    assert (await stand.offer(10))["compared"] == 10
    assert stand.there.bundles == [10]


async def test_what_waits_goes_on_with_the_next_message(stand: Stand) -> None:
    counts = await stand.offer(TOGETHER + 5)
    assert counts["requests"] == TOGETHER + 5
    assert stand.there.bundles == [TOGETHER, 5]


async def test_a_message_leaves_as_soon_as_it_is_full(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "WAIT", 3600)
    counts = await stand.offer(3 * TOGETHER)
    assert counts["requests"] == 3 * TOGETHER
    assert stand.there.bundles == 3 * [TOGETHER]


async def test_a_shadow_that_does_not_keep_up_sheds(stand: Stand) -> None:
    stand.there.gate.clear()
    kept = QUEUE + FLIGHTS * TOGETHER
    counts = await stand.offer(10 * QUEUE, counted=10 * QUEUE - kept)
    assert counts == {"shed": 10 * QUEUE - kept}
    await asyncio.sleep(0)
    assert stand.there.bundles == FLIGHTS * [TOGETHER]
    await stand.shadow.close()


async def test_a_shadow_that_is_gone_takes_nothing_of_the_requests_that_end_after_it(stand: Stand) -> None:
    await stand.offer(1)
    await stand.shadow.close()
    assert await stand.offer(3) == {"shed": 3}
    assert stand.there.bundles == [1]


async def test_large_requests_are_shed_before_they_fill_the_memory(stand: Stand) -> None:
    stand.there.gate.clear()
    # Two wait, and each message under way holds one.
    assert await stand.offer(4 + FLIGHTS, counted=2, size=QUEUE_BYTES // 2) == {"shed": 2}
    await stand.shadow.close()


async def test_a_copy_that_cannot_be_sent_is_not_held_against_the_shadow(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    strange = Copy({"hour": [9]}, 1, "x", {"label": np.array([1j])})
    stand.shadow.offer(strange, 100, 7)
    async with asyncio.timeout(60):
        while "cannot be sent" not in caplog.text:
            await asyncio.sleep(0.01)
    assert await stand.offer(1) == {"requests": 1, "compared": 1, "latency": {"20": 1}}


async def test_a_shadow_that_fails_is_counted_and_asked_again(stand: Stand) -> None:
    stand.there.error = RuntimeError("boom")
    assert await stand.offer(3) == {"requests": 3, "errors": 3}
    assert stand.shadow.failure == "RuntimeError: boom"
    stand.there.error = None
    assert (await stand.offer(2))["requests"] == 2


@pytest.mark.parametrize("vain", [{"errors": TOGETHER}, {"errors": 1, "invalid": TOGETHER - 1}, None])
async def test_a_shadow_that_fails_always_gets_less_until_it_answers(stand: Stand, vain: dict[str, int] | None) -> None:
    def taken() -> bool:
        return stand.shadow.takes(8, room=True)

    if vain is None:
        stand.there.error = RuntimeError("boom")
    else:
        stand.there.says = vain | {"requests": TOGETHER}
    share = 1.0
    while share > LEAST:
        stand.drawn = 0.0
        assert (await stand.offer(TOGETHER))["requests"] == TOGETHER
        share /= 2
        stand.drawn = share
        assert not taken()
        stand.drawn = share * 0.99
        assert taken()
    stand.drawn = 0.0
    assert (await stand.offer(TOGETHER))["requests"] == TOGETHER
    stand.drawn = LEAST * 0.99
    assert taken()
    # One answer among failures is enough.
    stand.there.error, stand.there.says = None, {"requests": TOGETHER, "errors": TOGETHER - 1}
    assert (await stand.offer(TOGETHER))["requests"] == TOGETHER
    stand.drawn = 1.0
    assert taken()


async def test_a_shadow_that_hangs_is_given_up_at_the_deadline(stand: Stand) -> None:
    stand.there.gate.clear()
    assert await stand.offer(2) == {"requests": 2, "errors": 2}


@pytest.mark.parametrize("says", ["nonsense", {"requests": "many"}, {"latency": 3}, {"invented": 1}])
async def test_an_answer_of_unknown_form_is_a_failure(stand: Stand, says: Any) -> None:
    stand.there.says = says
    counts = await stand.offer(2)
    assert (counts["requests"], counts["errors"]) == (2, 2)


async def test_the_shadow_itself_compares() -> None:
    answers = {
        "same": Answer(OUTPUTS, 0.001),
        "other": Answer(OUTPUTS | {"label": np.array([0], np.int64)}, 0.001),
        "fails": Answer(None, error="boom"),
        "nan": Answer(None, error="not finite", invalid=True),
    }

    async def predict(columns: Any, rows: int, identifier: str, split: int) -> Answer:
        assert (rows, split) == (1, OUTSIDE)
        return answers[identifier]

    counts = await observed([copy(name) for name in answers], predict)
    latency = counts.pop("latency")
    assert counts == {"requests": 4, "errors": 1, "invalid": 1, "compared": 2, "disagreed": 1}
    assert sum(latency.values()) == 2
    slot = ArmSlot()
    slot.add(counts | {"latency": latency})
    assert slot.to_json() == counts | {"latency": latency}


def test_answers_with_other_outputs_do_not_agree() -> None:
    assert agree(OUTPUTS, OUTPUTS | {"more": np.array([1])})
    assert not agree(OUTPUTS, {"label": OUTPUTS["label"]})
    assert not agree(OUTPUTS, OUTPUTS | {"label": np.array([1, 1], np.int64)})
