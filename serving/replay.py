"""Replay the evaluation sample through both arms, where too few requests come to judge a candidate by.

The sample lies beside the model since its training: requests in the Open Inference Protocol, each with its true
outcome. What is replayed is counted under a number of its own, so that nobody takes it for traffic, and not captured.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from serving.arms import Remote, check_outputs
from serving.candidate import run
from serving.counters import Counters
from serving.protocol.request import Column
from serving.shadows import Arrays
from serving.table import Served

_AT_ONCE = 4
_LABEL = "label"


class SampleError(Exception):
    """The evaluation sample cannot be had or read."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the sample: a column of length 1 per input, and what really happened (None: not known)."""

    columns: dict[str, Column]
    outcome: Any


def read_sample(content: bytes) -> list[Row]:
    """Read a sample.

    Raises:
        SampleError: it is malformed or empty.
    """
    try:
        body = json.loads(content)
        inputs: list[tuple[str, Sequence[Any]]] = []
        for tensor in body["inputs"]:
            values = tensor["data"]
            if str(tensor["datatype"]).startswith("FP"):
                values = [float("nan") if value is None else float(value) for value in values]
            inputs.append((str(tensor["name"]), values))
        count = len(inputs[0][1])
        outcomes = body.get("outcome") or [None] * count
        rows = [Row({name: [values[index]] for name, values in inputs}, outcomes[index]) for index in range(count)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise SampleError(f"the evaluation sample is malformed: {error!r}") from None
    if not rows:
        raise SampleError("the evaluation sample is empty")
    return rows


class Replayer:
    """Sends rows of one sample through the candidate and, if there is one, through stable."""

    def __init__(self, remote: Remote, served: Served | None, counters: Counters, executor: Executor) -> None:
        self._remote, self._served, self._counters, self._executor = remote, served, counters, executor

    async def replay(self, sample: Sequence[Row], rows: int, generation: int) -> None:
        """Send `rows` rows, from the beginning again when the sample has fewer."""
        wanted = itertools.islice(itertools.cycle(sample), rows)
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._some(wanted, generation))

    async def _some(self, wanted: Iterator[Row], generation: int) -> None:
        for row in wanted:
            await self._one(row, generation)
            # Traffic goes first.
            await asyncio.sleep(0)

    async def _one(self, row: Row, generation: int) -> None:
        remote = self._remote
        outputs = await remote.predict(
            row.columns, 1, f"replay-{generation}", generation, synthetic=True, awaited=False
        )
        arm = remote.arm(generation)
        if outputs is not None and row.outcome is not None and _LABEL in outputs:
            arm.labelled += 1
            arm.wrong += _wrong(outputs, row.outcome)
        if self._served is not None:
            await self._stable(self._served, row, generation)

    async def _stable(self, served: Served, row: Row, generation: int) -> None:
        began = time.perf_counter()
        arm = self._counters.arm
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self._executor, run, served.model, row.columns)
        except Exception:  # noqa: BLE001 - a model may raise anything
            arm(served.name, served.digest, generation).fail()
            return
        if check_outputs(served.model.signature, outputs, 1):
            arm(served.name, served.digest, generation).fail(invalid=True)
            return
        slot = arm(served.name, served.digest, generation)
        slot.observe(time.perf_counter() - began)
        if row.outcome is not None and _LABEL in outputs:
            slot.labelled += 1
            slot.wrong += _wrong(outputs, row.outcome)


def _wrong(outputs: Arrays, outcome: Any) -> bool:
    return bool(outputs[_LABEL][0] != outcome)
