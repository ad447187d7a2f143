"""Which path is answered by what: built whenever a model changes, then only looked up.

A table is never changed. Swapping one for the next is how a new version starts to serve, between two requests.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import orjson

from serving.arms import Traffic
from serving.batching import Batch, Batcher, Limits
from serving.capture import Capture
from serving.counters import Counters
from serving.protocol.v2 import Codec, model_metadata, server_metadata
from serving.runtime.model import Model
from serving.shadows import Mirror

SERVER = "mlops-blueprint"


@dataclass(frozen=True, slots=True)
class Served:
    """One model version, loaded and ready."""

    name: str
    version: str
    digest: str
    model: Model
    codec: Codec
    batcher: Batcher
    traffic: Traffic | None = None
    """How its requests are divided while a rollout runs; None while stable answers all of them."""
    mirror: Mirror | None = None
    """Who gets copies of its requests while nothing divides them."""
    instead: "Served | None" = None
    """The version before, kept warm: it answers a request that this one fails on."""

    def backed_by(self, previous: "Served | None") -> "Served":
        """Return it with the version before to fall back on, where that takes and gives the same."""
        fits = previous is not None and previous.model.signature == self.model.signature
        return replace(self, instead=previous) if fits else self

    @classmethod
    def make(
        cls,
        name: str,
        version: str,
        digest: str,
        model: Model,
        *,
        limits: Limits,
        max_rows: int,
        executor: Executor,
        counters: Counters,
        capture: Capture | None,
    ) -> "Served":
        """Join a loaded model with its codec, queue, counters and capture."""
        codec = Codec(name, version, model.signature, model.contract, max_rows)
        captured = None if capture is None else make_sink(capture, name, version, digest, model)
        batcher = Batcher(model, counters.slot(name, version, digest), limits, executor, captured, name)
        return cls(name, version, digest, model, codec, batcher)


@dataclass(frozen=True, slots=True)
class Table:
    """Answers by path.

    `infer` and `invocations` run a model; `feedback` takes labels; `documents` are complete answers to GET.
    """

    infer: Mapping[str, Served]
    invocations: Mapping[str, Served]
    feedback: Mapping[str, Served]
    documents: Mapping[str, bytes]
    index: bytes
    models: tuple[str, ...]

    @classmethod
    def build(
        cls,
        stable: Iterable[Served],
        others: Iterable[Served] = (),
        *,
        traffic: Mapping[str, Traffic] | None = None,
        mirrors: Mapping[str, Mirror] | None = None,
        release: str = "0",
    ) -> "Table":
        """Build it.

        Args:
            stable: the version of each model that answers without a version in the path.
            others: versions that are reached by their number only (the previous ones that are kept warm).
            traffic: how the requests of models in a rollout are divided; a version in the path is not.
            mirrors: who gets copies of the requests of other models.
            release: the server's own version, for GET /v2.
        """
        infer: dict[str, Served] = {}
        invocations: dict[str, Served] = {}
        feedback: dict[str, Served] = {}
        documents: dict[str, bytes] = {}
        stable = sorted(stable, key=lambda served: served.name)
        versions: dict[str, list[str]] = {}
        for served in [*stable, *others]:
            root = f"/v2/models/{served.name}/versions/{served.version}"
            if root in documents:
                continue
            versions.setdefault(served.name, []).append(served.version)
            # Who names a version wants that one or none.
            named = replace(served, instead=None)
            infer[f"{root}/infer"] = named
            invocations[f"{root}/invocations"] = named
            documents[root] = _metadata(served, [served.version])
            documents[f"{root}/ready"] = orjson.dumps({"name": served.name, "version": served.version, "ready": True})
        for served in stable:
            root = f"/v2/models/{served.name}"
            division, mirror = (traffic or {}).get(served.name), (mirrors or {}).get(served.name)
            divided = replace(served, traffic=division, mirror=mirror) if division or mirror else served
            infer[f"{root}/infer"] = divided
            invocations[f"{root}/invocations"] = divided
            feedback[f"{root}/feedback"] = served
            documents[root] = _metadata(served, versions[served.name])
            documents[f"{root}/ready"] = orjson.dumps({"name": served.name, "ready": True})
        documents["/v2"] = documents["/v2/"] = orjson.dumps(server_metadata(SERVER, release))
        names = tuple(served.name for served in stable)
        documents["/v2/models"] = orjson.dumps({"models": names})
        index = [{"name": s.name, "version": s.version, "state": "READY", "reason": ""} for s in stable]
        return cls(infer, invocations, feedback, documents, orjson.dumps(index), names)


def make_sink(capture: Capture, name: str, version: str, digest: str, model: Model) -> Callable[[Batch], None]:
    """Return what takes over the answered batches of a version."""
    sink = capture.sink(name, version, digest, model)

    def captured(batch: Batch) -> None:
        sink.offer(batch)

    return captured


def _metadata(served: Served, versions: list[str]) -> bytes:
    platform = {"onnx": "onnxruntime_onnx", "pyfunc": "mlflow_pyfunc"}[served.model.contract.kind]
    document: dict[str, Any] = model_metadata(served.name, versions, platform, served.model.signature)
    document["parameters"] = {"digest": served.digest, "version": served.version}
    lookup = served.model.contract.features
    if lookup:
        # What may be sent instead of these inputs; the protocol has no place of its own for it.
        document["parameters"] |= {"entities": dict(lookup.entities), "looked_up": list(lookup.features)}
    return orjson.dumps(document)
