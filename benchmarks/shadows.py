"""What two shadows cost users: median latency with and without them at a fifth of the load, in turns, in one run.

    python -m benchmarks.shadows --stack local

One shadow is sound and one fails in every call; both get a copy of every request. The model is a copy under a name of
its own (see infra/demo). Short runs take turns, so that a drift of the machine meets both; the median of the ratios of
neighbours counts. Without shadows means that the requests name their version, of which no copies are made, and that the
shadows' processes are stopped (`benchmarks.paused`); controller and actuator look after them in both.
"""

import argparse
import contextlib
import json
import os
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load import Target, closed_loop, median_between, open_loop
from benchmarks.paused import Candidates
from benchmarks.rollback import withdraw
from benchmarks.rollout import tables
from components.models import SHARED_GROUP
from infra.cli.context import Context
from infra.cli.control import Control
from infra.cli.output import say
from infra.demo import trial, users
from infra.demo.versions import MODEL, Versions
from policies.releases.manifest import Manifest

LOAD = 0.2
_UP_SECONDS = 120.0
_REST_SECONDS = 15.0
"""A process that has just started does more than one that runs."""


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shadows", description=__doc__)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--seconds", type=float, default=0.75, help="length of each run")
    parser.add_argument("--rounds", type=int, default=160, help="runs with shadows, and as many without")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measured(options.stack, options.seconds, options.rounds)
    print(json.dumps(found, indent=2) if options.json else tables({"Two shadows": [shown(found)]}))


def measured(stack: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Measure; latencies in milliseconds."""
    context = Context(stack)
    versions = Versions(context)
    with Control(context) as control:
        try:
            withdraw(control)
            stable = versions.approved(versions.add("none"))
            trial.settle(control, stable, SHARED_GROUP)
            processes = Candidates()
            shadows = [wire(versions.approved(versions.add(fault))) for fault in ("none", "dead")]
            endpoint = context.endpoint("inference")
            at = urlsplit(endpoint["url"])
            body = users.rows(versions.sample())[0].body
            headers = {"Authorization": f"Bearer {endpoint['token']}"}
            paths = {
                "with": f"/v2/models/{MODEL}/infer",
                "without": f"/v2/models/{MODEL}/versions/{stable.version}/infer",
            }
            targets = {kind: Target(at.hostname or "", at.port or 80, paths[kind], body, headers) for kind in paths}
            for target in targets.values():
                closed_loop(target, concurrency=8, seconds=1)  # warms up
            most = closed_loop(targets["without"], concurrency=64, seconds=3).per_second
            state(control, shadows)
            time.sleep(_REST_SECONDS)
            runs: dict[str, list[float]] = {"without": [], "with": []}
            failed = 0
            for number in range(rounds):
                for kind in ("without", "with") if number % 2 == 0 else ("with", "without"):
                    with contextlib.nullcontext() if kind == "with" else processes.stopped():
                        run = open_loop(targets[kind], per_second=LOAD * most, seconds=seconds)
                    failed += run.failed
                    runs[kind].append(1000 * run.quantile(0.5))
                    say(f"{kind}: p50 {runs[kind][-1]:.3f} ms")
            told = control.model(MODEL)["shadows"]
            counts = {("sound", "failing")[index]: one["counts"] for index, one in enumerate(told)}
        finally:
            withdraw(control)
            versions.remove()
    with_, without = statistics.median(runs["with"]), statistics.median(runs["without"])
    ratios = [one / other for one, other in zip(runs["with"], runs["without"], strict=True)]
    return {
        "cores": os.cpu_count(),
        "requestsPerSecond": round(LOAD * most, 1),
        "p50Ms": {"without": round(without, 3), "with": round(with_, 3)},
        "ratio": round(statistics.median(ratios), 3),
        "ratioBetween": median_between(ratios),
        "runsMs": {kind: [round(one, 3) for one in values] for kind, values in runs.items()},
        "failed": failed,
        "shadows": counts,
    }


def wire(manifest: Manifest) -> dict[str, Any]:
    """A shadow as the controller takes it."""
    data = manifest.to_json()
    return {name: data[name] for name in ("version", "digest", "source", "files")} | {"manifest": data, "sample": 100}


def state(control: Control, shadows: list[dict[str, Any]]) -> None:
    """Have these shadows and no others, and wait until they are up."""
    control.ask("PUT", f"/v1/models/{MODEL}/shadows", {"shadows": shadows, "requestedBy": "benchmark"})
    deadline = time.monotonic() + _UP_SECONDS
    while any(one["state"] != "ready" for one in control.model(MODEL)["shadows"]):
        if time.monotonic() > deadline:
            raise SystemExit(f"the shadows did not come up: {control.model(MODEL)['shadows']}")
        time.sleep(0.2)


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """One row for people."""
    row: dict[str, Any] = {
        "requests/s": found["requestsPerSecond"],
        "p50 without, ms": found["p50Ms"]["without"],
        "p50 with, ms": found["p50Ms"]["with"],
        "ratio": found["ratio"],
        "between (95 %)": "{} to {}".format(*found["ratioBetween"]),
        "failed requests": found["failed"],
    }
    for name, counts in found["shadows"].items():
        row[f"{name}: copies, errors, shed"] = f"{counts['requests']:,}, {counts['errors']:,}, {counts['shed']:,}"
    return row


if __name__ == "__main__":
    main()
