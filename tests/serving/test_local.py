"""Serving as it really runs: Ray, Ray Serve, HAProxy, control and actuator, called over HTTP by a public client."""

import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http as triton

from infra.rehearsal.kubernetes.servers import held_ports
from serving import haproxy
from serving.runtime.artifact import content_digest, file_hashes

pytestmark = pytest.mark.local

PROJECT = Path(__file__).parents[2]
MARK = "MLOPS_TEST_MARK"
TOKEN = "call-me-with-this"
ROW = {"distance": 600.0, "hour": 9, "carrier": "UA"}


def free_range() -> int:
    """The first of 160 ports for replicas and workers that nobody has now.

    Above those of the stacks that other tests bring up meanwhile (see `tests.local.checkout.free_offset`), below the
    kernel's range for outgoing connections.
    """
    for block in range(11):
        first = 30_400 + (os.getpid() + block) % 11 * 200
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + 161):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no range leaves all ports free")


def reachable(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


class Platform:
    """Everything between a caller and a model, in its own folder and on its own ports."""

    def __init__(self, folder: Path, artifact: Path) -> None:
        self.folder, self.artifact = folder, artifact
        self.mark = secrets.token_hex(8)
        self.token = secrets.token_hex(16)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        names = ["gcs", "http", "control", "dashboard", "stats", "metrics", "fallback", "nodes", "objects", "agent"]
        names += ["agent_grpc", "runtime_env", "ray_metrics", "client", "dashboard_metrics"]
        self.held = ExitStack()
        self.ports = dict(zip(names, self.held.enter_context(held_ports(len(names))), strict=True))
        self.range = free_range()
        self.url = f"http://127.0.0.1:{self.ports['http']}"
        self.control = httpx.Client(
            base_url=f"http://127.0.0.1:{self.ports['control']}",
            headers={"authorization": f"Bearer {'a' * 16}"},
            timeout=60,
        )
        self.client = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
        self.stranger = httpx.Client(timeout=60)
        """Who knows no token."""

    def environment(self) -> dict[str, str]:
        """As the docstring of serving/actuator.py asks."""
        hap = self.folder / "hap"
        port = {name: str(number) for name, number in self.ports.items()}
        return os.environ | {
            MARK: self.mark,
            "PYTHONPATH": str(PROJECT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
            "DASHBOARD_METRIC_PORT": port["dashboard_metrics"],
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(haproxy.__file__)),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(hap / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(hap / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(hap),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(hap / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(hap / "metrics.sock"),
            "RAY_SERVE_HAPROXY_STATS_PORT": port["stats"],
            "RAY_SERVE_HAPROXY_METRICS_PORT": port["metrics"],
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": port["fallback"],
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(self.range),
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(self.range + 50),
            "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
            "RAY_SERVE_HAPROXY_NBTHREAD": "1",
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.fastpath:middlewares",
            "RAY_SERVE_LOG_TO_STDERR": "0",
        }

    def start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            command, env=self.environment(), cwd=PROJECT, stdout=log, stderr=log, start_new_session=True
        )

    def start_control(self) -> None:
        self.start("control", sys.executable, "-m", "serving.control", "--config", str(self.folder / "control.json"))
        eventually(lambda: self.control.get("/v1/health").status_code == 200)

    def start_actuator(self) -> None:
        self.start("actuator", sys.executable, "-m", "serving.actuator", "--config", str(self.folder / "serving.json"))

    def up(self) -> None:
        (self.folder / "hap").mkdir(mode=0o700)
        key, control = "k" * 16, {"url": str(self.control.base_url), "token": "r" * 16}
        shared = {
            "database": f"sqlite:///{self.folder}/control.db",
            "port": self.ports["control"],
            "adminToken": "a" * 16,
            "replicaToken": "r" * 16,
            "rolloutTimeoutSeconds": 300,
        }
        snapshot = {"snapshot": str(self.folder / "snapshot.json"), "snapshotKey": key}
        (self.folder / "control.json").write_text(json.dumps(shared | snapshot))
        serving = {
            "ray": {"address": f"127.0.0.1:{self.ports['gcs']}", "token": self.token},
            "http": {"port": self.ports["http"]},
            "control": control,
            "registry": {"url": "http://127.0.0.1:9"},
            "inferenceToken": TOKEN,
            "trust": {"signature": "optional"},
            "modelCache": str(self.folder / "models"),
            "groups": [{"name": "shared", "route": "/v2"}, {"name": "own", "route": "/v2/models/own"}],
            "capture": {"directory": str(self.folder / "captures"), "rotateSeconds": 1},
            "limits": {"maxBodyBytes": 100_000},
        }
        (self.folder / "serving.json").write_text(json.dumps(serving | snapshot))
        port = self.ports
        ray = Path(sys.executable).with_name("ray")
        self.start(
            "ray", str(ray), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port['gcs']}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={port['dashboard']}",
            f"--dashboard-agent-listen-port={port['agent']}", f"--dashboard-agent-grpc-port={port['agent_grpc']}",
            f"--runtime-env-agent-port={port['runtime_env']}", f"--metrics-export-port={port['ray_metrics']}",
            f"--node-manager-port={port['nodes']}", f"--object-manager-port={port['objects']}",
            f"--ray-client-server-port={port['client']}", f"--min-worker-port={self.range + 60}",
            f"--max-worker-port={self.range + 160}", "--num-cpus=8", "--object-store-memory=100000000",
            f"--temp-dir={self.folder}/ray", "--disable-usage-stats", "--include-log-monitor=false", "--no-monitor",
        )  # fmt: skip
        self.start_control()
        eventually(lambda: reachable(port["gcs"]), 300)
        self.start_actuator()
        eventually(lambda: self.stranger.get(f"{self.url}/v2/health/ready").status_code == 200, 300)

    def release(self, version: str, name: str = "small", group: str = "shared") -> dict[str, Any]:
        artifact = self.artifact
        if version != "1":  # another version has other content: the same content is no release
            artifact = self.folder / f"artifact-{version}"
            shutil.copytree(self.artifact, artifact, dirs_exist_ok=True)
            (artifact / "requirements.txt").write_text(f"# {version}\n", encoding="utf-8")
        files = file_hashes(artifact)
        body = {"version": version, "digest": content_digest(files), "source": f"file:{artifact}", "files": files}
        answer = self.control.put(f"/v1/models/{name}/release", json=body | {"group": group})
        assert answer.status_code == 202, answer.text

        def rollout() -> dict[str, Any]:
            return dict(self.control.get(f"/v1/models/{name}").json()["rollout"])

        under_way = {"starting", "smoke", "step", "paused", "baking"}
        eventually(lambda: rollout()["state"] not in under_way, 330)
        return rollout()

    def members(self) -> list[psutil.Process]:
        """All processes of this platform, by the mark in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def listeners(self) -> dict[tuple[str, int], str]:
        """Where processes of this platform listen, and what each calls itself: it may have ended since."""
        found = {}
        for process in self.members():
            try:
                title = " ".join(process.cmdline())
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        found[str(connection.laddr.ip), int(connection.laddr.port)] = title
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def replica(self) -> psutil.Process:
        """The replica of the shared group."""
        for process in self.members():
            try:
                if "ServeReplica:shared" in " ".join(process.cmdline()):
                    return process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        raise LookupError("no replica")

    def down(self) -> None:
        for name in ("actuator", "ray", "control"):
            if name in self.processes:
                self.processes[name].terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for member in self.members():
            member.kill()
        for client in (self.control, self.client, self.stranger):
            client.close()
        self.held.close()


def eventually(check: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except (OSError, httpx.HTTPError, LookupError, psutil.Error):
            pass
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def platform(artifact: Path) -> Iterator[Platform]:
    # Not pytest's folder: the paths of Ray's sockets must stay short.
    folder = Path(tempfile.mkdtemp(prefix="srv", dir="/tmp"))
    platform = Platform(folder, artifact)
    try:
        platform.up()
        rollout = platform.release("1")
        assert rollout["state"] == "promoted", rollout
        yield platform
    except BaseException:
        for log in folder.glob("*.log"):
            print(log.name, log.read_text()[-3000:])
        raise
    finally:
        platform.down()
        shutil.rmtree(folder, ignore_errors=True)


def triton_inputs(*, binary: bool) -> list[Any]:
    inputs = []
    for name, datatype, values in (
        ("distance", "FP32", np.array([600, 100], np.float32)),
        ("hour", "INT64", np.array([9, 10], np.int64)),
        ("carrier", "BYTES", np.array(["UA", "AÄ"], object)),
    ):
        one = triton.InferInput(name, [2], datatype)
        one.set_data_from_numpy(values, binary_data=binary)
        inputs.append(one)
    return inputs


@pytest.mark.parametrize("binary", [False, True])
def test_public_client_works_with_json_and_binary_data(platform: Platform, binary: bool) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with triton.InferenceServerClient(platform.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("small", headers=headers)
        assert client.is_model_ready("small", "1", headers=headers)
        assert not client.is_model_ready("other", headers=headers)
        metadata = client.get_model_metadata("small", headers=headers)
        assert [one["name"] for one in metadata["inputs"]] == ["distance", "hour", "carrier"]
        assert client.get_server_metadata(headers=headers)["name"] == "mlops-blueprint"
        assert client.get_model_repository_index(headers=headers)[0]["name"] == "small"
        for outputs in (None, [triton.InferRequestedOutput("probability", binary_data=binary)]):
            answer = client.infer(
                "small", triton_inputs(binary=binary), outputs=outputs, request_id="r-1", headers=headers
            )
            assert answer.as_numpy("probability").tolist() == pytest.approx([0.85, 0.1])
            assert answer.get_response()["id"] == "r-1"
        with pytest.raises(triton.InferenceServerException, match="missing inputs: carrier"):
            client.infer("small", triton_inputs(binary=binary)[:2], headers=headers)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b'{"dataframe_records": [{"distance": NaN, "hour": 9, "carrier": "UA"}]}', 400),
        (b'{"dataframe_records": [{"distance": "x", "hour": 9, "carrier": "UA"}]}', 400),
        (b'{"dataframe_records": [{"hour": 9, "carrier": "UA"}]}', 400),
        (b" " * 200_000, 413),
        (b" " * 20_000_000, 413),
    ],
)
def test_bad_input_is_refused_and_the_replica_lives(platform: Platform, content: bytes, status: int) -> None:
    before = platform.replica().pid
    answer = platform.client.post("/v2/models/small/invocations", content=content)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    good = platform.client.post("/v2/models/small/invocations", json={"dataframe_records": [ROW]})
    assert good.json()["predictions"][0]["probability"] == pytest.approx(0.85)
    assert platform.replica().pid == before


def test_request_id_is_returned_once_and_sane(platform: Platform) -> None:
    def ids(given: str) -> list[str]:
        answer = platform.client.post(
            "/v2/models/small/invocations", json={"dataframe_records": [ROW]}, headers={"x-request-id": given}
        )
        return answer.headers.get_list("x-request-id")

    assert ids("order-1") == ["order-1"]
    assert len(ids("<script>")) == 1
    assert ids("<script>") != ["<script>"]


def test_paths_beside_the_protocol_are_refused_in_its_form(platform: Platform) -> None:
    answer = platform.client.get("/other")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_model_of_its_own_group_is_served_beside_the_shared_one(platform: Platform) -> None:
    assert platform.release("1", name="own", group="own")["state"] == "promoted"

    def answered() -> bool:
        # Its replica tells control itself that it serves; HAProxy hears of the replica from Ray Serve, maybe later.
        answer = platform.client.post("/v2/models/own/invocations", json={"dataframe_records": [ROW]})
        return answer.status_code == 200

    eventually(answered)
    assert platform.client.get("/v2/models").json() == {"models": ["small"]}


def test_every_listener_is_on_loopback_or_refuses_callers_without_the_token(platform: Platform) -> None:
    names = ("http", "control", "stats", "metrics", "fallback", "gcs", "dashboard")
    expected = {platform.ports[name] for name in names}
    listeners: dict[tuple[str, int], str] = {}

    def found() -> bool:
        # More than one look: a HAProxy that reloads hands its sockets to a process which the list may not have yet.
        listeners.clear()
        listeners.update(platform.listeners())
        return expected <= {port for _, port in listeners}

    eventually(found)
    open_to_all = {port: title for (host, port), title in listeners.items() if not on_loopback(host)}
    assert open_to_all, "Ray binds the replicas' gRPC ports to all interfaces"
    for port, title in open_to_all.items():
        where = f"port {port} of {title[:80]}"
        assert refuses_strangers(port), f"{where} listens on all interfaces and answers without a token"
    get = platform.stranger.get
    assert get(f"{platform.url}/v2/models/small").status_code == 401
    assert get(f"http://127.0.0.1:{platform.ports['dashboard']}/api/jobs/").status_code == 401
    for (_, port), title in listeners.items():
        if "ServeReplica" in title and port < platform.range + 50:
            assert get(f"http://127.0.0.1:{port}/v2/models/small").status_code == 401


def on_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def refuses_strangers(port: int) -> bool:
    """Call the port on which replicas call each other, without a token."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        try:
            call(b"", timeout=60)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def test_sockets_and_settings_are_for_their_owner_only(platform: Platform) -> None:
    def for_others() -> list[Path]:
        paths = (platform.folder / "hap").rglob("*")
        return [
            path for path in paths if (path.name == "haproxy.cfg" or path.is_socket()) and path.stat().st_mode & 0o077
        ]

    # While HAProxy reloads, Ray's own file is there until it is rewritten, and a socket until it is closed to others.
    eventually(lambda: not for_others())
    assert (platform.folder / "hap").stat().st_mode & 0o077 == 0


def test_new_version_and_restarted_actuator_leave_replicas_alone(platform: Platform) -> None:
    before = platform.replica().pid
    answers: list[int] = []
    stop = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=platform.url, headers=platform.client.headers, timeout=60) as client:
            while not stop.is_set():
                answers.append(
                    client.post("/v2/models/small/invocations", json={"dataframe_records": [ROW]}).status_code
                )

    caller = threading.Thread(target=call)
    caller.start()
    try:
        assert platform.release("2")["state"] == "promoted"
        platform.processes["actuator"].send_signal(signal.SIGKILL)
        platform.processes["actuator"].wait()
        size = (platform.folder / "actuator.log").stat().st_size
        platform.start_actuator()
        eventually(lambda: b"deployed at" in (platform.folder / "actuator.log").read_bytes()[size:], 240)
        time.sleep(5)  # time in which Ray Serve would replace the replicas
    finally:
        stop.set()
        caller.join()
    assert set(answers) == {200}
    assert platform.replica().pid == before
    assert platform.client.get("/v2/models/small").json()["parameters"]["version"] == "2"


def test_predictions_are_counted_and_captured(platform: Platform) -> None:
    def counted() -> float:
        text = platform.stranger.get(f"{platform.control.base_url}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith('mlops_predictions_total{model="own"')]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'outcome="ok"' in line)

    eventually(lambda: counted() > 0)  # of what was asked in an earlier test all is reported
    before = counted()
    for _ in range(5):
        platform.client.post("/v2/models/own/invocations", json={"dataframe_records": [ROW]})
    eventually(lambda: counted() >= before + 5)
    assert counted() == before + 5
    eventually(lambda: list((platform.folder / "captures" / "own").rglob("*.parquet")))


def test_killed_replica_loses_no_request_even_with_control_down(platform: Platform, artifact: Path) -> None:
    platform.processes["control"].kill()
    platform.processes["control"].wait()
    before = platform.replica()
    assert platform.client.get("/v2/models/small").status_code == 200
    before.kill()
    answers = [platform.client.post("/v2/models/small/invocations", json={"dataframe_records": [ROW]})]
    eventually(lambda: platform.replica().pid != before.pid)
    for _ in range(20):
        answers.append(platform.client.post("/v2/models/small/invocations", json={"dataframe_records": [ROW]}))
        time.sleep(0.1)
    assert {answer.status_code for answer in answers} == {200}
    assert platform.client.get("/v2/models/small").json()["parameters"]["version"] == "2"
    platform.start_control()
    assert platform.release("3")["state"] == "promoted"
