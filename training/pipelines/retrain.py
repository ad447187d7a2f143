"""Retrain: ingest, materialize and train in one job, on the data of today. This is what the schedule starts.

    python -m training.pipelines.retrain --folder training/examples/flight_delay --seed 7
        environment: as for train, without the results of earlier jobs

It registers a candidate and releases nothing: a release is a change of the stack.
"""

import argparse
from datetime import UTC, datetime

from training.pipelines.ingest import ingest
from training.pipelines.materialize import materialize
from training.pipelines.train import train
from training.spec import load_model
from training.workspace import data_directory, run, write_result


def main() -> None:
    """Run as a job."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.retrain", description="Retrain a model.")
    parser.add_argument("--folder", required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=7, help="seed of everything that is drawn (default 7)")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    options = parser.parse_args()
    spec, data = load_model(options.folder), data_directory()
    params = spec.with_params(options.param)
    digest = str(ingest(spec, data)["dataDigest"])
    features = materialize(spec, data, digest) if spec.online else None
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
