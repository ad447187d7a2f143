"""Ingest: read a model's raw tables, check them at the door, keep them as an immutable snapshot.

python -m training.pipelines.ingest --folder training/examples/flight_delay
    environment: MLOPS_DATA_DIR, MLOPS_JOB_RESULT
"""

import argparse
from pathlib import Path
from typing import Any

from training import contracts, snapshots
from training.spec import ModelSpec, load_model
from training.workspace import data_directory, run, say, write_result


def ingest(spec: ModelSpec, data: Path) -> dict[str, Any]:
    """Ingest a model's data.

    Returns:
        `model`, `dataDigest`, `rows` (by table) and `path` of the snapshot.

    Raises:
        DataContractError: a table does not keep its contract; nothing was stored.
        SnapshotError: the snapshot cannot be written.
    """
    tables = {}
    for table in spec.tables:
        say(f"{spec.name}: reading {table.name} from {table.source}")
        tables[table.name] = contracts.validate(table.read(), table.schema(), table.name, table.source)
        say(f"{spec.name}: {table.name} keeps its contract, {len(tables[table.name])} rows")
    snapshot = snapshots.write(data / "snapshots", spec.name, tables)
    say(f"{spec.name}: snapshot {snapshot.digest}")
    return {
        "model": spec.name,
        "dataDigest": snapshot.digest,
        "rows": dict(snapshot.rows),
        "path": str(snapshot.path),
    }


def main() -> None:
    """Run as a job."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.ingest", description="Keep a model's raw data.")
    parser.add_argument("--folder", required=True, help="folder of the model")
    options = parser.parse_args()
    write_result(ingest(load_model(options.folder), data_directory()))


if __name__ == "__main__":
    run(main)
