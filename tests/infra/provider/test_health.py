import socket
from collections.abc import Callable
from typing import Any

import pytest

from infra.provider.health import Observation, judge, probe


@pytest.mark.parametrize(
    ("state", "exits", "problem", "waited", "verdict"),
    [
        ("RUNNING", 0, None, 0.1, "healthy"),
        ("STARTING", 0, None, 0.1, "healthy"),
        ("RUNNING", 0, "no answer", 59.9, "waiting"),
        ("RUNNING", 0, "no answer", 60.0, "failed"),
        ("BACKOFF", 1, "ended", 1.0, "waiting"),
        ("BACKOFF", 2, "ended", 1.0, "failed"),
        ("RUNNING", 1, None, 3.0, "healthy"),
        ("RUNNING", 2, None, 3.0, "failed"),
        ("FATAL", 0, "ended", 1.0, "failed"),
        ("STOPPED", 0, "ended", 1.0, "failed"),
    ],
)
def test_judgement_over_a_starting_process(
    state: str, exits: int, problem: str | None, waited: float, verdict: str
) -> None:
    assert judge(Observation(state, exits, problem, waited), 60, probed=True, tolerated_exits=1) == verdict


def test_process_without_a_check_has_to_live_for_the_supervisors_second() -> None:
    assert judge(Observation("STARTING", 0, None, 0.5), 60, probed=False, tolerated_exits=1) == "waiting"
    assert judge(Observation("RUNNING", 0, None, 1.1), 60, probed=False, tolerated_exits=1) == "healthy"


def test_single_exit_is_a_failure_when_nobody_restarts() -> None:
    assert judge(Observation("EXITED", 1, "ended", 1.1), 60, probed=True, tolerated_exits=0) == "failed"


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (302, True), (404, False), (503, False)])
def test_http_probe_goes_by_the_status(neighbour: Callable[..., Any], status: int, healthy: bool) -> None:
    server = neighbour(lambda method, path, body: (status, {}))

    problem = probe({"http": f"{server.url}/health?deep=1", "headers": {"authorization": "Bearer x"}}, timeout=60)

    assert (problem is None) is healthy
    assert server.requests == [("GET", "/health?deep=1", None)]
    assert server.headers[0]["authorization"] == "Bearer x"


def test_tcp_probe_goes_by_the_connection(free_port: int) -> None:
    assert probe({"tcp": free_port}) == f"port {free_port}: Connection refused"
    with socket.create_server(("127.0.0.1", free_port)):
        assert probe({"tcp": free_port}) is None


def test_probe_tells_when_something_else_speaks_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def babble() -> None:
            connection, _address = server.accept()
            connection.sendall(b"SSH-2.0\r\n")
            connection.close()

        thread = threading.Thread(target=babble)
        thread.start()
        problem = probe({"http": f"http://127.0.0.1:{server.getsockname()[1]}/"}, timeout=60)
        thread.join()

    assert problem is not None
    assert "no HTTP answer" in problem


def test_process_without_a_check_is_healthy() -> None:
    assert probe(None) is None
