"""Materialize: build a model's feature views from its snapshot and bring them into the feature store, both sides of it.

python -m training.pipelines.materialize --folder training/examples/flight_delay
    environment: MLOPS_DATA_DIR, MLOPS_JOB_RESULT, MLOPS_INGEST (result of ingest)
"""

import argparse
from pathlib import Path
from typing import Any

from training import snapshots
from training.errors import TrainingError
from training.features import store
from training.pipelines.ingest import ingest
from training.spec import ModelSpec, load_model
from training.workspace import data_directory, earlier_result, run, say, write_result


def data_digest(spec: ModelSpec, data: Path) -> str:
    """Return the digest of the snapshot to work on: that of the ingest job, else of one made now.

    Raises:
        TrainingError: the ingest job was of another model.
    """
    earlier = earlier_result("MLOPS_INGEST", "ingest") or ingest(spec, data)
    if earlier.get("model") != spec.name or not isinstance(earlier.get("dataDigest"), str):
        raise TrainingError(
            f"MLOPS_INGEST: a result of ingest for {spec.name} is needed, got one of {earlier.get('model')}"
        )
    return str(earlier["dataDigest"])


def materialize(spec: ModelSpec, data: Path, digest: str) -> dict[str, Any]:
    """Build and store the features of a model.

    Args:
        spec: the model.
        data: the environment's data folder.
        digest: of the snapshot to build from.

    Returns:
        `featureService`, `rows` (by view) and `digest` of the rows.

    Raises:
        TrainingError: the model has no online features, a view breaks its spec, or the two sides of the store differ.
    """
    if spec.online is None:
        raise TrainingError(f"model {spec.name}: has no online features, there is nothing to materialize")
    tables = snapshots.read(data / "snapshots", spec.name, digest)
    folder = store.repository(data)
    opened = store.open_store(folder)
    views = {}
    for view in spec.online.views:
        views[view.name] = view.build(tables)
        store.write_offline(folder, spec.name, view, views[view.name])
        say(f"{spec.name}: view {view.name} has {len(views[view.name])} rows")
    store.apply(opened, folder, spec)
    store.materialize(opened, spec, views)
    differences = store.disagreement(opened, spec, views)
    if differences:
        shown = "; ".join(differences[:3])
        raise TrainingError(
            f"model {spec.name}: online and offline features differ in {len(differences)} places: {shown}"
        )
    say(f"{spec.name}: service {spec.online.service} is online and agrees with offline")
    return {
        "featureService": spec.online.service,
        "rows": {name: len(rows) for name, rows in views.items()},
        "digest": snapshots.digest_of(views),
    }


def main() -> None:
    """Run as a job."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.materialize", description="Store features.")
    parser.add_argument("--folder", required=True, help="folder of the model")
    options = parser.parse_args()
    spec, data = load_model(options.folder), data_directory()
    write_result(materialize(spec, data, data_digest(spec, data)))


if __name__ == "__main__":
    run(main)
