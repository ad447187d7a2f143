"""One fit: rows in, artifact folder and evaluation out, without a tracking server.

Pipelines, tests and benchmarks share it. It runs with one thread per library: sums in another order would give another
digest on a machine with another number of cores.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.releases.evaluation import Evaluation, Sample
from training import export
from training.dataset import Dataset
from training.evaluate import Subject, evaluate
from training.spec import ModelSpec, ParamValue
from training.workspace import say

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_FILE = "evaluation_sample.json"
_SAMPLE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained model: its artifact, digest and evaluation."""

    directory: Path
    digest: str
    files: Mapping[str, str]
    evaluation: Evaluation
    sample: bytes
    example: "pd.DataFrame"


def fit(
    spec: ModelSpec,
    data: Dataset,
    data_digest: str,
    seed: int,
    params: Mapping[str, ParamValue],
    directory: Path,
    now: datetime,
) -> Fit:
    """Fit, export and evaluate a model.

    Args:
        spec: the model.
        data: its rows.
        data_digest: the digest of the snapshot they came from.
        seed: of everything that is drawn.
        params: hyperparameters.
        directory: an empty folder for the artifact.
        now: the time of the evaluation.

    Raises:
        TrainingError: the model cannot be exported or its frame breaks the spec.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        pipeline = spec.pipeline(seed, params)
        say(f"{spec.name}: fitting on {len(data.training)} rows, seed {seed}, {dict(params)}")
        pipeline.fit(export.inputs(spec, data.training), data.training[spec.target].to_numpy())
        digest, files = export.export(spec, pipeline, directory)
        say(f"{spec.name}: exported, digest {digest}")
        sample, content = _sample(spec, data)
        subject = Subject(digest, data_digest, seed, directory, pipeline)
        evaluation = evaluate(spec, data, subject, now, sample)
    auc = evaluation.metrics["rocAuc"].value
    say(f"{spec.name}: evaluated on {len(data.held_out)} held-out rows, rocAuc {auc:.4f}, passed {evaluation.passed}")
    for reason in evaluation.reasons:
        say(f"{spec.name}: {reason}")
    return Fit(directory, digest, files, evaluation, content, export.inputs(spec, data.held_out.head(5)))


def _sample(spec: ModelSpec, data: Dataset) -> tuple[Sample, bytes]:
    """Draw held-out rows, evenly over them, as requests in the Open Inference Protocol with their true outcome."""
    import hashlib

    step = max(1, len(data.held_out) // _SAMPLE_ROWS)
    rows = data.held_out.iloc[::step].head(_SAMPLE_ROWS)
    arrays = export.columns(spec, rows)
    body: dict[str, Any] = {
        "inputs": [
            {
                "name": feature.name,
                "datatype": feature.datatype,
                "shape": [len(rows)],
                "data": [_json(value) for value in arrays[feature.name].tolist()],
            }
            for feature in spec.features
        ],
        "outcome": rows[spec.target].tolist(),
    }
    content = (json.dumps(body, allow_nan=False) + "\n").encode()
    return Sample(path=SAMPLE_FILE, rows=len(rows), sha256=hashlib.sha256(content).hexdigest()), content


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
