"""Users count what they get, and take nothing for an answer that is none."""

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from infra.demo.users import Answered, Labels, Row, Users, rows

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


ROWS = [Row(b'{"row": 0}', 1), Row(b'{"row": 1}', 0)]


def ask(url: str, count: int) -> Users:
    with Users(url, "t", "/v2/models/m/infer", ROWS, per_second=500, connections=2) as users:
        until = time.monotonic() + 60
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

    assert [(json.loads(one.body)["inputs"][0]["data"], one.outcome) for one in rows(sample)] == [
        ([1.0], 0),
        ([3.0], 0),
    ]


def test_each_request_has_an_id_of_its_own_that_labels_go_by(service: Callable[[Reply], str]) -> None:
    users = ask(service(lambda _asked: (200, {"model_version": "1"})), 20)

    assert len({one.id for one in users.answers}) == len(users.answers)
    assert {one.row for one in users.answers} == {0, 1}


def test_labels_that_cannot_be_stored_now_are_sent_again() -> None:
    sent: list[Any] = []
    answers = iter([503, 200])

    def take(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content)["labels"])
        return httpx.Response(next(answers), json={})

    with httpx.Client(base_url="http://service", transport=httpx.MockTransport(take)) as http:
        labels = Labels(http, "m", ROWS)
        labels.tell([Answered(1.0, "1", id="a", row=0), Answered(1.0, "", "status 500", id="b", row=1)])
        labels.tell([Answered(2.0, "1", id="c", row=1)])

    assert sent == [[{"id": "a", "label": 1}], [{"id": "a", "label": 1}, {"id": "c", "label": 0}]]
