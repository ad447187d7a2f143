"""`mlops bench pack`: the policy pack as the engine drives it, over plans of growing size, with checkov beside it.

The plan is that of a shipped stack, copied until it has as many resources as wanted: each copy under names of its own,
with its references inside. The pack runs in a process of its own, started as the engine starts it, and is told every
resource over its protocol. checkov judges as many resources of the same stack, written as Terraform and Kubernetes
files, since it reads no Pulumi plans; it runs in an environment of its own.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from infra.planning.plans import planned
from policies.facts import GATE
from policies.plan import Plan, Resource, Secret, Unknown
from policies.testing.build import struct

PROJECT = Path(__file__).resolve().parents[1]
SIZES = (1000, 3000, 10000)
LIMIT_SECONDS, LIMIT_MIB = 15.0, 500.0
"""What the pack must keep at the largest size."""
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
PEER_SECONDS = 1800.0
"""What checkov is given for one size unless stated."""


class PeerUnavailableError(Exception):
    """checkov cannot be run here; the message says why."""


def main() -> None:
    """Measure and print a table, or JSON with `--json`; the exit code is 1 where the pack exceeds its limits."""
    parser = argparse.ArgumentParser(prog="mlops bench pack", description=__doc__)
    parser.add_argument("--stack", default="prod", help="stack whose resources are copied")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of resources")
    parser.add_argument("--peers", default="checkov", help="checkov, or nothing")
    parser.add_argument(
        "--peer-seconds",
        type=float,
        default=PEER_SECONDS,
        help="checkov is stopped after so many, and the table says so",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = [int(one) for one in options.sizes.split(",")]
    say(f"planning {options.stack}")
    plan = planned(PROJECT, options.stack)
    results: dict[str, Any] = {"cores": os.cpu_count(), "stack": options.stack, "sizes": {}}
    for size in sizes:
        resources = copies(plan, size)
        say(f"{size} resources: pack")
        found: dict[str, Any] = {"pack": pack(plan.stack, resources)}
        if options.peers:
            say(f"{size} resources: checkov")
            try:
                found["checkov"] = checkov(resources, options.peer_seconds)
            except PeerUnavailableError as error:
                say(f"checkov: not measured: {error}")
                found["checkov"] = {"not measured": str(error)}
        results["sizes"][size] = found
    print(json.dumps(results, indent=2) if options.json else report(results))
    last = results["sizes"][max(sizes)]["pack"]
    if max(sizes) >= SIZES[-1] and (last["seconds"] > LIMIT_SECONDS or last["mib"] > LIMIT_MIB):
        sys.exit(f"the pack must keep {LIMIT_SECONDS:.0f} s and {LIMIT_MIB:.0f} MiB")


def say(text: str) -> None:
    """Tell what goes on."""
    print(text, file=sys.stderr, flush=True)


def copies(plan: Plan, size: int) -> list[Resource]:
    """Return as many resources, with a single gate."""
    gate = plan.of(GATE)[0]
    rest = [one for one in plan.resources if one is not gate]
    found = [gate]
    number = 0
    while len(found) < size:
        found += [_renamed(one, number, gate.urn) for one in rest][: size - len(found)]
        number += 1
    return found


def _renamed(one: Resource, number: int, gate: str) -> Resource:
    def urn(text: str) -> str:
        return text if not text or text == gate else f"{text}-{number}"

    return replace(
        one,
        urn=urn(one.urn),
        parent=urn(one.parent),
        provider=urn(one.provider),
        inputs=_inputs(one, number, urn),
        dependencies=[urn(each) for each in one.dependencies],
        property_dependencies={name: [urn(each) for each in urns] for name, urns in one.property_dependencies.items()},
    )


def _inputs(one: Resource, number: int, urn: Any) -> dict[str, Any]:
    def walked(value: Any, key: str = "") -> Any:
        match value:
            case str():
                if one.type.startswith("kubernetes:") and key in ("namespace", "kubernetes.io/metadata.name"):
                    return f"{value}-{number}"
                return re.sub(r"\b(acme-[a-z]+)", rf"\1-{number}", value)
            case Unknown(origins):
                return Unknown(tuple(urn(each) for each in origins))
            case Secret(inner):
                return Secret(walked(inner))
            case Mapping():
                return {name: walked(each, name) for name, each in value.items()}
            case Sequence():
                return [walked(each, key) for each in value]
        return value

    inputs: dict[str, Any] = walked(one.inputs)
    if one.type.startswith("kubernetes:") and "name" in inputs.get("metadata", {}):
        inputs["metadata"]["name"] += f"-{number}"
    return inputs


# --- ours ---


def pack(stack: str, resources: Sequence[Resource]) -> dict[str, Any]:
    """Tell the pack a plan; return seconds (in all, of judging, of processor), MiB at most, and counts."""
    analyzed = [
        analyzer_pb2.AnalyzeRequest(
            urn=one.urn, type=one.type, name=one.name, properties=struct(one.inputs),
            options=analyzer_pb2.AnalyzerResourceOptions(protect=one.protect),
        )
        for one in resources
    ]  # fmt: skip
    whole = analyzer_pb2.AnalyzeStackRequest(
        resources=[
            analyzer_pb2.AnalyzerResource(
                urn=one.urn, type=one.type, name=one.name, parent=one.parent, dependencies=one.dependencies,
                properties=request.properties,
                provider=analyzer_pb2.AnalyzerProviderResource(urn=one.provider) if one.provider else None,
                propertyDependencies={
                    name: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns)
                    for name, urns in one.property_dependencies.items()
                },
            )
            for one, request in zip(resources, analyzed, strict=True)
        ]
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bench-pack-") as folder:
        result = Path(folder) / "result.json"
        with running({"MLOPS_POLICY_RESULT": str(result)}) as (process, stub):
            rules = len(stub.GetAnalyzerInfo(empty_pb2.Empty()).policies)
            begun = time.perf_counter()
            stub.ConfigureStack(analyzer_pb2.AnalyzerStackConfigureRequest(stack=stack, dry_run=True))
            for request in analyzed:
                stub.Analyze(request)
            told = time.perf_counter()
            stub.AnalyzeStack(whole)
            ended = time.perf_counter()
            peak, used = _peak(process), process.cpu_times()
        counts = json.loads(result.read_text())["counts"]
    return {
        "seconds": round(ended - begun, 2), "judging": round(ended - told, 2), "mib": round(peak, 1), "rules": rules,
        "processor": round(used.user + used.system, 2), "counts": counts,
    }  # fmt: skip


@contextlib.contextmanager
def running(environment: Mapping[str, str]) -> Iterator[tuple[psutil.Process, Any]]:
    """Run the pack as the engine does; yield its process and a client."""
    with subprocess.Popen(
        [sys.executable, "-u", str(PROJECT / "policies")], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "MLOPS_NOW": "2026-11-25T09:00:00+00:00", **environment},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=_UNLIMITED) as channel:
                yield psutil.Process(process.pid), analyzer_pb2_grpc.AnalyzerStub(channel)
        finally:
            process.kill()


def _peak(process: psutil.Process) -> float:
    """Return the most memory that a process has had, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) / 1024 if found else process.memory_info().rss / 2**20


# --- checkov ---


def checkov(resources: Sequence[Resource], limit: float = PEER_SECONDS) -> dict[str, Any]:
    """Let checkov judge as many resources; return seconds (of processor too), MiB at most, and how many checks.

    Args:
        resources: the resources.
        limit: seconds after which it is stopped; the result is then `stopped` and MiB at most until then.

    Raises:
        PeerUnavailableError: it cannot be installed, or checks nothing.
    """
    program = _installed()
    with tempfile.TemporaryDirectory(prefix="bench-checkov-") as folder:
        written = write_files(resources, Path(folder))
        command = [str(program), "-d", folder, "-o", "json", "--compact", "--quiet", "--skip-download"]
        command += ["--framework", "terraform_json", "kubernetes"]
        begun = time.perf_counter()
        with (Path(folder) / "out.json").open("w") as out:
            process = psutil.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
            peak = used = 0.0
            tree: list[psutil.Process] = [process]
            while process.poll() is None:
                with contextlib.suppress(psutil.Error):
                    tree = [*process.children(recursive=True), process]
                    peak = max(peak, sum(one.memory_info().rss for one in tree) / 2**20)
                    used = max(used, sum(sum(one.cpu_times()[:4]) for one in tree))
                if time.perf_counter() - begun > limit:
                    _end(tree)
                    return {"stopped": limit, "processor": round(used, 2), "mib": round(peak, 1), "written": written}
                time.sleep(0.05)
        seconds = time.perf_counter() - begun
        answer = json.loads((Path(folder) / "out.json").read_text() or "[]")
    summaries = [one.get("summary", {}) for one in (answer if isinstance(answer, list) else [answer])]
    checks = sum(one.get("passed", 0) + one.get("failed", 0) for one in summaries)
    if not checks:
        raise PeerUnavailableError("it made no check of any resource")
    return {
        "seconds": round(seconds, 2), "processor": round(used, 2), "mib": round(peak, 1), "checks": checks,
        "written": written,
    }  # fmt: skip


def _end(tree: Sequence[psutil.Process]) -> None:
    """End a process and what it started, and wait until they are gone."""
    for one in tree:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(tree, timeout=10)


def write_files(resources: Sequence[Resource], folder: Path) -> int:
    """Write resources as Terraform (JSON) and Kubernetes (JSON) files; return how many."""
    terraform: dict[str, dict[str, Any]] = {}
    objects = []
    for index, one in enumerate(resources):
        inputs = _plain(one.inputs)
        if one.type.startswith("kubernetes:") and "kind" in inputs:
            objects.append(inputs)
        else:
            kind = "_".join(dict.fromkeys(_snake(part) for part in re.split(r"[:/]", one.type)[:3]))
            terraform.setdefault(_TERRAFORM.get(kind, kind), {})[f"r{index}"] = _snakes(inputs)
    (folder / "main.tf.json").write_text(json.dumps({"resource": terraform}))
    for start in range(0, len(objects), 200):
        (folder / f"objects-{start}.json").write_text(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": objects[start : start + 200]})
        )
    return len(objects) + sum(map(len, terraform.values()))


_TERRAFORM = {
    "aws_rds_instance": "aws_db_instance", "aws_ec2_vpc": "aws_vpc", "aws_ec2_subnet": "aws_subnet",
    "aws_ec2_security_group": "aws_security_group", "aws_ec2_vpc_endpoint": "aws_vpc_endpoint",
    "aws_ec2_launch_template": "aws_launch_template", "aws_cloudwatch_log_group": "aws_cloudwatch_log_group",
    "aws_cloudtrail_trail": "aws_cloudtrail", "aws_ec2_flow_log": "aws_flow_log",
}  # fmt: skip


def _snake(text: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", text).lower()


def _snakes(value: Any) -> Any:
    match value:
        case dict():
            return {_snake(name): _snakes(one) for name, one in value.items()}
        case list():
            return [_snakes(one) for one in value]
    return value


def _plain(value: Any) -> Any:
    match value:
        case Unknown():
            return "${local.unknown}"
        case Secret():
            return "${var.secret}"
        case Mapping():
            return {name: _plain(one) for name, one in value.items() if not name.startswith("__")}
        case str():
            return value
        case Sequence():
            return [_plain(one) for one in value]
    return value


def _installed() -> Path:
    venv = PROJECT / ".mlops/bench-checkov"
    program = venv / "bin/checkov"
    if program.exists():
        return program
    say("installing checkov into an environment of its own")
    lock = str(PROJECT / "benchmarks/peers/checkov.lock")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", lock],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerUnavailableError((done.stderr.strip().splitlines() or ["install failed"])[-1])
    return program


def report(results: Mapping[str, Any]) -> str:
    """Return the table."""
    lines = [
        f"copies of the resources of {results['stack']}, {results['cores']} cores",
        f"{'resources':>9}  {'pack s':>7} {'judging':>8} {'cpu s':>6} {'MiB':>6} {'rules':>5}  "
        f"{'checkov s':>9} {'cpu s':>7} {'MiB':>7} {'checks':>7}",
    ]
    for size, found in results["sizes"].items():
        ours, peer = found["pack"], found.get("checkov", {})
        beside = "not measured"
        if "seconds" in peer:
            beside = f"{peer['seconds']:>9} {peer['processor']:>7} {peer['mib']:>7} {peer['checks']:>7}"
        elif "stopped" in peer:
            beside = f"{'>' + format(peer['stopped'], 'g'):>9} {peer['processor']:>7} {peer['mib']:>7} stopped"
        line = f"{size:>9}  {ours['seconds']:>7} {ours['judging']:>8} {ours['processor']:>6} "
        line += f"{ours['mib']:>6} {ours['rules']:>5}  {beside}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
