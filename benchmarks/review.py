"""How long a review takes, and whether repeated ones say the same: `python -m benchmarks.review [STACK] [--repeat N]`.

The base is the commit that is checked out, so that the change is what is not committed. The first review registers the
base (cold), the others take its state from the cache (warm). Processor time is that of all processes; on two free cores
the wall time is what counts, on a busy machine the processor time says more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
NOW = "2026-11-22T09:00:00+00:00"


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", nargs="?", default="prod")
    parser.add_argument("--repeat", type=int, default=3, help="warm reviews after the cold one")
    options = parser.parse_args()
    for kept in (PROJECT / ".mlops" / "review").glob(f"{options.stack}-*.json"):
        kept.unlink()
    runs = [_run(options.stack) for _ in range(1 + options.repeat)]
    document = {
        "stack": options.stack, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0],
        "cold": runs[0], "warm": runs[1:], "identical": len({one["digest"] for one in runs}) == 1,
    }  # fmt: skip
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if document["identical"] else 1)


def _run(stack: str) -> dict[str, Any]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryFile("w+") as printed:
        command = [str(PROJECT / "mlops"), "review", stack, "--base", "HEAD", "--now", NOW, "--json"]
        done = subprocess.run(command, cwd=PROJECT, stdout=printed, stderr=subprocess.DEVNULL, check=False)
        seconds = time.monotonic() - began
        printed.seek(0)
        found = json.load(printed)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (one,) = found["stacks"]
    return {
        "seconds": round(seconds, 1),
        "processor": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "exit": done.returncode,
        "operations": one["operations"],
        "digest": hashlib.sha256(json.dumps([one, found["gateChanges"]], sort_keys=True).encode()).hexdigest()[:16],
    }


if __name__ == "__main__":
    main()
