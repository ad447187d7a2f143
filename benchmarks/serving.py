"""`mlops bench serving`: single-row V2 requests to the flight model, ours beside its peers, one run, one client.

Every server gets the same ONNX file (the one the platform serves, from its model cache) and the same request, one at a
time on the same machine; ours is measured first and last, so that a drift of the machine shows. Ours is the
running platform, with capture, metrics, authentication and its monitoring on; peers do none of that.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Measurement, Target, closed_loop, json_body, open_loop

PROJECT = Path(__file__).resolve().parents[1]
SCHEDULED_RATE = 28.0  # ten times 10,000 requests an hour
CONCURRENCIES = (1, 8, 64)


@dataclass(frozen=True)
class Subject:
    """The model that is measured: where it is served, its file, one request."""

    endpoint: dict[str, Any]
    tracking: dict[str, Any]
    model_file: Path
    source: str
    request: dict[str, Any]


def main() -> None:
    """Measure and print a table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(prog="mlops bench serving", description=__doc__)
    parser.add_argument("--stack", default="local", help="running stack that serves the model")
    parser.add_argument("--model", default="flight-delay")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement")
    parser.add_argument(
        "--rounds", type=int, default=3, help="measurements of each server and concurrency; medians count"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help=f"which of {', '.join(PEERS)}")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = [name for name in options.peers.split(",") if name and name not in PEERS]
    if unknown:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    subject = find_subject(options.stack, options.model)
    results = {"ours": measure(ours(subject, options.model), options.seconds, options.rounds)}
    for name in filter(None, options.peers.split(",")):
        say(f"starting {name}")
        try:
            with PEERS[name](subject) as target:
                results[name] = measure(target, options.seconds, options.rounds)
        except PeerUnavailableError as error:
            say(f"{name}: not measured: {error}")
            results[name] = {"not measured": str(error)}
    results["ours (again)"] = measure(ours(subject, options.model), options.seconds, options.rounds)
    if options.json:
        print(json.dumps({"model": options.model, "cores": os.cpu_count(), "results": results}, indent=2))
    else:
        print(report(results))


class PeerUnavailableError(Exception):
    """A peer cannot be started here; the message says why."""


def find_subject(stack: str, model: str) -> Subject:
    """Find the served model's file in the stack's model cache and make one request from its captured example."""
    status = json.loads(_command(["./mlops", "status", stack, "--json"]))
    outputs = json.loads(_command(["./mlops", "pulumi", "stack", "output", "--json", "--show-secrets", "-s", stack]))
    served = status["models"][model]["served"]
    digest = served["digest"].removeprefix("sha256:")
    files = sorted((PROJECT / ".mlops/stacks" / stack / "data").glob(f"**/*{digest}*/**/model.onnx"))
    if not files:
        raise SystemExit(f"the served digest {digest[:12]} of {model} is not in the model cache of stack {stack}")
    example = json.loads((PROJECT / "training/examples" / model.replace("-", "_") / "example.json").read_text("utf-8"))
    signature = json.loads((files[0].parent / "signature.json").read_text("utf-8"))
    request = {
        "inputs": [
            {"name": t["name"], "datatype": t["datatype"], "shape": [1], "data": [example[t["name"]]]}
            for t in signature["inputs"]
        ]
    }
    endpoints = outputs["endpoints"]
    source = f"models:/{model}/{served['version']}"
    return Subject(endpoints["inference"], endpoints["tracking"], files[0], source, request)


def ours(subject: Subject, model: str) -> Target:
    """The platform's own endpoint."""
    host, port = subject.endpoint["url"].removeprefix("http://").split("/")[0].split(":")
    headers = {"Authorization": f"Bearer {subject.endpoint['token']}"} if subject.endpoint.get("token") else {}
    return Target(host, int(port), f"/v2/models/{model}/infer", json_body(subject.request), headers)


def measure(target: Target, seconds: float, rounds: int) -> dict[str, Any]:
    """Measure one server: closed loop at each concurrency, then the scheduled rate; medians over rounds."""
    warm = closed_loop(target, concurrency=8, seconds=3)
    if warm.failed or not warm.latencies:
        raise SystemExit(f"{target.path} on port {target.port}: {warm.failed} failed, {len(warm.latencies)} answered")
    figures: dict[str, Any] = {}
    for concurrency in CONCURRENCIES:
        runs = [closed_loop(target, concurrency=concurrency, seconds=seconds) for _ in range(rounds)]
        figures[f"c{concurrency}"] = _median(runs)
        say(f"  {concurrency:>2} connections: {figures[f'c{concurrency}']}")
    figures["rate28"] = _median([open_loop(target, per_second=SCHEDULED_RATE, seconds=seconds) for _ in range(rounds)])
    say(f"  28 requests/s: {figures['rate28']}")
    return figures


def _median(runs: list[Measurement]) -> dict[str, float]:
    summaries = [run.summary() for run in runs]
    return {key: round(statistics.median(summary[key] for summary in summaries), 3) for key in summaries[0]}


def report(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table with ratios of ours over each peer at 64 connections."""
    own = statistics.mean(results[name]["c64"]["requests_per_second"] for name in ("ours", "ours (again)"))
    head = (
        "| server | c1 req/s | c1 p99 ms | c8 req/s | c64 req/s | c64 p50 ms | c64 p99 ms | 28/s p99 ms | ours ÷ it |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, figures in results.items():
        if "c64" not in figures:
            lines.append(f"| {name} | not measured: {figures['not measured']} |" + " |" * 7)
            continue
        c1, c8, c64, rate = figures["c1"], figures["c8"], figures["c64"], figures["rate28"]
        ratio = own / c64["requests_per_second"]
        cells = [c1["requests_per_second"], c1["p99_ms"], c8["requests_per_second"], c64["requests_per_second"]]
        cells += [c64["p50_ms"], c64["p99_ms"], rate["p99_ms"], f"{ratio:.2f}"]
        lines.append(f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


@contextlib.contextmanager
def fastapi(subject: Subject) -> Iterator[Target]:
    """FastAPI + uvicorn (uvloop, httptools) + ONNX Runtime, one worker."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.peers.fastapi_onnx:create_app"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    with running(command, {"BENCH_MODEL": str(subject.model_file)}):
        yield Target("127.0.0.1", port, "/v2/models/peer/infer", await_port(port, json_body(subject.request)))


def _ray(subject: Subject, environment: dict[str, str]) -> Any:
    @contextlib.contextmanager
    def peer() -> Iterator[Target]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.ray_fastapi", str(subject.model_file), str(port)]
        # A short folder of its own: the defaults lie in a shared one, where another cluster's files are.
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            haproxy = {
                "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
                "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
                "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/state",
                "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
                "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
                "RAY_TMPDIR": folder,
            }
            with running(command, {**haproxy, **environment}, ready="ready"):
                body = await_port(port, json_body(subject.request), seconds=60)
                yield Target("127.0.0.1", port, "/v2/models/peer/infer", body)

    return peer()


def ray_haproxy(subject: Subject) -> Any:
    """Ray Serve behind HAProxy with a FastAPI ingress, other settings at their defaults."""
    return _ray(subject, {"RAY_SERVE_ENABLE_HA_PROXY": "1"})


def ray_haproxy_tuned(subject: Subject) -> Any:
    """The same with Ray Serve's throughput settings."""
    return _ray(subject, {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"})


@contextlib.contextmanager
def mlflow_serve(subject: Subject) -> Iterator[Target]:
    """`mlflow models serve` on the same version; it takes MLflow's own payload, which holds the same row."""
    port = free_port()
    row = {tensor["name"]: tensor["data"][0] for tensor in subject.request["inputs"]}
    body = json_body({"dataframe_split": {"columns": list(row), "data": [list(row.values())]}})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        credentials = {
            "MLFLOW_TRACKING_URI": subject.tracking["url"],
            "MLFLOW_TRACKING_USERNAME": subject.tracking["username"],
            "MLFLOW_TRACKING_PASSWORD": subject.tracking["token"],
        }
        download = [sys.executable, "-m", "mlflow", "artifacts", "download", "-u", subject.source, "-d", folder]
        _command(download, credentials)
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "--env-manager", "local"]
        with running([*command, "-h", "127.0.0.1", "-p", str(port), "-w", "1"], {}):
            yield Target("127.0.0.1", port, "/invocations", await_port(port, body, seconds=90))


@contextlib.contextmanager
def mlserver(subject: Subject) -> Iterator[Target]:
    """MLServer with a runtime around ONNX Runtime, in an environment of its own."""
    venv = PROJECT / ".mlops/bench-mlserver"
    if not (venv / "bin/mlserver").exists():
        say("installing MLServer into an environment of its own")
        lock = str(PROJECT / "benchmarks/peers/mlserver.lock")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", lock],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise PeerUnavailableError(
                    done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "install failed"
                )
    port, grpc, metrics = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": grpc,
            "metrics_port": metrics,
            "parallel_workers": 0,
        }
        model = {
            "name": "peer",
            "implementation": "mlserver_onnx.OnnxRuntime",
            "parameters": {"uri": str(subject.model_file)},
        }
        Path(folder, "settings.json").write_text(json.dumps({**settings, "debug": False, "access_log": False}), "utf-8")
        Path(folder, "model-settings.json").write_text(json.dumps(model), "utf-8")
        with running([str(venv / "bin/mlserver"), "start", folder], {"PYTHONPATH": str(PROJECT / "benchmarks/peers")}):
            yield Target(
                "127.0.0.1", port, "/v2/models/peer/infer", await_port(port, json_body(subject.request), seconds=60)
            )


PEERS: dict[str, Any] = {
    "fastapi": fastapi,
    "ray-haproxy": ray_haproxy,
    "ray-haproxy-tuned": ray_haproxy_tuned,
    "mlserver": mlserver,
    "mlflow": mlflow_serve,
}


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], ready: str = "") -> Iterator[None]:
    """Run a server in a session of its own while the block lasts; all of it is stopped afterwards."""
    # Some of them start programs of the environment by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if ready else log,
            stderr=log,
            start_new_session=True,
            text=True,
        )
        try:
            if ready and process.stdout is not None:
                for line in process.stdout:
                    if line.strip() == ready:
                        break
                else:
                    log.seek(0)
                    raise PeerUnavailableError("".join(log.readlines()[-5:]).strip() or "it ended before it was ready")
            yield
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """End a server and everything that it started."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20 if process.stdout is not None else 0.1)
    for number in (15, 9):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    if process.stdout is not None:
        process.stdout.close()


def await_port(port: int, body: bytes, *, seconds: float = 30) -> bytes:
    """Wait until something listens on the port; returns `body`, so that a target is only made for a live server."""
    stop_at = time.monotonic() + seconds
    while time.monotonic() < stop_at:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            time.sleep(2)  # a listening server may still be loading its model; the warm-up checks its answers
            return body
        time.sleep(0.2)
    raise PeerUnavailableError(f"nothing listens on its port after {seconds:.0f} s")


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def say(message: str) -> None:
    """Progress, on standard error."""
    print(message, file=sys.stderr, flush=True)


def _command(command: list[str], environment: dict[str, str] | None = None) -> str:
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    main()
