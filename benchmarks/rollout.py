"""`mlops bench rollout`: how fast a rollout decides, how often wrongly, and what it costs; all with fixed seeds.

The operating curve comes from simulation (`serving.rollout.simulate`), the costs are measured on this machine. With
`--write` the tables replace those in docs/rollouts.md.
"""

import argparse
import json
import random as chance
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.rollout import model
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.model import History, ModelState, Request
from serving.rollout.observation import Version
from serving.rollout.simulate import CANARY, Behaviour, Stage, World, run, trial
from serving.rollout.strategy import Strategy
from serving.traffic import Split

DOCS = Path(__file__).resolve().parents[1] / "docs" / "rollouts.md"
BEGIN, END = "<!-- made by: python -m benchmarks.rollout --write -->", "<!-- end -->"
OLD, NEW = Version(version="1", digest="sha256:1"), Version(version="2", digest="sha256:2")
HALF = (Stage(5_000, 3_000),)
NEVER = 10**9

Row = dict[str, Any]


def main() -> None:
    """Simulate, measure, print."""
    parser = argparse.ArgumentParser(prog="mlops bench rollout", description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000, help="simulated rollouts a row")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCS.name}")
    options = parser.parse_args()
    results: dict[str, list[Row]] = {}
    for name, section in SECTIONS.items():
        begun = time.perf_counter()
        results[name] = section(options.trials)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    if options.write:
        write(DOCS, tables(results))
    print(json.dumps(results, indent=2) if options.json else tables(results))


def broken(trials: int) -> list[Row]:
    """A candidate that fails in 20 % of requests, in its first step."""
    rows = []
    for share, record in ((500, 20_000), (500, 2_000), (500, 0), (1_000, 20_000), (2_500, 20_000), (5_000, 20_000)):
        for base in (0.001, 0.005, 0.02):
            needed = requests(trials, Behaviour(errors=base), Behaviour(errors=0.2), Stage(share, 1_000), record)
            rows.append(
                {
                    "candidate's share": f"{share / 100:g} %",
                    "stable's record": f"{record:,} requests" if record else "none",
                    "stable's errors": f"{100 * base:g} %",
                    "median": int(np.median(needed)),
                    "p99": int(np.quantile(needed, 0.99)),
                }
            )
    return rows


def worse(trials: int) -> list[Row]:
    """A candidate that fails three times as often as stable, 3 % against 1 %."""
    rows = []
    for share in (500, 1_000, 2_500, 5_000):
        needed = requests(trials, Behaviour(errors=0.01), Behaviour(errors=0.03), Stage(share, 1_500), 20_000)
        found = sum(number < NEVER for number in needed)
        rows.append(
            {
                "candidate's share": f"{share / 100:g} %",
                "median": int(np.median(needed)),
                "found within 1,500": f"{100 * found / trials:.1f} %",
            }
        )
    return rows


def other_faults(trials: int) -> list[Row]:
    """Faults other than errors, candidate's share 5 %."""
    faults = {
        "every output is NaN": (Behaviour(invalid=1.0), 0.0),
        "5 % of outputs are invalid": (Behaviour(invalid=0.05), 0.0),
        "latency doubled": (Behaviour(latency_seconds=0.008), 0.0),
        "latency tripled": (Behaviour(latency_seconds=0.012), 0.0),
        "accuracy 0.65 instead of 0.80, every second label known": (Behaviour(wrong=0.35), 0.5),
    }
    rows = []
    for name, (fault, labels) in faults.items():
        needed = requests(trials // 4, Behaviour(), fault, Stage(500, 3_000), 20_000, labels=labels, batch=2)
        rows.append({"fault": name, "median": shown(np.median(needed)), "p99": shown(np.quantile(needed, 0.99))})
    return rows


def batches(trials: int) -> list[Row]:
    """The same broken candidate, reported in batches: what waiting for reports costs."""
    rows = []
    for batch in (1, 2, 5, 20):
        needed = requests(
            trials, Behaviour(errors=0.005), Behaviour(errors=0.2), Stage(500, 1_000), 20_000, batch=batch
        )
        rows.append(
            {
                "candidate requests a report": batch,
                "median": int(np.median(needed)),
                "p99": int(np.quantile(needed, 0.99)),
            }
        )
    return rows


def healthy(trials: int) -> list[Row]:
    """Healthy canaries of 5,000 requests, base error log-uniform from 0.1 to 2 %, a fifth of labels known."""
    cases: dict[str, dict[str, Any]] = {
        "stable's record 20,000 requests": {},
        "record 2,000": {"record": 2_000},
        "no record": {"record": 0},
        "reports of 20 requests": {"batch": 20},
        "errors were a tenth while the record was made": {"before": 0.1},
        "errors were four times as many then": {"before": 4.0},
        "half of the traffic from the first step on": {"stages": HALF},
        "the same, errors were a tenth while the record was made": {"stages": HALF, "before": 0.1},
    }
    rows = []
    for name, options in cases.items():
        stopped: Counter[str] = Counter()
        for number in range(trials):
            source = np.random.default_rng([1, number])
            rate = float(np.exp(source.uniform(np.log(0.001), np.log(0.02))))
            version, before = Behaviour(errors=rate), Behaviour(errors=rate * options.get("before", 1.0))
            record, batch = options.get("record", 20_000), options.get("batch", 1)
            stages = options.get("stages", CANARY)
            decision = trial(source, version, version, stages, history=record, batch=batch, labels=0.2, before=before)
            if decision:
                stopped[decision.verdict.action] += 1
        rows.append(
            {
                "healthy rollouts": name,
                "rolled back": f"{100 * stopped['rollback'] / trials:.1f} %",
                "paused": f"{100 * stopped['pause'] / trials:.1f} %",
            }
        )
    return rows


def incidents(trials: int) -> list[Row]:
    """Both arms begin to fail in 20 % of requests with the rollout's very first request: the worst moment there is."""
    rows = []
    for share in (500, 2_500, 5_000):
        wrongly = 0
        for number in range(trials):
            source = np.random.default_rng([3, number])
            usual = Behaviour(errors=float(np.exp(source.uniform(np.log(0.001), np.log(0.02)))))
            now = Behaviour(errors=0.2)
            decision = trial(source, now, now, [Stage(share, 300)], before=usual)
            wrongly += decision is not None and decision.verdict.action == "rollback"
        rows.append({"candidate's share": f"{share / 100:g} %", "rolled back": f"{100 * wrongly / trials:.1f} %"})
    return rows


def whole(trials: int) -> list[Row]:
    """The whole machine in a simulated world: replicas, smoke set, steps, swap, bake time; 40 requests a second."""
    cases: dict[str, tuple[Behaviour | None, float]] = {
        "healthy": (None, 0.0),
        "healthy, both arms fail in 20 % of requests for two minutes": (None, 0.2),
        "candidate fails in 20 % of requests": (Behaviour(errors=0.2), 0.0),
    }
    rows = []
    for name, (candidate, incident) in cases.items():
        ends: Counter[str] = Counter()
        for number in range(max(trials if not incident else trials // 4, 1)):
            source = np.random.default_rng([2, number])
            version = Behaviour(errors=float(np.exp(source.uniform(np.log(0.001), np.log(0.02)))))
            begin = float(source.uniform(30, 900))
            world = World(
                truth={OLD.digest: version, NEW.digest: candidate or version},
                seed=number,
                labels=0.2,
                incident=two_minutes(begin, incident),
            )
            record = History(last=ArmCounts(requests=20_000, errors=int(source.binomial(20_000, version.errors))))
            ends[play(world, record)] += 1
        total = sum(ends.values())
        shares = [ends["promoted"], ends["rolled-back"], ends["aborted"]]
        rows.append(
            {
                "world": name,
                **dict(
                    zip(
                        ("promoted", "rolled back", "paused, then aborted"),
                        (f"{100 * share / total:.1f} %" for share in shares),
                        strict=True,
                    )
                ),
            }
        )
    return rows


def costs(_trials: int) -> list[Row]:
    """What it costs on this machine."""
    key = b"k" * 32
    quiet = Split.of({"stable": 10_000}, key=key)
    canary = Split.of({"stable": 9_500, "candidate": 500}, key=key)
    draws = [chance.random() for _ in range(1_000)]  # what a caller draws anyway is not counted
    subjects = [f"customer-{number}".encode() for number in range(1_000)]
    world = World(truth={OLD.digest: Behaviour(), NEW.digest: Behaviour()})
    world.serve(OLD.digest)
    state = ModelState(
        model="m", stable=OLD, proven=(OLD,), history=History(last=ArmCounts(requests=20_000, errors=20))
    )
    still = advance_seconds(world, state, 300)
    state, _ = model.request(state, Request(id="r", candidate=NEW, strategy=Strategy(kind="canary"), by="bench"))
    busy = advance_seconds(world, state, 800)
    return [
        {"what": "arm of a request, no rollout", "microseconds": f"{each(quiet.pick, draws):.2f}"},
        {"what": "arm of a request, canary", "microseconds": f"{each(canary.pick, draws):.2f}"},
        {"what": "arm of a subject, sticky", "microseconds": f"{each(canary.pick_subject, subjects):.2f}"},
        {"what": "tick of a model without a rollout", "microseconds": f"{still:.0f}"},
        {"what": "tick of a model with a canary", "microseconds": f"{busy:.0f}"},
    ]


def two_minutes(begin: float, rate: float) -> Callable[[float], float]:
    """An incident: a rate of errors between two seconds."""
    return lambda second: rate if begin < second < begin + 120 else 0.0


def requests(
    trials: int, stable: Behaviour, candidate: Behaviour, stage: Stage, record: int, **options: Any
) -> list[int]:
    """Candidate requests until it is stopped, `NEVER` if it is not."""
    found = (
        trial(np.random.default_rng([7, number]), stable, candidate, [stage], history=record, **options)
        for number in range(trials)
    )
    return [decision.requests if decision else NEVER for decision in found]


def play(world: World, record: History) -> str:
    """Release the new version and return how it ended."""
    world.serve(OLD.digest)
    state = ModelState(model="m", stable=OLD, proven=(OLD,), history=record)
    state, _ = model.request(state, Request(id="r", candidate=NEW, strategy=Strategy(kind="canary"), by="bench"))
    rollout = run(world, state, tick=5, seconds=6_000).state.rollout
    return rollout.phase if rollout else "none"


def advance_seconds(world: World, state: ModelState, ticks: int) -> float:
    """Microseconds a tick of the pure part, with its JSON."""
    spent = 0.0
    world.actuate(state.desired())
    for _ in range(ticks):
        seen = world.tick(state.desired())
        begun = time.process_time()
        state, _ = model.advance(state, seen)
        model.dump(state)
        spent += time.process_time() - begun
        world.actuate(state.desired())
    return 1e6 * spent / ticks


def each(function: Callable[[Any], object], inputs: Sequence[Any]) -> float:
    """Microseconds a call, best of five."""

    def once() -> float:
        begun = time.process_time()
        for _ in range(100):
            for value in inputs:
                function(value)
        return time.process_time() - begun

    return 1e6 * min(once() for _ in range(5)) / (100 * len(inputs))


def shown(number: float) -> str:
    """A number of requests, or that it was not found."""
    return "not found" if number >= NEVER else f"{number:,.0f}"


SECTIONS: dict[str, Callable[[int], list[Row]]] = {
    "Candidate requests until 20 % errors are found": broken,
    "Candidate requests until 3 % errors are found beside 1 %": worse,
    "Candidate requests until other faults are found": other_faults,
    "Reports in batches (stable fails in 0.5 %, candidate in 20 %)": batches,
    "Healthy candidates that are stopped": healthy,
    "Healthy candidates that are blamed for an incident that begins with the rollout": incidents,
    "The whole machine": whole,
    "Costs": costs,
}


def tables(results: dict[str, list[Row]]) -> str:
    """The results as Markdown."""
    parts = []
    for name, rows in results.items():
        head = list(rows[0])
        lines = [f"**{name}**", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        lines += [f"| {' | '.join(str(row[column]) for column in head)} |" for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what lies between the markers."""
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(begin)
    _, after = rest.split(end, maxsplit=1)
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
