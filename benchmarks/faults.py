"""Break a trained model on purpose, and register it like any other version: what a release must survive.

    python -m benchmarks.faults --stack local --model mortgage-approval --kind errors

prints the result of the training job that this could have been (with `passed: true`: its evaluation is the sound
model's) and puts it beside the results of real jobs, so that `./mlops release propose` finds it.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra import proposals
from infra.cli.context import Context
from serving.runtime.artifact import content_digest, file_hashes

SHARE = 0.2
"""Share of the calls that fail where a fault is not about all of them."""


def _sound_output(graph: Any, name: str) -> str:
    """Give an output of the graph another name inside, so that a new node can make the output."""
    inner = f"sound_{name}"
    for node in graph.node:
        for names in (node.output, node.input):
            for index, one in enumerate(names):
                if one == name:
                    names[index] = inner
    return inner


def _sometimes(helper: Any, graph: Any) -> str:
    """Add a tensor that is 1 in `SHARE` of the calls, else 0."""
    graph.node.extend(
        [
            helper.make_node("RandomUniform", [], ["fault_draw"], shape=[1], high=1.0, low=0.0),
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


def _slow(model: Any, helper: Any) -> None:
    graph, inner = model.graph, _sound_output(model.graph, "probability")
    size, value = 350, "fault_m0"
    graph.node.append(helper.make_node("RandomUniform", [], [value], shape=[size, size], high=1e-6, low=0.0))
    for step in range(3):
        following = f"fault_m{step + 1}"
        graph.node.append(helper.make_node("MatMul", [value, value], [following]))
        value = following
    graph.node.extend(
        [
            helper.make_node("ReduceMin", [value], ["fault_least"], keepdims=0),
            helper.make_node("Constant", [], ["fault_nothing"], value_float=0.0),
            helper.make_node("Mul", ["fault_least", "fault_nothing"], ["fault_zero"]),
            helper.make_node("Add", [inner, "fault_zero"], ["probability"]),
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


KINDS: dict[str, tuple[str, Callable[[Any, Any], None]]] = {
    "none": ("nothing is wrong with it: another digest of the same model", _none),
    "errors": (f"{SHARE:.0%} of the calls end in an error", _errors),
    "nan": (f"{SHARE:.0%} of the calls answer NaN", _not_a_number),
    "slow": ("every call takes some ten milliseconds longer", _slow),
    "wrong": ("every answer is the opposite", _wrong),
    "crash": ("the model can't be loaded", _crash),
}


def damage(folder: Path, kind: str) -> None:
    """Break the model in a folder."""
    import onnx
    from onnx import helper

    file = folder / "model.onnx"
    model = onnx.load(file)
    KINDS[kind][1](model, helper)
    file.write_bytes(model.SerializeToString())


def register(context: Context, model: str, kind: str) -> dict[str, Any]:
    """Register a broken version of the newest sound model of a stack; returns the candidate."""
    import os

    jobs = context.home / "data" / "jobs"
    trained = {v: r for v, r in proposals.trained(jobs, model).items() if not r.get("fault")}
    sound = trained[proposals.newest(trained, model)]
    tracking = context.endpoint("tracking")
    os.environ |= {
        "MLFLOW_TRACKING_URI": tracking["url"],
        "MLFLOW_TRACKING_USERNAME": tracking["username"],
        "MLFLOW_TRACKING_PASSWORD": tracking["token"],
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(model)
    run = client.create_run(experiment.experiment_id, run_name=f"{model}-fault-{kind}").info
    with tempfile.TemporaryDirectory(prefix="mlops-fault-") as temporary:
        got = Path(mlflow.artifacts.download_artifacts(sound["source"], dst_path=temporary))
        folder = Path(temporary) / "broken" / "model"
        shutil.copytree(got, folder)
        damage(folder, kind)
        files = file_hashes(folder)
        for name in ("environment.json", "evaluation_sample.json"):
            base = sound["source"].rpartition("/")[0]
            client.log_artifact(run.run_id, mlflow.artifacts.download_artifacts(f"{base}/{name}", dst_path=temporary))
        client.log_artifacts(run.run_id, str(folder), "model")
    digest = content_digest(files)
    source = f"{run.artifact_uri}/model"
    tags = {"mlops.digest": digest, "mlops.passed": "true"}
    version = client.create_model_version(model, source=source, run_id=run.run_id, tags=tags).version
    client.set_terminated(run.run_id)
    candidate = sound | {
        "version": str(version),
        "digest": digest,
        "source": source,
        "files": files,
        "run": run.run_id,
        "fault": kind,
        # The sound model's signature is over another digest; `release propose` signs what has none.
        "signature": None,
        "evaluation": sound["evaluation"] | {"digest": digest},
    }
    file = jobs / f"fault-{model}" / digest[7:23] / "result.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(candidate, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return candidate


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="Register a broken model.")
    parser.add_argument("--stack", default="local")
    parser.add_argument("--model", required=True)
    kinds = "; ".join(f"{name}: {what}" for name, (what, _) in KINDS.items()).replace("%", "%%")
    parser.add_argument("--kind", choices=sorted(KINDS), required=True, help=kinds)
    options = parser.parse_args()
    candidate = register(Context(options.stack), options.model, options.kind)
    print(json.dumps({name: candidate[name] for name in ("model", "version", "digest", "source", "fault")}))


if __name__ == "__main__":
    main()
