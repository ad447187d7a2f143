"""Break a trained model on purpose: what a release must survive.

A broken model keeps its signature and answers like the sound one where it answers at all, so that only evidence tells
them apart. Faults that hit a share of the calls begin after the first `QUIET` calls: a smoke set does not find them.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARE = 0.2
"""Share of the calls that fail where a fault is not about all of them."""
QUIET = 20
"""Calls at the beginning that such a fault spares."""
SLOW_SECONDS = 0.25
"""What a slow model takes longer: it waits, as for a service, and leaves the processor to others."""
_LEAK_MIB, _ROOM_MIB = 8, 256


def _sound_output(graph: Any, name: str) -> str:
    """Give an output of the graph another name inside, so that a new node can make the output."""
    inner = f"sound_{name}"
    for node in graph.node:
        for names in (node.output, node.input):
            for index, one in enumerate(names):
                if one == name:
                    names[index] = inner
    return inner


def _quiet_seed() -> float:
    """Return a seed whose first `QUIET` draws hit nothing.

    ONNX Runtime draws from C++'s default engine, which is this one with libstdc++ (minstd_rand0); its test asks the
    runtime itself. Below 2²⁴, since a seed is a 32-bit float.
    """
    modulus = 2**31 - 1
    for seed in range(1_003, 2**24, 1_003):
        value, draws = seed, []
        for _ in range(QUIET):
            value = 16_807 * value % modulus
            draws.append(value / modulus)
        if min(draws) > SHARE:
            return float(seed)
    raise AssertionError(f"no seed spares the first {QUIET} calls")


def _sometimes(helper: Any, graph: Any) -> str:
    """Add a tensor that is 1 in `SHARE` of the calls, else 0."""
    graph.node.extend(
        [
            helper.make_node("RandomUniform", [], ["fault_draw"], shape=[1], high=1.0, low=0.0, seed=_quiet_seed()),
            helper.make_node("Constant", [], ["fault_share"], value_floats=[SHARE]),
            helper.make_node("Less", ["fault_draw", "fault_share"], ["fault_hit"]),
            helper.make_node("Cast", ["fault_hit"], ["fault_index"], to=7),
        ]
    )
    return "fault_index"


def _errors(model: Any, helper: Any) -> None:
    graph, inner = model.graph, _sound_output(model.graph, "probability")
    index = _sometimes(helper, graph)
    graph.node.extend(
        [
            helper.make_node("Constant", [], ["fault_one"], value_floats=[0.0]),
            # Index 1 of one element: the runtime refuses to go on.
            helper.make_node("Gather", ["fault_one", index], ["fault_zero"]),
            helper.make_node("Add", [inner, "fault_zero"], ["probability"]),
        ]
    )


def _dead(model: Any, helper: Any) -> None:
    graph, inner = model.graph, _sound_output(model.graph, "probability")
    graph.node.extend(
        [
            helper.make_node("Constant", [], ["fault_one"], value_floats=[0.0]),
            helper.make_node("Mul", [inner, "fault_one"], ["fault_none"]),
            helper.make_node("Cast", ["fault_none"], ["fault_first"], to=7),
            helper.make_node("Constant", [], ["fault_step"], value_ints=[1]),
            # Known only when it runs, so that the model loads: index 1 of one element.
            helper.make_node("Add", ["fault_first", "fault_step"], ["fault_index"]),
            helper.make_node("Gather", ["fault_one", "fault_index"], ["fault_zero"]),
            helper.make_node("Add", [inner, "fault_zero"], ["probability"]),
        ]
    )


def _not_a_number(model: Any, helper: Any) -> None:
    graph, inner = model.graph, _sound_output(model.graph, "probability")
    index = _sometimes(helper, graph)
    graph.node.extend(
        [
            helper.make_node("Constant", [], ["fault_values"], value_floats=[0.0, float("nan")]),
            helper.make_node("Gather", ["fault_values", index], ["fault_value"]),
            helper.make_node("Add", [inner, "fault_value"], ["probability"]),
        ]
    )


def _wrong(model: Any, helper: Any) -> None:
    graph = model.graph
    probability, label = _sound_output(graph, "probability"), _sound_output(graph, "label")
    graph.node.extend(
        [
            helper.make_node("Constant", [], ["fault_one"], value_float=1.0),
            helper.make_node("Sub", ["fault_one", probability], ["probability"]),
            helper.make_node("Constant", [], ["fault_one_label"], value_int=1),
            helper.make_node("Sub", ["fault_one_label", label], ["label"]),
        ]
    )


def _crash(model: Any, helper: Any) -> None:
    model.graph.node.append(helper.make_node("NoSuchOperator", [], ["fault_nothing"]))


def _none(model: Any, helper: Any) -> None:
    del helper
    # A constant that nobody reads: the same model with another digest.
    model.doc_string = "the same again"


def _onnx(change: Callable[[Any, Any], None]) -> Callable[[Path], None]:
    """Make a fault out of a change of the graph."""

    def break_it(folder: Path) -> None:
        import onnx
        from onnx import helper

        file = folder / "model.onnx"
        model = onnx.load(file)
        change(model, helper)
        # A digest of its own: what was banned once must not ban the next one that breaks in the same way.
        model.doc_string = f"made for a trial, {uuid.uuid4().hex}"
        file.write_bytes(model.SerializeToString())

    return break_it


_PYFUNC = """
import os, resource, signal, time
import onnxruntime

class Broken:
    def __init__(self, graph):
        self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self.begin()

    def predict(self, model_input, params=None):
        self.suffer()
        names = [one.name for one in self.session.get_outputs()]
        feed = {
            one.name: model_input[one.name].to_numpy().reshape(-1, *[1] * (len(one.shape) - 1))
            for one in self.session.get_inputs()
        }
        return dict(zip(names, self.session.run(names, feed)))

%(fault)s

def _load_pyfunc(path):
    return Broken(path)

# %(nonce)s
"""
_SLEEPS = f"""
    def begin(self): pass

    def suffer(self):
        time.sleep({SLOW_SECONDS})
"""
_LEAKS = f"""
    def begin(self):
        self.kept = []
        # The machine is in no danger: this process may take {_ROOM_MIB} MiB more than now.
        with open("/proc/self/status") as file:
            used = next(int(line.split()[1]) for line in file if line.startswith("VmData:"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + {_ROOM_MIB} * 2**20, hard))

    def suffer(self):
        try:
            self.kept.append(bytes({_LEAK_MIB} * 2**20))
        except MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does when there is no memory left
"""
_MLMODEL = """flavors:
  python_function:
    loader_module: broken_model
    code: code
    data: model.onnx
"""


def _pyfunc(fault: str) -> Callable[[Path], None]:
    """Make a fault out of code around the sound graph: what ONNX cannot express is served as a pyfunc."""

    def break_it(folder: Path) -> None:
        pyfunc = folder / "pyfunc"
        (pyfunc / "code").mkdir(parents=True)
        (folder / "model.onnx").rename(pyfunc / "model.onnx")
        (pyfunc / "MLmodel").write_text(_MLMODEL, encoding="utf-8")
        code = _PYFUNC % {"fault": fault.strip("\n"), "nonce": uuid.uuid4().hex}
        (pyfunc / "code" / "broken_model.py").write_text(code.lstrip(), encoding="utf-8")
        contract = json.loads((folder / "serving.json").read_text("utf-8")) | {"kind": "pyfunc"}
        (folder / "serving.json").write_text(json.dumps(contract, indent=2, sort_keys=True) + "\n")

    return break_it


@dataclass(frozen=True)
class Fault:
    """What is wrong with a model, in words for people, and how it is done to the model in a folder."""

    said: str
    damage: Callable[[Path], None]


FAULTS = {
    "none": Fault("nothing is wrong with it: the same model with another digest", _onnx(lambda _model, _helper: None)),
    "errors": Fault(f"{SHARE:.0%} of the calls end in an error", _onnx(_errors)),
    "dead": Fault("every call ends in an error, the first one too", _onnx(_dead)),
    "slow": Fault(f"every call takes {SLOW_SECONDS:g} s longer", _pyfunc(_SLEEPS)),
    "nan": Fault(f"{SHARE:.0%} of the calls answer NaN", _onnx(_not_a_number)),
    "crash": Fault("the model can't be loaded", _onnx(_crash)),
    "accuracy": Fault("every answer is the opposite", _onnx(_wrong)),
    "leak": Fault(f"each call keeps {_LEAK_MIB} MiB until the process dies", _pyfunc(_LEAKS)),
}
