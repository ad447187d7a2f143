"""FastAPI and ONNX Runtime, written as its users write it: pydantic request model, one session, one thread.

Run as `uvicorn` (one worker) by `benchmarks.serving`, and as the ingress of Ray Serve by `ray_fastapi`.
"""

import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

_DTYPES: dict[str, Any] = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "BOOL": bool}


class Tensor(BaseModel):
    """A named tensor of the Open Inference Protocol V2."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class InferenceRequest(BaseModel):
    """Body of an infer call."""

    id: str | None = None
    inputs: list[Tensor]


class InferenceResponse(BaseModel):
    """Answer of an infer call."""

    model_name: str
    outputs: list[Tensor]


def session(path: str) -> onnxruntime.InferenceSession:
    """Open the model with one thread, as everybody in the comparison does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def infer(model: onnxruntime.InferenceSession, request: InferenceRequest) -> InferenceResponse:
    """Answer one request."""
    feed = {
        tensor.name: np.asarray(tensor.data, dtype=_DTYPES.get(tensor.datatype, object)).reshape(-1)
        for tensor in request.inputs
    }
    names = [output.name for output in model.get_outputs()]
    outputs = [
        Tensor(name=name, datatype=str(values.dtype), shape=list(values.shape), data=values.ravel().tolist())
        for name, values in zip(names, model.run(names, feed), strict=True)
    ]
    return InferenceResponse(model_name="peer", outputs=outputs)


def create_app() -> FastAPI:
    """Build the application around the model file named by `BENCH_MODEL`."""
    app = FastAPI()
    model = session(os.environ["BENCH_MODEL"])

    @app.post("/v2/models/peer/infer")
    async def endpoint(request: InferenceRequest) -> InferenceResponse:
        return infer(model, request)

    return app
