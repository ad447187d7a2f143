import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.runtime import model
from serving.runtime.contract import Contract, ContractError, FeatureLookup
from serving.runtime.model import ModelError
from serving.runtime.signature import Signature, SignatureError, Tensor

Make = Callable[..., Path]
Rows = dict[str, np.ndarray[Any, Any]]


def test_onnx_model_predicts_columns_of_the_signature(artifact: Path, rows: Rows) -> None:
    answer = model.load(artifact).predict(rows)
    assert answer["label"].dtype == np.int64
    assert answer["label"].tolist() == [0, 1]
    assert answer["probability"].dtype == np.float32
    assert answer["probability"].tolist() == pytest.approx([0.1, 0.85])


def test_loading_fails_with_the_input_when_graph_and_signature_differ(make_artifact: Make) -> None:
    folder = make_artifact()
    signature = Signature.read(folder)
    Signature((*signature.inputs[:2], Tensor("origin", "BYTES")), signature.outputs).write(folder)
    with pytest.raises(ModelError, match="no input 'origin'"):
        model.load(folder)
    Signature((Tensor("distance", "FP64"), *signature.inputs[1:]), signature.outputs).write(folder)
    with pytest.raises(ModelError, match=r"'distance' is tensor\(float\) in the graph, FP64"):
        model.load(folder)
    Signature(signature.inputs[:2], signature.outputs).write(folder)
    with pytest.raises(ModelError, match=r"that signature\.json lacks: carrier"):
        model.load(folder)


def test_loading_fails_with_the_file_when_the_graph_is_damaged(make_artifact: Make) -> None:
    folder = make_artifact()
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        model.load(folder)


@pytest.mark.slow
def test_pyfunc_model_predicts_columns_of_the_signature(tmp_path: Path, rows: Rows) -> None:
    import mlflow.pyfunc
    import pandas as pd

    class Rule(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
            probability = model_input["distance"] / 1000
            return pd.DataFrame({"label": (probability >= 0.5).astype(int), "probability": probability})

    mlflow.pyfunc.save_model(str(tmp_path / "pyfunc"), python_model=Rule(), pip_requirements=[])
    Signature(
        (Tensor("distance", "FP32"), Tensor("hour", "INT64"), Tensor("carrier", "BYTES")),
        (Tensor("label", "INT64"), Tensor("probability", "FP32")),
    ).write(tmp_path)
    Contract(kind="pyfunc").write(tmp_path)
    answer = model.load(tmp_path).predict(rows)
    assert answer["label"].tolist() == [0, 1]
    assert answer["probability"].dtype == np.float32


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "", "datatype": "FP32"}, r"inputs\[0\]\.name"),
        ({"name": "x", "datatype": "FLOAT"}, r"inputs\[0\]\.datatype: 'FLOAT' is not one of BOOL"),
        ({"name": "x", "datatype": "FP32", "shape": [1]}, r"inputs\[0\]\.shape"),
        ({"name": "x", "datatype": "FP32", "shape": [-1, 0]}, r"inputs\[0\]\.shape"),
        ("x", r"inputs\[0\]: expected"),
    ],
)
def test_malformed_signature_names_the_entry(entry: Any, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        Signature.from_json({"inputs": [entry], "outputs": [{"name": "y", "datatype": "FP32"}]})


def test_signature_refuses_a_name_used_twice() -> None:
    twice = [{"name": "x", "datatype": "FP32"}] * 2
    with pytest.raises(SignatureError, match="'x' is used twice"):
        Signature.from_json({"inputs": twice, "outputs": twice[:1]})


def test_contract_survives_a_round_trip(tmp_path: Path, lookup: FeatureLookup) -> None:
    contract = Contract("onnx", capture={"race": "hash"}, capture_default="drop", features=lookup, max_rows=3, nan=True)
    contract.write(tmp_path)
    assert Contract.read(tmp_path) == contract


def test_contract_accepts_the_short_list_of_features() -> None:
    data = {"kind": "onnx", "features": {"service": "s", "entities": {"route": "BYTES"}, "features": ["distance"]}}
    found = Contract.from_json(data).features
    assert found is not None
    assert found.features == {"distance": "distance"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "pickle"}, "kind: 'pickle' is not one of onnx, pyfunc"),
        ({"kind": "onnx", "colour": 1}, "colour: unknown key; allowed: capture"),
        ({"kind": "onnx", "capture": {"fields": {"race": "mask"}}}, r"capture\.fields\.race: 'mask' is not one of"),
        ({"kind": "onnx", "limits": {"maxRows": 0}}, r"limits\.maxRows"),
        ({"kind": "onnx", "features": {"service": "s", "entities": {"r": "FP32"}, "features": ["a"]}}, r"entities\.r"),
        ([], "file: expected an object"),
    ],
)
def test_malformed_contract_names_the_key(tmp_path: Path, data: Any, message: str) -> None:
    (tmp_path / "serving.json").write_text(json.dumps(data))
    with pytest.raises(ContractError, match=message):
        Contract.read(tmp_path)
