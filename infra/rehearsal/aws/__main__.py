"""The stand-in's process: prints its port for `PULUMI_DEBUG_PROVIDERS=aws:PORT`, serves until its input is closed.

Environment:
    MLOPS_REHEARSAL_AWS: address of the rehearsal's AWS server; required.
    MLOPS_REHEARSAL_JOURNAL: file in which what was made is noted (see `orphans`).
    MLOPS_REHEARSAL_CRASH_AT: number of the creation at which the process ends without a word.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

from infra.provider import plugin


def _servicer(cancelled: threading.Event, engine_address: str | None) -> Any:
    from infra.rehearsal.aws.orphans import Journal
    from infra.rehearsal.aws.server import AwsProvider

    journal = os.environ.get("MLOPS_REHEARSAL_JOURNAL")
    return AwsProvider(
        os.environ["MLOPS_REHEARSAL_AWS"],
        cancelled,
        engine_address,
        Journal(Path(journal) if journal else None),
        int(os.environ.get("MLOPS_REHEARSAL_CRASH_AT") or 0),
    )


if __name__ == "__main__":
    if not os.environ.get("MLOPS_REHEARSAL_AWS"):
        sys.exit("MLOPS_REHEARSAL_AWS is missing: the address of the rehearsal's AWS server")
    plugin.serve(_servicer)
