"""What a training run leaves in the registry: a tracked run, and a version of the model that bears the digest.

A fit whose digest is registered already gets that version again; its run is tracked all the same. A model that failed
its evaluation is registered too, marked as such, so that it can be looked at; nothing releases it.

In the artifact store the model is a folder that MLflow can load and serve (`mlflow models serve`), with our content
files beside its MLmodel.
"""

import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from policies.releases.evaluation import Evaluation
from serving.runtime.artifact import verify
from training.errors import TrainingError
from training.fit import SAMPLE_FILE, Fit
from training.spec import ModelSpec, ParamValue
from training.workspace import say

MODEL_FOLDER = "model"
EVALUATION_FILE = "evaluation.json"
_LOCK = Path(__file__).parent.parent / "requirements.lock"
_TYPES = {"FP32": "float", "FP64": "double", "INT64": "long", "INT32": "integer", "BYTES": "string", "BOOL": "boolean"}


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered version: number, run and commit that made it, and where its files are (`mlflow-artifacts:/…`)."""

    version: str
    run: str
    commit: str
    source: str


def register(spec: ModelSpec, fit: Fit, params: Mapping[str, ParamValue], *, commit: str, folder: str) -> Registered:
    """Track a fit and register its model.

    Args:
        spec: the model.
        fit: its artifact and evaluation.
        params: the hyperparameters used.
        commit: the commit of the code.
        folder: the model's folder, for people.

    Raises:
        TrainingError: the registry is not named, not reachable or refuses.
    """
    _patience()
    import mlflow

    with _explained():
        return _register(mlflow.MlflowClient(), spec, fit, params, commit, folder)


def reach(spec: ModelSpec) -> None:
    """Ask the registry for the model's experiment, to know before the work that its result can be registered.

    Raises:
        TrainingError: the registry is not named, not reachable or refuses.
    """
    _patience()
    import mlflow

    with _explained():
        _experiment(mlflow.MlflowClient(), spec.name)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        where, what = os.environ["MLFLOW_TRACKING_URI"], str(error).splitlines()[0]
        raise TrainingError(f"registry {where}: {what}; is it up, and is the password right?") from error


def _patience() -> None:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise TrainingError("MLFLOW_TRACKING_URI is not set: the address of the registry")
    # MLflow would retry for minutes; the job is run again as a whole.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")


def _register(
    client: Any, spec: ModelSpec, fit: Fit, params: Mapping[str, ParamValue], commit: str, folder: str
) -> Registered:
    experiment = _experiment(client, spec.name)
    started = int(time.time() * 1000)
    run = client.create_run(
        experiment,
        start_time=started,
        run_name=f"{spec.name}-{fit.digest[7:15]}",
        tags={
            "mlops.digest": fit.digest,
            "mlops.data_digest": fit.evaluation.data_digest,
            "mlops.commit": commit,
            "mlops.passed": str(fit.evaluation.passed).lower(),
            "mlflow.source.git.commit": commit,
            "mlflow.source.name": folder,
            "mlflow.source.type": "JOB",
        },
    ).info
    try:
        _track(client, run.run_id, spec, fit, params, started)
        registered = _version(client, spec, fit, run, commit)
    except BaseException:
        client.set_terminated(run.run_id, status="FAILED")
        raise
    client.set_terminated(run.run_id)
    return registered


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            # Another job made it between the two calls.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _track(client: Any, run: str, spec: ModelSpec, fit: Fit, params: Mapping[str, ParamValue], now: int) -> None:
    """Log parameters, metrics, data and environment of a run, and the evaluation with its sample."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param

    evaluation = fit.evaluation
    values = {
        **{name: str(value) for name, value in params.items()},
        "seed": str(evaluation.seed),
        "training_rows": str(evaluation.held_out.training_rows),
        "held_out_rows": str(evaluation.held_out.rows),
        "architecture": evaluation.architecture,
    }
    metrics = [Metric(name, value, now, 0) for name, value in flat_metrics(evaluation).items()]
    client.log_batch(run, metrics=metrics, params=[Param(name, value) for name, value in values.items()])
    # MLflow takes 36 characters of a dataset's digest; the whole one is a tag of the run.
    source = json.dumps({"tables": [table.source for table in spec.tables]})
    data = Dataset(name=spec.name, digest=evaluation.data_digest[7:43], source_type="snapshot", source=source)
    client.log_inputs(run, datasets=[DatasetInput(dataset=data)])
    client.log_text(run, json.dumps(evaluation.to_json(), indent=2, sort_keys=True) + "\n", EVALUATION_FILE)
    client.log_text(run, fit.sample.decode(), SAMPLE_FILE)
    client.log_text(run, json.dumps(environment(), indent=2, sort_keys=True) + "\n", "environment.json")


def flat_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Name the numbers of an evaluation one by one, as a tracking server wants them."""
    found: dict[str, float | None] = {name: metric.value for name, metric in evaluation.metrics.items()}
    found |= {f"baseline.{name}": metric.value for name, metric in evaluation.baseline.metrics.items()}
    for one in evaluation.fairness:
        found |= {f"fairness.{one.attribute}.{name}": gap for name, gap in one.gaps.items()}
    for loss in evaluation.robustness:
        found[f"robustness.{loss.name.replace(' ', '_')}.loss"] = loss.loss
    found["latency.p50_ms"] = evaluation.latency.p50_ms
    found["latency.p99_ms"] = evaluation.latency.p99_ms
    return {name: value for name, value in found.items() if value is not None}


def environment() -> dict[str, Any]:
    """Describe what the run ran on: interpreter, machine, digest of the lock, version of every package."""
    return {
        "python": sys.version.split()[0],
        "system": platform.system(),
        "architecture": platform.machine(),
        "lockDigest": "sha256:" + sha256(_LOCK.read_bytes()).hexdigest() if _LOCK.is_file() else None,
        "packages": {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]},
    }


def _version(client: Any, spec: ModelSpec, fit: Fit, run: Any, commit: str) -> Registered:
    """Find the version that has the digest, or upload the model and register one."""
    verdict = {"mlops.passed": str(fit.evaluation.passed).lower(), "mlops.evaluation_run": run.run_id}
    known = client.search_model_versions(f"name = '{spec.name}' AND tags.`mlops.digest` = '{fit.digest}'")
    if known:
        first = min(known, key=lambda one: int(one.version))
        for name, value in verdict.items():
            client.set_model_version_tag(spec.name, first.version, name, value)
        client.set_tag(run.run_id, "mlops.version", str(first.version))
        say(f"{spec.name}: version {first.version} has this digest already")
        return Registered(str(first.version), first.run_id, first.tags.get("mlops.commit", commit), first.source)
    with tempfile.TemporaryDirectory(prefix="mlops-register-") as temporary:
        folder = _mlflow_model(fit, run.run_id, Path(temporary) / MODEL_FOLDER)
        client.log_artifacts(run.run_id, str(folder), MODEL_FOLDER)
    source = f"{run.artifact_uri}/{MODEL_FOLDER}"
    _registered_model(client, spec)
    made = client.create_model_version(
        spec.name,
        source=source,
        run_id=run.run_id,
        description="; ".join(fit.evaluation.reasons) or f"{spec.description} Passed its evaluation.",
        tags={
            "mlops.digest": fit.digest,
            "mlops.data_digest": fit.evaluation.data_digest,
            "mlops.commit": commit,
            "mlops.architecture": fit.evaluation.architecture,
            **verdict,
        },
    )
    client.set_tag(run.run_id, "mlops.version", str(made.version))
    say(f"{spec.name}: registered version {made.version}")
    return Registered(str(made.version), run.run_id, commit, source)


def _registered_model(client: Any, spec: ModelSpec) -> None:
    from mlflow.exceptions import RestException

    try:
        client.create_registered_model(
            spec.name, tags={"mlops.risk_tier": spec.risk_tier}, description=spec.description
        )
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _mlflow_model(fit: Fit, run: str, path: Path) -> Path:
    """Write the artifact as a folder that MLflow can load: its own files around ours, ours unchanged."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    from serving.runtime.signature import Signature, Tensor

    def schema(tensors: tuple[Tensor, ...]) -> Any:
        return Schema([ColSpec(_TYPES[tensor.datatype], tensor.name) for tensor in tensors])

    signature = Signature.read(fit.directory)
    mlflow.onnx.save_model(
        onnx.load(fit.directory / "model.onnx"),
        str(path),
        signature=ModelSignature(inputs=schema(signature.inputs), outputs=schema(signature.outputs)),
        input_example=fit.example,
        pip_requirements=str(fit.directory / "requirements.txt"),
        mlflow_model=Model(artifact_path=MODEL_FOLDER, run_id=run),
        metadata={"digest": fit.digest},
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    for name in fit.files:
        shutil.copyfile(fit.directory / name, path / name)
    verify(path, fit.digest, fit.files)
    return path
