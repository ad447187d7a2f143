"""The platform as people meet it: the commands of the README and real requests over HTTP."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq
import pytest
import tritonclient.http as triton

from tests.local.checkout import Platform

pytestmark = pytest.mark.local

MODELS = {
    "flight-delay": "training/examples/flight_delay/example.json",
    "mortgage-approval": "training/examples/mortgage_approval/example.json",
    "tumour-kind": "training/examples/third_model/example.json",
}


def example(platform: Platform, model: str) -> dict[str, Any]:
    record = json.loads((platform.checkout.root / MODELS[model]).read_text("utf-8"))
    assert isinstance(record, dict)
    return record


def v2_request(platform: Platform, model: str) -> dict[str, Any]:
    record = example(platform, model)
    with platform.http("inference") as http:
        metadata = http.get(f"/v2/models/{model}").raise_for_status().json()
    inputs = [
        {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [1], "data": [record[tensor["name"]]]}
        for tensor in metadata["inputs"]
        if tensor["name"] in record
    ]
    return {"inputs": inputs}


def until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    stop_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop_at, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def served(platform: Platform) -> dict[str, Any]:
    status = platform.checkout.json("status", platform.checkout.stack, "--json")
    return {name: model["served"] for name, model in status["models"].items()}


@pytest.mark.parametrize("model", MODELS)
def test_predict_answers_for_each_model(platform: Platform, model: str) -> None:
    file = platform.checkout.root / MODELS[model]
    answer = platform.checkout.json("predict", model, "--json", f"@{file}", "--stack", platform.checkout.stack)
    assert answer["model_name"] == model
    outputs = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert outputs["label"]["datatype"] == "INT64"
    assert outputs["label"]["shape"] == [1]


def test_a_wrong_field_is_refused_with_the_models_fields(platform: Platform) -> None:
    done = platform.checkout.run(
        "predict", "mortgage-approval", "--json", '{"nonsense": 1}', "--stack", platform.checkout.stack, check=False
    )
    assert done.returncode == 1
    assert "unknown field 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_public_v2_client_reads_metadata_and_predicts(platform: Platform) -> None:
    endpoint = platform.endpoints["inference"]
    headers = {"authorization": f"Bearer {endpoint['token']}"}
    client = triton.InferenceServerClient(endpoint["url"].removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("mortgage-approval", headers=headers)
        metadata = client.get_model_metadata("mortgage-approval", headers=headers)
        assert [tensor["name"] for tensor in metadata["outputs"]] == ["label", "probability"]
        import numpy as np

        record = example(platform, "mortgage-approval")
        tensors = []
        for tensor in metadata["inputs"]:
            kind = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": object}[tensor["datatype"]]
            item = triton.InferInput(tensor["name"], [1], tensor["datatype"])
            item.set_data_from_numpy(np.array([record[tensor["name"]]], dtype=kind), binary_data=False)
            tensors.append(item)
        outputs = [triton.InferRequestedOutput("probability", binary_data=False)]
        answer = client.infer("mortgage-approval", tensors, outputs=outputs, headers=headers)
        probability = float(answer.as_numpy("probability")[0])
    finally:
        client.close()
    assert 0.0 <= probability <= 1.0


def test_v2_and_mlflow_payloads_agree(platform: Platform) -> None:
    record = example(platform, "mortgage-approval")
    with platform.http("inference") as http:
        v2 = http.post("/v2/models/mortgage-approval/infer", json=v2_request(platform, "mortgage-approval"))
        payload = {"dataframe_split": {"columns": list(record), "data": [list(record.values())]}}
        invoked = http.post("/v2/models/mortgage-approval/invocations", json=payload)
    v2.raise_for_status()
    invoked.raise_for_status()
    (prediction,) = invoked.json()["predictions"]
    probability = next(tensor for tensor in v2.json()["outputs"] if tensor["name"] == "probability")["data"][0]
    assert prediction["probability"] == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"{}", 400),
        (b'{"inputs": [{"name": "nonsense", "datatype": "FP32", "shape": [1], "data": [1]}]}', 400),
        (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"inputs": "' + b"x" * 5_000_000 + b'"}', 413),
    ],
    ids=["not-json", "empty", "unknown-name", "deep", "huge"],
)
def test_a_bad_request_gets_a_protocol_error_and_harms_nothing(platform: Platform, body: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    with platform.http("inference") as http:
        answer = http.post("/v2/models/flight-delay/infer", content=body, headers=headers)
        assert answer.status_code == status
        assert isinstance(answer.json()["error"], str)
        assert "Traceback" not in answer.text
        assert http.post("/v2/models/flight-delay/infer", json=v2_request(platform, "flight-delay")).status_code == 200


def test_requests_without_the_token_are_refused(platform: Platform) -> None:
    with platform.http("inference", authenticated=False) as http:
        assert http.get("/v2/health/ready").status_code == 200
        assert http.get("/v2/models/flight-delay").status_code == 401
        assert http.post("/v2/models/flight-delay/infer", json={}).status_code == 401
    with platform.http("tracking", authenticated=False) as http:
        assert http.get("/api/2.0/mlflow/experiments/search?max_results=1").status_code == 401
    with platform.http("control", authenticated=False) as http:
        assert http.get("/v1/models/flight-delay").status_code == 401
    with platform.http("metrics", authenticated=False) as http:
        assert http.get("/api/v1/query?query=up").status_code == 401


def test_online_features_are_looked_up_by_entity_key(platform: Platform) -> None:
    root = platform.checkout.root
    rules = next((platform.checkout.home / "data").glob("inference/**/serving.json"), None)
    assert rules is not None
    lookups = [
        json.loads(path.read_text("utf-8")).get("features")
        for path in (platform.checkout.home / "data").glob("inference/**/serving.json")
    ]
    lookup = next(entry for entry in lookups if entry)
    record = json.loads((root / MODELS["flight-delay"]).read_text("utf-8"))
    fetched = set(lookup["features"]) & set(record)
    assert fetched, "the example states none of the features that can be looked up"
    request = v2_request(platform, "flight-delay")
    request["inputs"] = [tensor for tensor in request["inputs"] if tensor["name"] not in fetched]
    present = {tensor["name"] for tensor in request["inputs"]}
    keys = {**record, "route": "EWR-IAH"}
    request["inputs"] += [
        {"name": name, "datatype": datatype, "shape": [1], "data": [keys[name]]}
        for name, datatype in lookup["entities"].items()
        if name not in present
    ]
    with platform.http("inference") as http:
        answer = http.post("/v2/models/flight-delay/infer", json=request)
    assert answer.status_code == 200, answer.text


def test_predictions_are_counted_per_model_and_version(platform: Platform) -> None:
    query = 'sum(mlops_predictions_total{model="mortgage-approval"})'

    def total() -> float:
        with platform.http("metrics") as http:
            result = http.get("/api/v1/query", params={"query": query}).raise_for_status().json()["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    before, request = total(), v2_request(platform, "mortgage-approval")
    with platform.http("inference") as http:
        for _ in range(20):
            http.post("/v2/models/mortgage-approval/infer", json=request).raise_for_status()
    until(lambda: total() >= before + 20, "Prometheus sees 20 more predictions")


def test_every_scrape_target_is_up(platform: Platform) -> None:
    def health() -> set[str]:
        with platform.http("metrics") as http:
            targets = http.get("/api/v1/targets").raise_for_status().json()["data"]["activeTargets"]
        return {target["health"] for target in targets}  # of a Prometheus that has just started there are none yet

    until(lambda: health() == {"up"}, "every scrape target is up")


def test_captures_hold_the_request_id_and_no_sensitive_field(platform: Platform) -> None:
    request = v2_request(platform, "mortgage-approval")
    with platform.http("inference") as http:
        answer = http.post(
            "/v2/models/mortgage-approval/infer", json=request, headers={"x-request-id": "e2e-capture-1"}
        )
    answer.raise_for_status()
    assert answer.headers["x-request-id"] == "e2e-capture-1"
    folder = platform.checkout.home / "data" / "captures"
    rules = json.loads(
        next(
            path
            for path in (platform.checkout.home / "data").glob("inference/**/serving.json")
            if "capture" in path.read_text("utf-8") and "deny_race" not in path.name
        ).read_text("utf-8")
    )
    assert rules

    def row() -> dict[str, Any] | None:
        for file in folder.rglob("*.parquet"):
            if "mortgage-approval" not in str(file):
                continue
            for record in pq.read_table(file).to_pylist():
                if "e2e-capture-1" in map(str, record.values()):
                    return dict(record)
        return None

    until(lambda: row() is not None, "the prediction is captured")
    captured = row()
    assert captured is not None
    assert "afam" not in captured


def test_a_model_trained_outside_of_up_is_registered_and_not_served(platform: Platform) -> None:
    before, stack = served(platform), platform.checkout.stack
    result = platform.checkout.json("train", "tumour-kind", "--stack", stack, "--param", "c=0.01", "--json")
    assert result["passed"] is True
    assert result["version"] != before["tumour-kind"]["version"]
    assert result["digest"] != before["tumour-kind"]["digest"]
    assert served(platform) == before


def test_another_preview_shows_no_change_and_another_up_does_nothing(platform: Platform) -> None:
    before = served(platform)
    preview = platform.checkout.run("pulumi", "preview", "-s", platform.checkout.stack, "--expect-no-changes")
    assert "unchanged" in preview.stdout
    platform.checkout.run("pulumi", "up", "-s", platform.checkout.stack, "--yes", "--expect-no-changes")
    assert served(platform) == before


def pid_of(platform: Platform, name: str) -> int | None:
    status = platform.checkout.run("status", platform.checkout.stack, "--json", check=False)
    pid = json.loads(status.stdout)["processes"][name]["pid"]
    return int(pid) if pid else None


@pytest.mark.parametrize("name", ["registry", "control", "feature-store", "prometheus"])
def test_predictions_go_on_when_a_process_beside_them_is_killed_and_it_comes_back(
    platform: Platform, name: str
) -> None:
    request = v2_request(platform, "mortgage-approval")
    victim = pid_of(platform, name)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    with platform.http("inference") as http:
        for _ in range(50):
            assert http.post("/v2/models/mortgage-approval/infer", json=request).status_code == 200
    until(lambda: pid_of(platform, name) not in (victim, None), f"{name} comes back")
    url = platform.endpoints[
        {"registry": "tracking", "feature-store": "featureStore", "prometheus": "metrics"}.get(name, name)
    ]

    def answers() -> bool:
        try:
            return httpx.get(url["url"], timeout=10).status_code < 500
        except httpx.HTTPError:
            return False

    until(answers, f"{name} answers again")


def test_a_killed_replica_comes_back_and_other_groups_do_not_notice(platform: Platform) -> None:
    flights, mortgage = v2_request(platform, "flight-delay"), v2_request(platform, "mortgage-approval")
    commands = platform.checkout.commands()
    victim = next(process for process in commands if "ServeReplica:mortgage" in commands[process])
    victim.kill()
    with platform.http("inference") as http:
        for _ in range(50):
            assert http.post("/v2/models/flight-delay/infer", json=flights).status_code == 200

        def answers() -> bool:
            try:
                return http.post("/v2/models/mortgage-approval/infer", json=mortgage).status_code == 200
            except httpx.TransportError:  # nobody is there yet who could answer
                return False

        until(answers, "the killed group answers again")


def test_no_socket_listens_beyond_loopback_without_asking_for_the_token(platform: Platform) -> None:
    listening = platform.checkout.listening()
    assert listening
    loopback = ("127.", "::ffff:127.", "::1")
    open_to_all = [entry for entry in listening if not entry[0].startswith(loopback)]
    for _, port, pid in open_to_all:
        try:
            name = " ".join(psutil.Process(pid).cmdline())[:120]
        except psutil.NoSuchProcess:
            continue
        right = _answers_as_grpc(port) and _grpc_refuses(port)
        gone = not any(entry[1:] == (port, pid) for entry in platform.checkout.listening())
        assert right or gone, f"port {port} of {name} listens on every interface and is no Ray gRPC port that refuses"


def _answers_as_grpc(port: int) -> bool:
    """An HTTP/2 server answers the connection preface with a SETTINGS frame (type 4)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
            answer = client.recv(9, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 9 and answer[3] == 4


def _grpc_refuses(port: int) -> bool:
    import grpc

    # The only service that Ray binds to every interface: calls between Serve replicas.
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        try:
            call(b"", timeout=30)
        except grpc.RpcError as error:
            code = error.code()
            return code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        return False


def test_every_process_carries_the_mark_by_which_it_is_found_and_ended(platform: Platform) -> None:
    supervisor = psutil.Process(int((platform.checkout.home / "run" / "supervisord.pid").read_text()))

    def unmarked() -> set[psutil.Process]:
        found = set()
        for process in supervisor.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # jobs and replicas come and go
                if "MLOPS_PROCESS" not in process.environ():
                    found.add(process)
        return found

    # One that is about to become another program, or has just ended, shows no environment for a moment.
    suspects = unmarked()
    until(lambda: not suspects & unmarked(), f"none of {suspects} lives without the mark", seconds=30)


def test_secrets_are_not_in_state_logs_or_arguments(platform: Platform) -> None:
    secrets = {str(e["token"]) for e in platform.endpoints.values() if e.get("token")}
    assert len(secrets) >= 3
    folder = platform.checkout.root / ".mlops"
    files = [*folder.joinpath("state").rglob("*.json"), *platform.checkout.home.joinpath("log").rglob("*")]
    for file in filter(Path.is_file, files):
        text = _content(file)
        for secret in secrets:
            assert secret not in text, f"a token is in plain in {file.relative_to(folder)}"
    for process, arguments in platform.checkout.commands().items():
        assert not any(secret in arguments for secret in secrets), f"a token is among the arguments of {process}"
    for file in filter(Path.is_file, (platform.checkout.home / "run").rglob("*")):
        if any(secret in _content(file) for secret in secrets) and file.exists():
            assert file.stat().st_mode & 0o077 == 0, f"{file.name} holds a token and others may read it"


def _content(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace")
    except FileNotFoundError:  # a log that was put aside meanwhile, a draft that has its name now
        return ""
