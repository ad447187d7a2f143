"""`mlops bench canary`: what a running canary costs the requests of a model, and what there is when none runs.

It rolls out a copy of a trained model under a name of its own (see infra/demo) and holds the canary at its first step.
A version in the path is never divided, so that the same requests to `/v2/models/<m>/infer` (divided) and to
`/v2/models/<m>/versions/<stable>/infer` (not divided) differ in nothing but the canary; while the latter are sent, the
candidate's process is stopped (`benchmarks.paused`). Short rounds of both take turns, and the median of the rounds'
ratios counts, beside the interval that it lies in. Rounds are many rather than long, because on a shared machine every
round meets another neighbour. Who steers a rollout (controller, actuator, reports of the replica) works beside both.

What the machinery costs while no rollout runs can't be taken out of a running platform. It is measured in this process
with the ingress and the model's own file, beside the same ingress without what rollouts need of it: the question
whether the model's traffic is divided, and the counts that the controller reads. Processor time counts there, without
HTTP server and network, so that the share of a whole request is smaller still.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load import Measurement, Target, closed_loop, json_body, median_between
from benchmarks.paused import Candidates
from benchmarks.rollback import withdraw
from benchmarks.serving import find_subject, say
from components.models import SHARED_GROUP
from infra.cli.context import Context
from infra.cli.control import Control
from infra.demo import trial, users
from infra.demo.versions import MODEL, Versions
from infra.provider.release_controller import ENDED
from policies.releases.manifest import Manifest
from serving.asgi import Message
from serving.auth import Bearer
from serving.batching import Limits
from serving.counters import BUCKETS, Counters, Slot
from serving.ingress import Ingress, Options
from serving.protocol import invocations
from serving.protocol.errors import ProtocolError
from serving.protocol.request import Encoded
from serving.runtime.model import load
from serving.table import Served, Table

RUNNING_TARGET = 0.85
IDLE_TARGET = 0.98
HELD: dict[str, Any] = {
    "kind": "canary",
    "bakeMinutes": 0,
    "evidence": {"requests": 50, "smoke": 1},
    # Load at the machine's limit is no reason to end it: it is to be measured.
    "limits": {"latencyRatio": 100, "toleratedRate": 0.9, "failureRate": 0.95},
}
_UP_SECONDS = 120.0
_IDLE_ROUNDS = 20


def main() -> None:
    """Measure and print, as text or with `--json`."""
    parser = argparse.ArgumentParser(prog="mlops bench canary", description=__doc__)
    parser.add_argument("--stack", default="local", help="running stack that serves the model")
    parser.add_argument("--model", default="flight-delay", help="model whose ingress is measured without a rollout")
    parser.add_argument("--share", type=float, default=5, help="per cent of the requests that the canary answers")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each round")
    parser.add_argument("--rounds", type=int, default=160, help="rounds of each path")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    subject = find_subject(options.stack, options.model)
    load = Load(options.seconds, options.concurrency)
    with beside(options.stack, options.share) as bench:
        processes = Candidates()
        bench.begin()
        compared = compare(bench, processes, load, options.rounds)
        bench.check()
    result = {
        "running": compared | {"share": options.share},
        "idle": idle(subject.model_file.parent, subject.request, 5_000, _IDLE_ROUNDS),
    }
    print(json.dumps(result, indent=2) if options.json else report(result))


@dataclass(frozen=True)
class Load:
    """How a path is measured: for so many seconds, on so many connections that are never idle."""

    seconds: float
    connections: int

    def run(self, target: Target) -> Measurement:
        """Send."""
        return closed_loop(target, concurrency=self.connections, seconds=self.seconds)

    def rate(self, target: Target) -> float:
        """Answers per second.

        Raises:
            SystemExit: a request failed.
        """
        run = self.run(target)
        if run.failed or not run.latencies:
            raise SystemExit(f"{target.path}: {run.failed} failed, {len(run.latencies)} answered")
        return run.per_second


@dataclass
class Bench:
    """A model that is served, and a version of it that can be rolled out as a canary and taken back."""

    control: Control
    candidate: Manifest
    share: float
    divided: Target
    whole: Target

    def begin(self) -> None:
        """Have a canary, held at its first step."""
        strategy = HELD | {"steps": [{"weight": self.share, "minutes": 60}]}
        trial.ask(self.control, self.candidate, SHARED_GROUP, strategy)
        self._wait("analysing")
        time.sleep(1)  # replicas hear of it

    def check(self) -> None:
        """Say what became of it.

        Raises:
            SystemExit: it ended while it was measured.
        """
        seen = self.control.model(MODEL)["rollout"]
        say(f"  the canary is {seen['phase']}: {json.dumps(seen['counts']['candidate'])}")
        if seen["state"] in ENDED:
            raise SystemExit(f"the canary ended while it was measured: {seen['reason']}")

    def _wait(self, phase: str) -> None:
        until = time.monotonic() + _UP_SECONDS
        while (seen := self.control.model(MODEL)["rollout"])["phase"] != phase:
            if time.monotonic() > until or seen["state"] in ENDED:
                raise SystemExit(f"the canary did not come up: {seen['phase']}: {seen['reason']}")
            time.sleep(0.2)


@contextmanager
def beside(stack: str, share: float) -> Iterator[Bench]:
    """Serve a model of its own on a running stack, with a second version to roll out, and remove both at the end."""
    context = Context(stack)
    versions = Versions(context)
    with Control(context) as control:
        try:
            withdraw(control)
            stable = versions.approved(versions.add("none"))
            trial.settle(control, stable, SHARED_GROUP)
            endpoint = context.endpoint("inference")
            at, body = urlsplit(endpoint["url"]), users.rows(versions.sample())[0].body
            headers = {"Authorization": f"Bearer {endpoint['token']}"}
            paths = (f"/v2/models/{MODEL}/infer", f"/v2/models/{MODEL}/versions/{stable.version}/infer")
            divided, whole = (Target(at.hostname or "", at.port or 80, path, body, headers) for path in paths)
            for target in (divided, whole):
                Load(1, 8).rate(target)  # warms up
            yield Bench(control, versions.approved(versions.add("none")), share, divided, whole)
        finally:
            withdraw(control)
            versions.remove()


def compare(bench: Bench, processes: Candidates, load: Load, rounds: int) -> dict[str, Any]:
    """Measure both paths in turn, the first one changing from round to round."""
    Load(1, 8).rate(bench.divided)  # warms up
    ratios: list[float] = []
    rates: dict[str, list[float]] = {"divided": [], "whole": []}
    failed = 0
    for number in range(rounds):
        pair = [("divided", bench.divided), ("whole", bench.whole)]
        seen = {}
        for name, target in pair if number % 2 else reversed(pair):
            with nullcontext() if name == "divided" else processes.stopped():
                run = load.run(target)
            seen[name], failed = run.per_second, failed + run.failed
            rates[name].append(run.per_second)
        ratios.append(seen["divided"] / seen["whole"])
        say(f"  round {number + 1}: {seen['divided']:,.0f} and {seen['whole']:,.0f} requests/s, {ratios[-1]:.3f}")
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rounds": rounds,
        "connections": load.connections,
        "failed": failed,
        "dividedPerSecond": round(statistics.median(rates["divided"])),
        "wholePerSecond": round(statistics.median(rates["whole"])),
        "ratio": round(statistics.median(ratios), 3),
        "ratioBetween": median_between(ratios),
    }


def idle(folder: Path, request: dict[str, Any], requests: int, rounds: int) -> dict[str, float]:
    """Measure what the machinery costs while no rollout runs: processor time a request with and without it, in turn."""
    loaded = load(folder)
    name, body = "measured", json_body(request)
    costs: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds + 1):
        kinds = [("with", Ingress), ("without", _Undivided)]
        for kind, make in kinds if number % 2 else reversed(kinds):
            with ThreadPoolExecutor(1) as executor:
                counters = Counters()
                served = Served.make(
                    name, "1", "sha256:1", loaded,
                    limits=Limits(), max_rows=64, executor=executor, counters=counters, capture=None,
                )  # fmt: skip
                if kind == "without":
                    served.batcher.slot = _PlainSlot(name, "1")
                    served.batcher._clock = float  # what a version did beside waiting, only rollouts ask
                ingress = make(Options(), Bearer(None))
                ingress.table, ingress.ready = Table.build([served]), True
                spent = asyncio.run(_answer(ingress, f"/v2/models/{name}/infer", body, requests))
            if number:  # the first round only warms up
                costs[kind].append(1e6 * spent / requests)
    ratios = [bare / full for bare, full in zip(costs["without"], costs["with"], strict=True)]
    return {
        "microsecondsWith": round(statistics.median(costs["with"]), 2),
        "microsecondsWithout": round(statistics.median(costs["without"]), 2),
        "ratio": round(statistics.median(ratios), 3),
    }


class _PlainSlot(Slot):
    """Counts what metrics need, and not what rollouts do."""

    __slots__ = ()

    def observe(self, seconds: float, _stood: float = 0.0) -> None:
        self.outcomes["ok"] = self.outcomes.get("ok", 0) + 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class _Undivided(Ingress):
    """An ingress that knows no rollouts: what it replaces, without the question whether traffic is divided."""

    async def _predict(
        self,
        served: Served,
        body: bytes,
        json_length: bytes | None,
        request_id: str,
        started: float,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        v2: bool,
    ) -> Encoded:
        codec = served.codec
        try:
            if v2:
                request = codec.decode(body, None if json_length is None else int(json_length))
            else:
                request = invocations.decode(codec, body)
            if request.entities:
                await self._look_up(served, request)
        except ProtocolError:
            del headers  # only the division reads them
            raise
        outputs = (await served.batcher.submit(request, request_id, started)).outputs
        return codec.encode(request, outputs) if v2 else invocations.encode(codec, outputs)


async def _answer(ingress: Ingress, path: str, body: bytes, requests: int) -> float:
    """Let an ingress answer requests, eight at a time; returns seconds of processor time."""
    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"%d" % len(body))]}
    message = {"type": "http.request", "body": body}

    async def receive() -> Message:
        return message

    async def send(answer: Message) -> None:
        if answer.get("status", 200) != 200:
            raise RuntimeError(f"the ingress answered {answer['status']}")

    async def caller() -> None:
        for _ in range(requests // 8):
            await ingress(scope, receive, send)

    begun = time.process_time()
    await asyncio.gather(*(caller() for _ in range(8)))
    return time.process_time() - begun


def report(result: dict[str, Any]) -> str:
    """The result for people."""
    running, still = result["running"], result["idle"]
    low, high = running["ratioBetween"]
    return (
        f"{running['cores']} cores, load {running['load']}, {running['connections']} connections, "
        f"{running['rounds']} rounds of each, {running['failed']} failed\n"
        f"divided {running['dividedPerSecond']:,} requests/s, not divided {running['wholePerSecond']:,}: "
        f"ratio {running['ratio']} ({low} to {high}, 95 %), "
        f"target {RUNNING_TARGET} while a canary of 5 % runs (here {running['share']:g} %)\n"
        f"no rollout: {still['microsecondsWith']} µs of processor time a request, "
        f"{still['microsecondsWithout']} without the machinery: ratio {still['ratio']}, target {IDLE_TARGET}"
    )


if __name__ == "__main__":
    main()
