"""A candidate: one version of one model in a process of its own, which answers the ingress and nobody else.

It can crash, hang or eat its memory without a request failing. It knows nothing of Ray.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.arms import Answer
from serving.batching import Batcher, Limits
from serving.capture import Capture
from serving.config import Settings
from serving.counters import Slot
from serving.loading import Loader, explained, fault
from serving.protocol.errors import ProtocolError
from serving.protocol.request import Column, Decoded
from serving.runtime.model import Model
from serving.shadows import Copy, observed
from serving.state import Release
from serving.table import make_sink

log = logging.getLogger(__name__)

PLATFORM_FAULT = "the platform is at fault"
"""Stands in the reason of a failed start that says nothing about the model."""


class CandidateError(Exception):
    """The candidate cannot start; the message says why and whose fault it is."""


class CandidateModel:
    """The loaded version. `start` it in the event loop that calls `predict`."""

    def __init__(self, settings: Settings, model: str, release: Release, capture: Capture | None = None) -> None:
        self._settings, self._model, self._release, self._capture = settings, model, release, capture
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="candidate")
        self._loaded: Model | None = None
        self._batcher: Batcher | None = None

    async def start(self) -> None:
        """Verify, fetch and load.

        Raises:
            CandidateError: it cannot be had (the platform's fault) or cannot be loaded (the model's).
        """
        try:
            loaded = await asyncio.to_thread(Loader(self._settings).load, self._model, self._release)
        except Exception as error:
            whose = PLATFORM_FAULT if fault(error) == "platform" else "the model cannot be loaded"
            raise CandidateError(f"{whose}: {explained(error)}") from error
        release, batching, limits = self._release, self._settings.batching, self._settings.limits
        bounds = Limits(batching.max_rows, batching.wait_ms / 1000, limits.max_pending, limits.request_seconds)
        captured = None
        if self._capture is not None:
            self._capture.start()
            captured = make_sink(self._capture, self._model, release.version, release.digest, loaded)
        slot = Slot(self._model, release.version)
        self._batcher = Batcher(loaded, slot, bounds, self._executor, captured, self._model)
        self._loaded = loaded

    async def predict(self, columns: Mapping[str, Column], rows: int, identifier: str, split: int | None) -> Answer:
        """Predict rows given by input name; what goes wrong is told in the answer. See `arms.Caller`."""
        started = time.perf_counter()
        loaded, batcher = self._loaded, self._batcher
        if loaded is None or batcher is None:
            return Answer(None, error="the candidate is not loaded")
        missing = [tensor.name for tensor in loaded.signature.inputs if tensor.name not in columns]
        if missing:
            return Answer(None, error=f"the candidate needs inputs that stable does not take: {', '.join(missing)}")
        ordered: list[Column | None] = [columns[tensor.name] for tensor in loaded.signature.inputs]
        try:
            if split is None:
                outputs = await asyncio.get_running_loop().run_in_executor(self._executor, run, loaded, columns)
                ended, stood = time.perf_counter(), 0.0
            else:
                outputs, ended, stood = await batcher.submit(Decoded(ordered, rows), identifier, started, split)
        except ProtocolError as error:
            return Answer(None, error=error.message, invalid=error.invalid)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            return Answer(None, error=f"{type(error).__name__}: {error}"[:500])
        return Answer(outputs, max(0.0, ended - started - stood))

    async def observe(self, copies: Sequence[Copy]) -> dict[str, Any]:
        """Predict copies of requests and count what becomes of them, see `serving.shadows`."""
        return await observed(copies, self.predict)

    def tick(self) -> None:
        """Let capture write what is due."""
        if self._capture is not None:
            self._capture.tick()

    def close(self) -> None:
        """Write what was captured."""
        if self._capture is not None:
            self._capture.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def run(model: Model, columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Run a model on columns, past its queue."""
    arrays = {
        tensor.name: column
        if isinstance(column := columns[tensor.name], np.ndarray)
        else np.array(column, tensor.dtype)
        for tensor in model.signature.inputs
    }
    return model.predict(arrays)
