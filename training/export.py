"""From a fitted scikit-learn Pipeline to a model artifact: the whole Pipeline, its transform included, as one graph.

The folder holds content only (graph, signature, serving contract, requirements), the same bytes for the same fit, so
that its digest names the model. `serving.runtime` reads it, in replicas and in the evaluation alike.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.runtime.artifact import content_digest, file_hashes
from serving.runtime.contract import Contract, FeatureLookup
from serving.runtime.model import Model
from serving.runtime.signature import DTYPES, Signature, Tensor
from training.errors import TrainingError
from training.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

# What every supported ONNX Runtime knows; a newer default of the converter must not change the graph.
_OPSETS = {"": 18, "ai.onnx.ml": 3}
_LABEL, _PROBABILITY = "label", "probability"
# What it takes to run the artifact, `mlflow models serve` included.
_REQUIREMENTS = ("mlflow", "numpy", "onnx", "onnxruntime", "pandas")


def columns(spec: ModelSpec, frame: "pd.DataFrame") -> dict[str, NDArray[Any]]:
    """Return the inputs of rows as the runtime takes them: an array per feature, of its datatype."""
    return {feature.name: frame[feature.name].to_numpy().astype(DTYPES[feature.datatype]) for feature in spec.features}


def inputs(spec: ModelSpec, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the same inputs as a table: what the Pipeline is fitted on, with the precision of serving."""
    import pandas as pd

    return pd.DataFrame(columns(spec, frame))


def signature(spec: ModelSpec) -> Signature:
    """Return the tensors of a model: its features in, label and probability out."""
    return Signature(
        inputs=tuple(Tensor(feature.name, feature.datatype) for feature in spec.features),
        outputs=(Tensor(_LABEL, "INT64"), Tensor(_PROBABILITY, "FP32")),
    )


def contract(spec: ModelSpec) -> Contract:
    """Return how the model wants to be served: capture rules, online features."""
    captured = {feature.name: feature.capture for feature in spec.features if feature.capture != "keep"}
    lookup = None
    if spec.online:
        lookup = FeatureLookup(
            service=spec.online.service,
            entities={view.entity: "BYTES" for view in spec.online.views},
            features={name: name for name in spec.online_names},
            required=spec.online.required,
        )
    return Contract(
        kind="onnx",
        capture={**captured, **spec.capture},
        features=lookup,
        nan=spec.online is not None and not spec.online.required,
    )


def export(spec: ModelSpec, pipeline: Any, directory: Path) -> tuple[str, dict[str, str]]:
    """Write the artifact of a fitted Pipeline.

    Args:
        spec: the model.
        pipeline: fitted on `inputs(spec, …)`.
        directory: an empty folder.

    Returns:
        The content digest and the hash of each file.

    Raises:
        TrainingError: a step of the Pipeline cannot be expressed in ONNX.
    """
    (directory / "model.onnx").write_bytes(_graph(spec, pipeline))
    signature(spec).write(directory)
    contract(spec).write(directory)
    pins = "".join(f"{name}=={version(name)}\n" for name in _REQUIREMENTS)
    (directory / "requirements.txt").write_text(pins, encoding="utf-8")
    hashes = file_hashes(directory)
    return content_digest(hashes), hashes


def _graph(spec: ModelSpec, pipeline: Any) -> bytes:
    import onnx
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    kinds = {"number": FloatTensorType, "integer": Int64TensorType, "category": StringTensorType}
    try:
        model = convert_sklearn(
            pipeline,
            # Without a name the converter draws a random one, and with it another digest.
            name=spec.name,
            initial_types=[(feature.name, kinds[feature.kind]([None, 1])) for feature in spec.features],
            options={id(pipeline): {"zipmap": False}},
            target_opset=_OPSETS,
        )
    except Exception as error:
        raise TrainingError(
            f"model {spec.name}: its Pipeline cannot be exported to ONNX: {type(error).__name__}: {error}. "
            "scikit-learn's own transforms, forests, gradient boosting and linear models can; your own functions cannot"
        ) from error
    names = [value.name for value in model.graph.output]
    if names != ["label", "probabilities"]:
        raise TrainingError(f"model {spec.name}: the Pipeline must end in a classifier; its outputs are {names}")
    _as_columns(spec, model.graph)
    # The converter lists them in the order of a set, which differs from process to process.
    opsets = sorted(model.opset_import, key=lambda one: one.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _as_columns(spec: ModelSpec, graph: Any) -> None:
    """Give the graph the signature's own form: plain columns in, label and probability as plain columns out.

    The converter makes it take [n, 1] and give the probabilities of both classes. MLflow's ONNX flavour hands columns
    of a table over as [n], and can make a table only of outputs that have one value a row.
    """
    from onnx import TensorProto, helper, numpy_helper

    inner = {feature.name: f"{feature.name}/column" for feature in spec.features}
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = inner.get(name, name)
    for value in graph.input:
        del value.type.tensor_type.shape.dim[1]
    shape, index = "column/shape", "positive/index"
    before = [helper.make_node("Reshape", [name, shape], [to], name=f"column/{name}") for name, to in inner.items()]
    after = helper.make_node("Gather", ["probabilities", index], [_PROBABILITY], name=_PROBABILITY, axis=1)
    nodes = [*before, *graph.node, after]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), shape))
    graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), index))
    del graph.output[:]
    for tensor, kind in ((_LABEL, TensorProto.INT64), (_PROBABILITY, TensorProto.FLOAT)):
        graph.output.append(helper.make_tensor_value_info(tensor, kind, [None]))


def parity(spec: ModelSpec, pipeline: Any, model: Model, frame: "pd.DataFrame") -> tuple[float, float]:
    """Compare the exported model with the fitted one on rows.

    Returns:
        The largest difference between two probabilities, and the share of rows with different labels.
    """
    served = model.predict(columns(spec, frame))
    fitted = pipeline.predict_proba(inputs(spec, frame))[:, 1]
    difference = float(np.max(np.abs(served[_PROBABILITY].astype(float) - fitted)))
    other = float(np.mean(served[_LABEL] != pipeline.predict(inputs(spec, frame))))
    return difference, other


def predict(model: Model, rows: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return labels and probabilities of rows, from the exported model."""
    answer = model.predict(rows)
    return answer[_LABEL], answer[_PROBABILITY]
