"""Load a model artifact and run it, the same way in replicas, in evaluation and in batch.

ONNX Runtime works with one thread and does not spin: a replica's parallelism is its number of processes, and a spinning
thread would take the core that the event loop needs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.runtime.contract import Contract, OutputSource
from serving.runtime.signature import Signature, Tensor

Arrays = Mapping[str, NDArray[Any]]

_ONNX_TYPES = {
    "BOOL": "tensor(bool)",
    "UINT8": "tensor(uint8)",
    "UINT16": "tensor(uint16)",
    "UINT32": "tensor(uint32)",
    "UINT64": "tensor(uint64)",
    "INT8": "tensor(int8)",
    "INT16": "tensor(int16)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
    "FP16": "tensor(float16)",
    "FP32": "tensor(float)",
    "FP64": "tensor(double)",
    "BYTES": "tensor(string)",
}


class ModelError(Exception):
    """The artifact cannot be loaded or does not do what its signature says."""


class Model(Protocol):
    """A loaded model. `predict` is safe to call from several threads."""

    signature: Signature
    contract: Contract

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Predict rows.

        Args:
            inputs: an array per input of the signature, of its dtype, shape [n] (or [n, size, …]).

        Returns:
            An array per output of the signature, of its dtype, shape [n] (or [n, size, …]).
        """
        ...


def load(directory: str | Path) -> Model:
    """Load the model of an artifact folder. Verify the folder first when it came from elsewhere.

    Raises:
        ModelError: the model file is missing or unreadable, or disagrees with signature.json.
        SignatureError, ContractError: signature.json or serving.json is malformed.
    """
    root = Path(directory)
    signature, contract = Signature.read(root), Contract.read(root)
    for name in contract.outputs:
        if all(tensor.name != name for tensor in signature.outputs):
            raise ModelError(f"{root}: serving.json maps the output {name!r}, which signature.json does not have")
    if contract.kind == "onnx":
        return OnnxModel(root / "model.onnx", signature, contract)
    return PyfuncModel(root / "pyfunc", signature, contract)


class OnnxModel:
    """An ONNX graph whose inputs bear the signature's names; columns are [None, 1] in the graph."""

    def __init__(self, path: Path, signature: Signature, contract: Contract) -> None:
        import onnxruntime as ort

        self.signature, self.contract = signature, contract
        if not path.is_file():
            raise ModelError(f"{path}: no such file")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        graph_inputs = {value.name: value for value in self._session.get_inputs()}
        self._columns = _check_inputs(path, signature, graph_inputs)
        self._outputs = _check_outputs(path, signature, contract, [v.name for v in self._session.get_outputs()])
        self._names = sorted({source.name for _, source in self._outputs})

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See Model.predict."""
        feed = {name: inputs[name].reshape(shape) for name, shape in self._columns}
        values = dict(zip(self._names, self._session.run(self._names, feed), strict=True))
        return {tensor.name: _shape(values[source.name], tensor, source) for tensor, source in self._outputs}


class PyfuncModel:
    """An MLflow pyfunc for what ONNX Runtime cannot express. MLflow is imported here only: it takes seconds."""

    def __init__(self, path: Path, signature: Signature, contract: Contract) -> None:
        self.signature, self.contract = signature, contract
        if not (path / "MLmodel").is_file():
            raise ModelError(f"{path}: holds no MLmodel file")
        import mlflow.pyfunc

        try:
            self._model = mlflow.pyfunc.load_model(str(path))
        except Exception as error:
            raise ModelError(f"{path}: MLflow cannot load it: {error}") from error
        self._outputs = [(t, contract.outputs.get(t.name, OutputSource(t.name))) for t in signature.outputs]

    def predict(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See Model.predict."""
        import pandas as pd

        columns = {}
        for tensor in self.signature.inputs:
            values = inputs[tensor.name]
            columns[tensor.name] = values.reshape(-1) if len(tensor.shape) == 1 else list(values)
        frame = pd.DataFrame(columns)
        answer = self._model.predict(frame)
        found = _named(answer, [source.name for _, source in self._outputs])
        result = {}
        for tensor, source in self._outputs:
            if source.name not in found:
                raise ModelError(f"the pyfunc gives {', '.join(found)} but not {source.name!r}")
            result[tensor.name] = _shape(found[source.name], tensor, source)
            if len(result[tensor.name]) != len(frame):
                raise ModelError(
                    f"the pyfunc gives {len(result[tensor.name])} rows for {len(frame)} in {tensor.name!r}"
                )
        return result


def _check_inputs(path: Path, signature: Signature, graph: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """Return each input's name and its shape in the graph."""
    columns = []
    for tensor in signature.inputs:
        value = graph.get(tensor.name)
        if value is None:
            raise ModelError(f"{path}: the graph has no input {tensor.name!r}; it has {', '.join(graph)}")
        if value.type != _ONNX_TYPES[tensor.datatype]:
            raise ModelError(
                f"{path}: input {tensor.name!r} is {value.type} in the graph, {tensor.datatype} in signature.json"
            )
        column = len(tensor.shape) == 1 and len(value.shape) == 2
        columns.append((tensor.name, (-1, 1) if column else tensor.shape))
    surplus = graph.keys() - {tensor.name for tensor in signature.inputs}
    if surplus:
        raise ModelError(f"{path}: the graph needs inputs that signature.json lacks: {', '.join(sorted(surplus))}")
    return columns


def _check_outputs(
    path: Path, signature: Signature, contract: Contract, graph: list[str]
) -> list[tuple[Tensor, OutputSource]]:
    sources = []
    for tensor in signature.outputs:
        source = contract.outputs.get(tensor.name, OutputSource(tensor.name))
        if source.name not in graph:
            raise ModelError(f"{path}: the graph has no output {source.name!r}; it has {', '.join(graph)}")
        sources.append((tensor, source))
    return sources


def _shape(value: Any, tensor: Tensor, source: OutputSource) -> NDArray[Any]:
    array = np.asarray(value)
    if source.column is not None:
        array = array[:, source.column]
    if len(tensor.shape) == 1 and array.ndim != 1:
        if array.size != array.shape[0]:
            raise ModelError(
                f"output {tensor.name!r} is {array.shape}, not one value a row: name its column in serving.json"
            )
        array = array.reshape(-1)
    return array if array.dtype == tensor.dtype else array.astype(tensor.dtype)


def _named(answer: Any, names: list[str]) -> dict[str, Any]:
    """Name the arrays that a pyfunc gave: a frame and a dict have names, one bare array is the first output."""
    if hasattr(answer, "columns"):
        return {str(name): answer[name].to_numpy() for name in answer.columns}
    if isinstance(answer, Mapping):
        return {str(name): np.asarray(value) for name, value in answer.items()}
    if len(names) == 1 or not hasattr(answer, "dtype"):
        return {names[0]: np.asarray(answer)}
    array = np.asarray(answer)
    if array.ndim == 2 and array.shape[1] == len(names):
        return {name: array[:, i] for i, name in enumerate(names)}
    return {names[0]: array}
