"""Broken candidates break in the way that they say, and only in that way."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from infra.demo.faults import FAULTS, QUIET
from serving.runtime.artifact import content_digest, file_hashes
from serving.runtime.contract import Contract
from serving.runtime.model import ModelError, load
from serving.runtime.signature import Signature, Tensor

ROWS = {name: np.array([0.25, 0.75], dtype=np.float32) for name in ("x", "y")}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A model whose probability is its input; one of the inputs is a column, one a plain list, as in real graphs."""
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("Squeeze", ["x", "axes"], ["column"]),
        helper.make_node("Sub", ["y", "y"], ["nothing"]),
        helper.make_node("Add", ["column", "nothing"], ["probability"]),
        helper.make_node("Round", ["probability"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["label"], to=TensorProto.INT64),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [None]),
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 9
    onnx.save(made, tmp_path / "model.onnx")
    signature = Signature(
        inputs=(Tensor("x", "FP32"), Tensor("y", "FP32")),
        outputs=(Tensor("label", "INT64"), Tensor("probability", "FP32")),
    )
    signature.write(tmp_path)
    Contract(kind="onnx").write(tmp_path)
    return tmp_path


def outcomes(folder: Path, calls: int = 300) -> tuple[int, int, Any]:
    """How many calls failed, how many answered NaN, and the last answer."""
    model, failed, unknown, answer = load(folder), 0, 0, None
    for _ in range(calls):
        try:
            answer = model.predict(ROWS)
        except Exception:  # noqa: BLE001 - whatever the runtime raises
            failed += 1
        else:
            unknown += bool(np.isnan(answer["probability"]).any())
    return failed, unknown, answer


def test_dead_fails_in_every_call_but_loads(sound: Path) -> None:
    FAULTS["dead"].damage(sound)
    assert outcomes(sound, calls=5) == (5, 0, None)


@pytest.mark.parametrize(
    ("kind", "failing", "unknown"), [("none", False, False), ("errors", True, False), ("nan", False, True)]
)
def test_a_share_of_the_calls_is_broken_as_said(kind: str, failing: bool, unknown: bool, sound: Path) -> None:
    before = (sound / "model.onnx").read_bytes()
    FAULTS[kind].damage(sound)

    failed, not_numbers, answer = outcomes(sound)

    # 300 calls at 20 %: fewer than 25 or more than 110 do not happen.
    assert (25 < failed < 110) is failing
    assert (25 < not_numbers < 110) is unknown
    assert failed == 0 or failing
    assert not_numbers == 0 or unknown
    assert answer["label"].tolist() == [0, 1]
    assert (sound / "model.onnx").read_bytes() != before


@pytest.mark.slow
def test_slow_model_answers_the_same(sound: Path) -> None:
    FAULTS["slow"].damage(sound)

    assert outcomes(sound, 1)[2]["probability"].tolist() == [0.25, 0.75]


def test_wrong_model_says_the_opposite(sound: Path) -> None:
    FAULTS["accuracy"].damage(sound)
    answer = outcomes(sound, 1)[2]

    assert answer["label"].tolist() == [1, 0]
    assert answer["probability"].tolist() == [0.75, 0.25]


def test_crashing_model_cannot_be_loaded(sound: Path) -> None:
    FAULTS["crash"].damage(sound)

    with pytest.raises(ModelError):
        load(sound)


@pytest.mark.parametrize("kind", ["errors", "nan"])
def test_fault_spares_the_smoke_set(kind: str, sound: Path) -> None:
    FAULTS[kind].damage(sound)

    assert outcomes(sound, QUIET)[:2] == (0, 0)


def test_each_broken_model_has_a_digest_of_its_own(sound: Path) -> None:
    before = file_hashes(sound)
    FAULTS["none"].damage(sound)
    once = file_hashes(sound)
    FAULTS["none"].damage(sound)

    assert len({content_digest(one) for one in (before, once, file_hashes(sound))}) == 3


@pytest.mark.slow
def test_leaking_model_answers_until_it_is_killed(sound: Path) -> None:
    FAULTS["leak"].damage(sound)
    # In a process of its own: it is going to die.
    program = (
        "import sys, numpy as np; from serving.runtime.model import load; model = load(sys.argv[1])\n"
        "row = dict.fromkeys('xy', np.array([0.25], np.float32))\n"
        "for _ in range(200): print(model.predict(row)['label'][0], flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(sound)], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert 10 <= len(done.stdout.split()) < 60
    assert set(done.stdout.split()) == {"0"}


def test_every_fault_is_tried() -> None:
    assert set(FAULTS) == {"none", "errors", "dead", "nan", "slow", "accuracy", "crash", "leak"}
