"""Every fault under every strategy, and healthy releases between them, under load on the platform that is up.

    python -m benchmarks.rollback --stack local --requests 10000

Asks what a broken release costs users: failed requests out of so many, and the time from the decision until stable
answers everything again. The model is a copy under a name of its own (see infra/demo); with `--write` the table
replaces the one in docs/rollouts.md.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.rollout import tables, write
from components.models import SHARED_GROUP
from infra.cli.context import Context
from infra.cli.control import Control
from infra.cli.output import say
from infra.demo import trial, users
from infra.demo.faults import FAULTS
from infra.demo.trial import Outcome
from infra.demo.users import Users
from infra.demo.versions import MODEL, Versions

DOCS = Path(__file__).resolve().parents[1] / "docs" / "rollouts.md"
BEGIN, END = "<!-- made by: python -m benchmarks.rollback --write -->", "<!-- end of benchmarks.rollback -->"
TITLE = "Broken and healthy releases under load"

_COMMON: dict[str, Any] = {
    "bakeMinutes": 0.05,
    "evidence": {"requests": 200, "smoke": 20},
    "deadlines": {"start": 300, "smoke": 120},
    # Wide, since the machine is shared: that a slow candidate is found is asked here, not how fine the test is.
    "limits": {"latencyRatio": 3},
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "canary": {"kind": "canary", "steps": [{"weight": 20, "minutes": 0.15}, {"weight": 50, "minutes": 0.15}]},
    "blue-green": {"kind": "blue-green"},
    "shadow": {"kind": "shadow", "steps": [{"mirror": 100, "minutes": 0.25}]},
    "ab": {"kind": "ab", "steps": [{"weight": 50, "minutes": 0.25}]},
}


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollback", description=__doc__)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--requests", type=int, default=10_000, help="of users, in each trial at least")
    parser.add_argument("--rate", type=float, default=400, help="requests/s")
    parser.add_argument("--strategy", choices=sorted(STRATEGIES), nargs="*", default=list(STRATEGIES))
    parser.add_argument("--fault", choices=sorted(FAULTS), nargs="*", default=[one for one in FAULTS if one != "none"])
    parser.add_argument("--out", type=Path, help="add the results to this file, one JSON document a line")
    parser.add_argument("--write", type=Path, help=f"put the table of this file into {DOCS.name}, and measure nothing")
    options = parser.parse_args()
    if options.write:
        found = [json.loads(line) for line in options.write.read_text("utf-8").splitlines()]
        write(DOCS, tables({TITLE: [shown(one) for one in found]}), BEGIN, END)
        return
    results = measured(options)
    print(tables({TITLE: [shown(one) for one in results]}))


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all trials; returns them as JSON, in order."""
    context, results = Context(options.stack), []
    versions = Versions(context)
    with Control(context) as control:
        try:
            withdraw(control)
            trial.settle(control, versions.approved(versions.add("none")), SHARED_GROUP)
            endpoint = context.endpoint("inference")
            address, path = endpoint["url"], f"/v2/models/{MODEL}/infer"
            asked = users.rows(versions.sample())
            with Users(address, endpoint["token"], path, asked, per_second=options.rate) as asking:
                trial.warm(asking, 5)
                for strategy in options.strategy:
                    for fault in [*options.fault, "none"]:
                        found = tried(control, asking, versions, fault, strategy, options.requests)
                        results.append(found)
                        say(json.dumps(found))
                        if options.out:
                            with options.out.open("a", encoding="utf-8") as file:
                                file.write(json.dumps(found) + "\n")
        finally:
            withdraw(control)
            versions.remove()
    return results


def tried(
    control: Control, asking: Users, versions: Versions, fault: str, strategy: str, requests: int
) -> dict[str, Any]:
    """Run one trial, and go on asking until there were enough requests."""
    begun = len(asking.answers)
    manifest = versions.approved(versions.add(fault))
    wanted = _COMMON | STRATEGIES[strategy]
    if fault == "accuracy":
        # No call of it fails and nobody sends labels: what shows it is the sample, with as many rows as are usual.
        wanted |= {"evidence": {"requests": 200}}
    outcome = trial.run(control, asking, manifest, fault=fault, group=SHARED_GROUP, strategy=wanted)
    back = None
    if outcome.state == "promoted":
        back = went_back(control)
    while len(asking.answers) - begun < requests:
        time.sleep(0.2)
    answers = asking.answers[begun:]
    failed = [one for one in answers if one.problem]
    return _facts(outcome) | {
        "userRequests": len(answers),
        "userFailures": len(failed),
        "problems": sorted({one.problem for one in failed})[:3],
        "secondsBack": back,
        "p99Ms": round(1000 * sorted(one.seconds for one in answers)[int(0.99 * len(answers))], 1),
    }


def went_back(control: Control) -> float:
    """Have a person roll a promoted version back; returns the seconds until the one before is served everywhere."""
    begun = time.monotonic()
    control.ask("POST", f"/v1/models/{MODEL}/rollout/rollback", {"reason": "benchmark", "by": "benchmark"})
    while control.model(MODEL).get("returning"):
        time.sleep(0.02)
    return round(time.monotonic() - begun, 3)


def withdraw(control: Control) -> None:
    """Stop serving the benchmark's model."""
    if control.knows(MODEL):
        control.ask("DELETE", f"/v1/models/{MODEL}", by="benchmark")


def _facts(outcome: Outcome) -> dict[str, Any]:
    document = outcome.to_json()
    names = (
        "fault", "strategy", "state", "reason", "candidateRequests", "secondsToDecision", "secondsToStable",
        "secondsToLastAnswer",
    )  # fmt: skip
    return {name: document[name] for name in names}


def shown(one: dict[str, Any]) -> dict[str, Any]:
    """A trial as a row of the table."""
    stable = one["secondsBack"] if one["secondsBack"] is not None else one["secondsToStable"]
    return {
        "strategy": one["strategy"],
        "fault": one["fault"],
        "ended": one["state"] + (", then back by hand" if one["secondsBack"] is not None else ""),
        "users' requests": f"{one['userRequests']:,}",
        "failed": one["userFailures"],
        "candidate requests": f"{one['candidateRequests']:,}",
        "s until stable answers all": f"{stable:.2f}",
    }


if __name__ == "__main__":
    main()
