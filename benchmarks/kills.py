"""Kill what a rollout depends on, with `kill -9` and under load, on the platform that is up: does it converge?

    python -m benchmarks.kills --stack local

The control process (which also holds the ledger's database) is killed in every phase of a rollout, the actuator while
a candidate starts and while it is analysed, the candidate and an ingress replica while it is analysed. Afterwards the
rollout must have ended as it would have, one version must be served by all, the ledger must verify, and users must have
lost nothing but what was inside of the killed process. The model is a copy under a name of its own (see infra/demo).
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.rollback import DOCS, withdraw
from benchmarks.rollout import tables, write
from components import paths
from components.models import SHARED_GROUP
from infra.cli.context import Context
from infra.cli.control import Control
from infra.cli.output import CommandFailed, say
from infra.demo import trial, users
from infra.demo.users import Users
from infra.demo.versions import MODEL, Versions
from infra.provider import marks
from infra.provider.release_controller import ENDED
from infra.provider.supervisor import Supervisor

BEGIN, END = "<!-- made by: python -m benchmarks.kills --write -->", "<!-- end of benchmarks.kills -->"
TITLE = "Killed during a rollout"

HEALTHY: dict[str, Any] = {
    "kind": "canary",
    "steps": [{"weight": 20, "minutes": 0.1}],
    "bakeMinutes": 0.1,
    "evidence": {"requests": 200, "smoke": 20},
    "deadlines": {"start": 300, "smoke": 120, "silence": 30, "unhealthy": 20},
    # Killing costs time; that is not what is asked here.
    "limits": {"latencyRatio": 100},
}
PAUSED = HEALTHY | {"steps": [{"weight": 20, "minutes": 0.05, "gate": True}]}
"""Stops in the phase `paused`, at a gate that is opened after the kill."""

_PATIENCE = 600.0


@dataclass(frozen=True)
class Case:
    """What is killed in which phase, beside which version, and how the rollout may end."""

    victim: str
    phase: str
    fault: str = "none"
    ends: frozenset[str] = frozenset({"promoted"})
    strategy: dict[str, Any] = field(default_factory=lambda: HEALTHY)


BACK = frozenset({"rolled-back"})
CASES = (
    Case("control", "starting"),
    Case("control", "smoke"),
    Case("control", "analysing"),
    Case("control", "paused", strategy=PAUSED),
    Case("control", "promoting"),
    Case("control", "baking"),
    Case("control", "rolling-back", "errors", BACK),
    Case("actuator", "starting"),
    Case("actuator", "analysing"),
    # Whether a candidate that was killed once is given up depends on how many requests met it dead.
    Case("candidate", "analysing", ends=frozenset({"promoted", "rolled-back"})),
    Case("ingress", "analysing", ends=frozenset({"promoted", "rolled-back"})),
)


def main() -> None:
    """Run as a program; exit code 1 when something did not converge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--stack", default="local")
    parser.add_argument("--rate", type=float, default=150, help="users' requests/s")
    parser.add_argument("--only", default="", help="cases whose `victim phase` holds this text")
    parser.add_argument("--out", type=Path, help="add the results to this file, one JSON document a line")
    parser.add_argument("--write", type=Path, help=f"put the table of this file into {DOCS.name}, and kill nothing")
    options = parser.parse_args()
    if options.write:
        found = [json.loads(line) for line in options.write.read_text("utf-8").splitlines()]
        write(DOCS, tables({TITLE: found}), BEGIN, END)
        return
    context, results = Context(options.stack), []
    versions = Versions(context)
    with Control(context) as control:
        try:
            patiently(lambda: withdraw(control))
            trial.settle(control, versions.approved(versions.add("none")), SHARED_GROUP)
            endpoint = context.endpoint("inference")
            address, path = endpoint["url"], f"/v2/models/{MODEL}/infer"
            asked = users.rows(versions.sample())
            with Users(address, endpoint["token"], path, asked, per_second=options.rate) as asking:
                trial.warm(asking, 5)
                for case in CASES:
                    if options.only in f"{case.victim} {case.phase}":
                        results.append(tried(context, control, asking, versions, case))
                        say(json.dumps(results[-1]))
                        if options.out:
                            with options.out.open("a", encoding="utf-8") as file:
                                file.write(json.dumps(results[-1]) + "\n")
        finally:
            patiently(lambda: withdraw(control))
            versions.remove()
    print(tables({TITLE: results}))
    if not all(one["converged"] == "yes" for one in results):
        raise SystemExit(1)


def tried(context: Context, control: Control, asking: Users, versions: Versions, case: Case) -> dict[str, Any]:
    """Run one rollout, kill in its phase, and look what became of it."""
    before = len(asking.answers)
    served = patiently(lambda: control.model(MODEL))["served"]["digest"]
    manifest = versions.approved(versions.add(case.fault))
    asked = trial.ask(control, manifest, SHARED_GROUP, case.strategy)
    met = wait_for(control, asked["id"], lambda one: one["phase"] == case.phase or one["state"] in ENDED)
    if met["phase"] != case.phase:
        raise CommandFailed(f"the rollout ended before it was {case.phase}: {met['reason']}")
    kill(context, case.victim, manifest.version)
    at = time.monotonic()
    if case.phase == "paused":
        patiently(lambda: control.ask("POST", f"/v1/models/{MODEL}/rollout/resume", {"by": "benchmark"}))
    rollout = wait_for(control, asked["id"], lambda one: one["state"] in ENDED)
    took = time.monotonic() - at
    stable = {True: manifest.digest, False: served}[rollout["state"] == "promoted"]
    one = served_by_all(context, stable)
    # The next checkpoint covers what was written last.
    verified = patiently(lambda: control.ask("POST", "/v1/audit/verify", {}))
    time.sleep(1)
    answers = asking.answers[before:]
    lost = [one for one in answers if one.problem]
    good = rollout["state"] in case.ends and one and verified["ok"] is True and (not lost or case.victim == "ingress")
    return {
        "killed": case.victim,
        "in phase": case.phase,
        "ended": rollout["state"],
        "s after the kill": f"{took:.1f}",
        "users' requests": f"{len(answers):,}",
        "lost": len(lost),
        "one stable everywhere": "yes" if one else "no",
        "ledger verifies": "yes" if verified["ok"] else "no",
        "converged": "yes" if good else f"no: {rollout['reason']} {sorted({one.problem for one in lost})[:3]}",
    }


def wait_for(control: Control, rollout: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look often until a rollout is where it should be; a controller that is being started is waited for."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        seen = patiently(lambda: control.model(MODEL)).get("rollout") or {}
        if seen.get("id") == rollout and met(seen):
            return dict(seen)
        time.sleep(0.01)
    raise CommandFailed(f"rollout {rollout} does not go on")


def patiently(ask: Callable[[], Any]) -> Any:
    """Ask again while the controller does not answer."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask()
        except CommandFailed as error:
            if "does not answer" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.1)


def kill(context: Context, victim: str, version: str) -> None:
    """Kill one process of the environment."""
    home = str(context.home)
    if victim in ("control", "actuator"):
        name = {"control": "control", "actuator": "inference"}[victim]
        info = Supervisor(home).info(name)
        pid = int(info["pid"]) if info else 0
    else:
        title = f"ServeReplica:candidate-{MODEL}-{version}:" if victim == "candidate" else "ServeReplica:shared:"
        pid = next((one for one in replicas(home) if title in " ".join(psutil.Process(one).cmdline())), 0)
    if not pid:
        raise CommandFailed(f"there is no {victim} to kill")
    os.kill(pid, signal.SIGKILL)


def replicas(home: str) -> list[int]:
    """The environment's processes that serve models."""
    found = []
    for pid in marks.members(f"{marks.PROCESS}={paths.home_hash(home)}/"):
        try:
            if "ServeReplica" in " ".join(psutil.Process(pid).cmdline()):
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def served_by_all(context: Context, digest: str) -> bool:
    """Whether every answer of the service names one version of that digest, asked often enough to meet each replica."""
    with context.http("inference") as http:
        for _ in range(40):
            try:
                seen = http.get(f"/v2/models/{MODEL}").json()["parameters"]["digest"]
            except (httpx.HTTPError, KeyError, ValueError):
                return False
            if seen != digest:
                return False
    return True


if __name__ == "__main__":
    main()
