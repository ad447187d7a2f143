"""An MLServer runtime around the same ONNX file.

Runs in an environment of its own (`mlserver.lock`), so it imports nothing of ours.
"""

from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):  # type: ignore[misc] # its package is not in the project's environment
    """One session with one thread; MLServer's own codecs turn tensors into arrays."""

    async def load(self) -> bool:
        """Open the model named by the settings."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        feed: dict[str, Any] = {}
        for tensor in payload.inputs:
            if tensor.datatype == "BYTES":
                values = np.asarray(StringCodec.decode_input(tensor), dtype=object)
            else:
                values = NumpyCodec.decode_input(tensor)
            feed[tensor.name] = values.reshape(-1)
        outputs = [
            NumpyCodec.encode_output(name, np.asarray(values))
            for name, values in zip(self._names, self._session.run(self._names, feed), strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
