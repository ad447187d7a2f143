"""The way to a service inside a cluster: what is sent on, how it is proven who asks, what becomes of the command.

Against a real API server: `tests/rehearsal/test_sagemaker_run.py`.
"""

import base64
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest

from training.errors import TrainingError
from training.pipelines import through_cluster
from training.pipelines.through_cluster import Cluster, Service, Way, follow, signed_token

SERVICE = Service("registry", "registry", 5000)


@pytest.mark.parametrize("text", ["registry", "registry/registry", "registry/registry:x", "a/b/c:1", "../x:1"])
def test_what_is_no_service_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="expected namespace/name:port"):
        Service.parse(text)


def test_a_service_has_a_path_and_a_name() -> None:
    assert Service.parse("registry/registry:5000") == SERVICE
    assert SERVICE.path == "/api/v1/namespaces/registry/services/registry:5000/proxy"
    assert SERVICE.host == "registry.registry.svc:5000"


def test_the_token_names_the_cluster_and_is_soon_worthless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.delenv(through_cluster.TOKEN, raising=False)

    token = signed_token("acme-prod-main", "eu-central-1")

    head, _, encoded = token.partition(".")
    address = urlparse(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode())
    query = parse_qs(address.query)
    assert (head, address.netloc) == ("k8s-aws-v1", "sts.eu-central-1.amazonaws.com")
    assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert query["X-Amz-Expires"] == ["60"]
    assert "hidden" not in token


def test_a_token_is_signed_anew_before_it_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now, signed = [100.0], iter(["first", "second"])
    monkeypatch.setattr("training.pipelines.through_cluster.time.monotonic", lambda: now[0])
    cluster = Cluster("https://cluster", "", lambda: next(signed))

    assert [cluster.token(), cluster.token()] == ["first", "first"]
    now[0] += 601
    assert cluster.token() == "second"


class Answers:
    """Stands for the API server: keeps what was asked, gives one answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[httpx.Request, bytes]] = []
        self.fails = False

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.fails:
            raise httpx.ConnectError("nobody there", request=request)
        self.asked.append((request, await request.aread()))

        async def parts() -> AsyncIterator[bytes]:
            yield b"do"
            yield b"ne"

        return httpx.Response(201, headers={"x-made": "yes", "connection": "close"}, content=parts())


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def application(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> Way:
    monkeypatch.setattr(Cluster, "context", lambda _: False)
    cluster = Cluster("https://cluster", "", lambda: "TOKEN")
    made = Way(cluster, SERVICE)
    made._client = httpx.AsyncClient(transport=httpx.MockTransport(answers))
    return made


def client(application: Way) -> httpx.AsyncClient:
    transport: Any = httpx.ASGITransport(app=application)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1")


async def test_a_request_goes_on_with_both_proofs(application: Way, answers: Answers) -> None:
    async with client(application) as here:
        answer = await here.post(
            "/api/2.0/mlflow/runs/create?a=b%2Fc", content=b"body", auth=("mlops", "password"),
            headers={"x-mlops-authorization": "Basic forged"},
        )  # fmt: skip

    [(request, body)] = answers.asked
    assert str(request.url) == f"https://cluster{SERVICE.path}/api/2.0/mlflow/runs/create?a=b%2Fc"
    assert request.headers["authorization"] == "Bearer TOKEN"
    assert request.headers.get_list("x-mlops-authorization") == [httpx.BasicAuth("mlops", "password")._auth_header]
    assert request.headers["host"] == "registry.registry.svc:5000"
    assert (body, request.headers["content-length"]) == (b"body", "4")
    assert (answer.status_code, answer.content, answer.headers["x-made"]) == (201, b"done", "yes")
    assert "connection" not in answer.headers


async def test_a_request_without_a_body_has_none(application: Way, answers: Answers) -> None:
    async with client(application) as here:
        await here.get("/health")

    [(request, body)] = answers.asked
    assert body == b""
    assert "transfer-encoding" not in request.headers


async def test_an_api_server_that_does_not_answer_is_said(application: Way, answers: Answers) -> None:
    answers.fails = True

    async with client(application) as here:
        answer = await here.get("/health")

    assert answer.status_code == 502
    assert "cannot be reached through https://cluster: nobody there" in answer.text


@pytest.mark.parametrize(("code", "expected"), [("import sys; sys.exit(3)", 3), ("pass", 0)])
def test_the_command_says_how_it_ended(code: str, expected: int) -> None:
    assert follow([sys.executable, "-S", "-c", code], {}) == expected


def test_a_certificate_authority_that_is_none_is_refused() -> None:
    with pytest.raises(TrainingError, match="certificate authority of https://cluster cannot be read"):
        Cluster("https://cluster", "nothing", lambda: "").context()
