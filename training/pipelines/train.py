"""Train: fit, export, evaluate and register a model; the result is a candidate for a release.

    python -m training.pipelines.train --folder training/examples/flight_delay --seed 7 [--param trees=50]
        environment: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLOPS_DATA_DIR,
                     MLOPS_COMMIT, MLOPS_INGEST, MLOPS_MATERIALIZE (results of the earlier jobs), MLOPS_JOB_RESULT,
                     MLOPS_SIGNING_KEY, MLOPS_SIGNER, MLOPS_TRUST_ROOT (see training.signing)

Without the results of earlier jobs it does their work first, on the data of today: that is how the schedule retrains.
A model that fails its evaluation is a result (`passed` false, with reasons), not a failure of the job.
"""

import argparse
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training import snapshots
from training.dataset import assemble, split
from training.errors import TrainingError
from training.fit import fit
from training.pipelines.materialize import data_digest, materialize
from training.register import reach, register
from training.signing import signed, signing_identity
from training.spec import ModelSpec, ParamValue, load_model
from training.workspace import commit, data_directory, earlier_result, run, say, write_result


def train(
    spec: ModelSpec,
    data: Path,
    *,
    digest: str,
    features: Mapping[str, Any] | None,
    seed: int,
    params: Mapping[str, ParamValue],
    folder: str,
    now: datetime,
) -> dict[str, Any]:
    """Train and register a model.

    Args:
        spec: the model.
        data: the environment's data folder.
        digest: of the snapshot to train on.
        features: the result of materialize, for a model with online features.
        seed: of everything that is drawn.
        params: hyperparameters.
        folder: the model's folder, for people.
        now: the time of the evaluation.

    Returns:
        The candidate: `model`, `version`, `digest`, `source`, `files`, `run`, `commit`, `dataDigest`, `seed`, `passed`,
        `evaluation`, `riskTier`, `intendedUse`, `trainedAt`, and `trainedBy` and `signature` (null where this
        environment has no key to sign with). Version, run and commit are those that first made this digest.

    Raises:
        TrainingError: with what is missing or wrong.
    """
    reach(spec)
    tables = snapshots.read(data / "snapshots", spec.name, digest)
    frame = assemble(spec, tables, _views(spec, data, features))
    rows = split(spec, frame, seed)
    signer = signing_identity()
    with tempfile.TemporaryDirectory(prefix="mlops-train-") as temporary:
        fitted = fit(spec, rows, digest, seed, params, Path(temporary), now)
        say(f"{spec.name}: registering")
        registered = register(spec, fitted, params, commit=commit(), folder=folder)
    return {
        "model": spec.name,
        "version": registered.version,
        "digest": fitted.digest,
        "source": registered.source,
        "files": dict(fitted.files),
        "run": registered.run,
        "commit": registered.commit,
        "dataDigest": digest,
        "seed": seed,
        "riskTier": spec.risk_tier,
        "intendedUse": spec.intended_use,
        "passed": fitted.evaluation.passed,
        "evaluation": fitted.evaluation.to_json(),
        **signed(signer, spec.name, fitted.digest, fitted.evaluation),
    }


def _views(spec: ModelSpec, data: Path, features: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read the feature rows, and check that they are those that the earlier job stored."""
    if spec.online is None:
        return {}
    if features is None:
        raise TrainingError(f"MLOPS_MATERIALIZE: model {spec.name} has online features; materialize them first")
    # Feast is not needed here: its offline store is Parquet.
    from training.features.store import read_offline, repository

    views = read_offline(repository(data), spec)
    found = snapshots.digest_of(views)
    if found != features.get("digest"):
        raise TrainingError(
            f"model {spec.name}: the feature store holds {found}, materialize stored {features.get('digest')}; "
            "materialize again"
        )
    return views


def main() -> None:
    """Run as a job."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.train", description="Train a model.")
    parser.add_argument("--folder", required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=7, help="seed of everything that is drawn (default 7)")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    options = parser.parse_args()
    spec, data = load_model(options.folder), data_directory()
    params = spec.with_params(options.param)
    alone = earlier_result("MLOPS_INGEST", "ingest") is None
    digest = data_digest(spec, data)
    features = earlier_result("MLOPS_MATERIALIZE", "materialize")
    if alone and spec.online:
        features = materialize(spec, data, digest)
    write_result(
        train(
            spec,
            data,
            digest=digest,
            features=features,
            seed=options.seed,
            params=params,
            folder=options.folder,
            now=datetime.now(UTC),
        )
    )


if __name__ == "__main__":
    run(main)
