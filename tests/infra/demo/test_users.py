"""Users count what they get, and take nothing for an answer that is none."""

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from infra.demo.users import Users, bodies

Reply = Callable[[Any], tuple[int, Any]]


@pytest.fixture
def service() -> Iterator[Callable[[Reply], str]]:
    """A service that answers as a function says."""
    servers: list[ThreadingHTTPServer] = []

    def start(reply: Reply) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, body = reply(asked)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(url: str, count: int) -> Users:
    with Users(url, "t", "/v2/models/m/infer", [b'{"row": 0}', b'{"row": 1}'], per_second=500, connections=2) as users:
        until = time.monotonic() + 10
        while len(users.answers) < count and time.monotonic() < until:
            time.sleep(0.01)
    return users


def test_answers_are_counted_by_the_version_that_gave_them(service: Callable[[Reply], str]) -> None:
    users = ask(service(lambda asked: (200, {"model_version": str(asked["row"] + 1), "outputs": [0.5]})), 20)

    assert {one.version for one in users.answers} == {"1", "2"}
    assert users.failed == []


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, {"error": "broken"}, "status 500"),
        (200, {"model_version": "1", "outputs": [None]}, "no number"),
        (200, {"model_version": "1", "outputs": [float("nan")]}, "no number"),
    ],
)
def test_anything_but_a_good_answer_is_a_failed_request(
    service: Callable[[Reply], str], status: int, body: Any, said: str
) -> None:
    users = ask(service(lambda _asked: (status, body)), 4)

    assert len(users.failed) == len(users.answers) >= 4
    assert said in users.failed[0].problem


def test_nobody_there_is_a_failed_request(service: Callable[[Reply], str]) -> None:
    users = ask("http://127.0.0.1:9", 4)

    assert len(users.failed) == len(users.answers) >= 4


def test_rows_without_a_value_are_not_asked() -> None:
    sample = {"inputs": [{"name": "x", "datatype": "FP32", "data": [1.0, None, 3.0]}], "outcome": [0, 1, 0]}

    assert [json.loads(body)["inputs"][0]["data"] for body in bodies(sample)] == [[1.0], [3.0]]
