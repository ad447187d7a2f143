import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serving.batching import INLINE_SECONDS, Batch, Batcher, Limits
from serving.counters import Slot
from serving.protocol.errors import ProtocolError
from serving.protocol.request import Decoded
from serving.rollout.analysis.histogram import bucket_of
from serving.runtime.contract import Contract
from serving.runtime.signature import Signature, Tensor
from tests.serving.crowded import crowded

DATA = bytes(2**14)


class Doubling:
    """A model that doubles; it fails on 13 and waits for `gate` when it has one."""

    signature = Signature((Tensor("x", "FP64"),), (Tensor("y", "FP64"),))
    contract: Contract = Contract("pyfunc")

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.gate: threading.Event | None = None

    def predict(self, inputs: Any) -> dict[str, Any]:
        if self.gate is not None:
            self.gate.wait(60)
        self.sizes.append(len(inputs["x"]))
        self.threads.add(threading.current_thread().name)
        if (inputs["x"] == 13).any():
            raise ValueError("13")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="model") as pool:
        yield pool


def batcher(model: Doubling, executor: ThreadPoolExecutor, **limits: Any) -> Batcher:
    return Batcher(model, Slot("m", "1"), Limits(**limits), executor, name="m")


def rows(*values: float) -> Decoded:
    return Decoded([list(values)], len(values))


def submit(queue: Batcher, *values: float) -> "asyncio.Future[Any]":
    return queue.submit(rows(*values), "id", asyncio.get_running_loop().time())


async def test_request_alone_runs_in_the_next_turn_of_the_loop(executor: ThreadPoolExecutor) -> None:
    model = Doubling()
    future = submit(batcher(model, executor, wait=60), 1, 2)
    await asyncio.sleep(0)
    assert future.result().outputs["y"].tolist() == [2, 4]
    assert model.threads == {threading.current_thread().name}


async def test_batches_are_bounded_in_rows_and_keep_requests_whole(executor: ThreadPoolExecutor) -> None:
    model = Doubling()
    queue = batcher(model, executor, rows=4)
    futures = [submit(queue, *values) for values in ([1, 2], [3], [4, 5], [6, 7, 8, 9, 10], [11])]
    answers = [(await future).outputs["y"].tolist() for future in futures]
    assert answers == [[2, 4], [6], [8, 10], [12, 14, 16, 18, 20], [22]]
    assert model.sizes == [3, 2, 5, 1]


async def test_only_the_request_at_fault_fails(executor: ThreadPoolExecutor) -> None:
    queue = batcher(Doubling(), executor)
    futures = [submit(queue, value) for value in (1, 13, 3)]
    assert (await futures[0]).outputs["y"].tolist() == [2]
    with pytest.raises(ProtocolError) as caught:
        await futures[1]
    assert caught.value.status == 500
    assert (await futures[2]).outputs["y"].tolist() == [6]
    assert queue.slot.outcomes == {"ok": 2, "failed": 1}


async def test_slow_model_runs_in_a_thread_and_what_arrives_forms_the_next_batch(executor: ThreadPoolExecutor) -> None:
    model = Doubling()
    model.gate = threading.Event()
    queue = batcher(model, executor)
    queue.measured(2 * INLINE_SECONDS)
    first = submit(queue, 1)
    await asyncio.sleep(0)
    later = [submit(queue, value) for value in (2, 3, 4)]
    await asyncio.sleep(0.01)
    assert not first.done()
    model.gate.set()
    assert (await first).outputs["y"].tolist() == [2]
    assert [(await future).outputs["y"].tolist() for future in later] == [[4], [6], [8]]
    assert model.sizes == [1, 3]
    assert model.threads == {"model_0"}


async def test_late_answer_is_replaced_by_504(executor: ThreadPoolExecutor) -> None:
    model = Doubling()
    model.gate = threading.Event()
    queue = batcher(model, executor, seconds=0.05)
    queue.measured(2 * INLINE_SECONDS)
    future = submit(queue, 1)
    with pytest.raises(ProtocolError) as caught:
        await asyncio.wait_for(future, 60)
    assert caught.value.status == 504
    assert queue.slot.outcomes == {"timeout": 1}
    model.gate.set()


async def test_more_than_may_wait_is_refused_with_503(executor: ThreadPoolExecutor) -> None:
    queue = batcher(Doubling(), executor, pending=2)
    futures = [submit(queue, 1), submit(queue, 2)]
    with pytest.raises(ProtocolError) as caught:
        submit(queue, 3)
    assert caught.value.status == 503
    assert [(await future).outputs["y"].tolist() for future in futures] == [[2], [4]]
    assert queue.slot.outcomes == {"overload": 1, "ok": 2}


async def test_lists_and_arrays_are_joined(executor: ThreadPoolExecutor) -> None:
    queue = batcher(Doubling(), executor)
    raw = Decoded([np.array([5.0, 6.0])], 2)
    futures = [submit(queue, 1), queue.submit(raw, "id", 0.0)]
    assert [(await future).outputs["y"].tolist() for future in futures] == [[2], [10, 12]]


async def test_answered_batches_are_handed_to_capture(executor: ThreadPoolExecutor) -> None:
    taken: list[Batch] = []
    queue = batcher(Doubling(), executor)
    queue.captured = taken.append
    await asyncio.gather(submit(queue, 1), submit(queue, 2, 3))
    assert [batch.inputs["x"].tolist() for batch in taken] == [[1, 2, 3]]
    assert [batch.outputs["y"].tolist() for batch in taken] == [[2, 4, 6]]


async def test_model_that_takes_missing_inputs_may_not_answer_with_missing_outputs(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Doubling()
    monkeypatch.setattr(model, "contract", Contract("onnx", nan=True))
    with pytest.raises(ProtocolError, match="not finite"):
        await submit(batcher(model, executor), float("nan"))


class Hashing(Doubling):
    """One that computes for three milliseconds in the thread that calls it, as an ONNX graph does."""

    contract = Contract("onnx")

    def predict(self, inputs: Any) -> dict[str, Any]:
        end = time.thread_time() + 0.003
        while time.thread_time() < end:
            hashlib.sha256(DATA)
        return super().predict(inputs)


async def test_time_without_a_processor_is_not_the_versions(executor: ThreadPoolExecutor) -> None:
    model = Hashing()
    queue = batcher(model, executor)
    whole = own = 0.0
    with crowded():
        used = time.thread_time()
        for _ in range(40):
            started = time.perf_counter()
            answer = await queue.submit(rows(1), "id", started)
            whole += answer.ended - started
            own += answer.ended - started - answer.stood
        used = time.thread_time() - used
    assert whole > 2 * used
    assert 0.12 <= own <= 1.1 * used
    # Nor is that a reason to move it to a thread, where it would wait for the interpreter, too.
    assert model.threads == {threading.current_thread().name}
    queue.slot.fold()
    assert sum(queue.slot.fine) == sum(queue.slot.buckets) == 40
    slow = sum(queue.slot.fine[bucket_of(2 * used / 40) + 1 :])
    assert slow <= 4  # what rollouts see
    assert queue.slot.seconds == pytest.approx(whole, rel=0.01)  # what monitoring shows


async def test_what_a_pyfunc_waits_for_is_its_own(executor: ThreadPoolExecutor) -> None:
    model = Doubling()
    model.gate = threading.Event()
    queue = batcher(model, executor)
    started = time.perf_counter()
    threading.Timer(0.05, model.gate.set).start()
    answer = await queue.submit(rows(1), "id", started)
    assert answer.ended - started - answer.stood >= 0.05
    assert answer.stood < 0.001


async def test_a_batch_that_took_long_once_does_not_leave_the_loop(executor: ThreadPoolExecutor) -> None:
    model = Doubling()
    queue = batcher(model, executor)
    for slow, thread in ((False, "MainThread"), (True, "MainThread"), (True, "model_0")):
        queue.measured(2 * INLINE_SECONDS if slow else 0.0)
        model.threads.clear()
        await submit(queue, 1)
        assert model.threads == {thread}
        queue._lately.pop()  # that batch's own
