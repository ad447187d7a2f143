"""The registry's guard: nothing passes without the password but its health and its metrics."""

import base64
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from training.registry_server import Guard


def _inside(request: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


@pytest.fixture
def client() -> TestClient:
    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    return TestClient(Guard(Starlette(routes=[Route("/{path:path}", _inside, methods=methods)]), "mlops", "se:cret"))


def basic(pair: str, scheme: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{scheme} {base64.b64encode(pair.encode()).decode()}"}


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_the_password_opens_everything(client: TestClient, scheme: str) -> None:
    response = client.get("/api/2.0/mlflow/runs/get", headers=basic("mlops:se:cret", scheme))
    assert (response.status_code, response.text) == (200, "inside")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("mlops:wrong"),
        basic("other:se:cret"),
        basic("mlops:se:cret", "Bearer"),
        {"authorization": "Basic"},
        {"authorization": "Basic \u00ff"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/1/a/model.onnx"),
        ("POST", "/health"),
        ("GET", "/health/../api"),
        ("GET", "//health"),
        ("OPTIONS", "/api/2.0/mlflow/runs/get"),
        ("DELETE", "/metrics"),
    ],
)
def test_everything_else_is_refused(client: TestClient, method: str, path: str, headers: dict[str, Any]) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    response = client.request(method, path, headers=raw)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic")
    assert "inside" not in response.text


def test_two_authorizations_are_refused(client: TestClient) -> None:
    good = ("authorization", basic("mlops:se:cret")["authorization"])
    assert client.get("/", headers=[good, good]).status_code == 401


def test_websockets_are_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/x", headers=basic("mlops:se:cret")):
        pass


def test_health_is_open_and_metrics_count_by_area(client: TestClient) -> None:
    assert client.get("/health").text == "inside"
    client.get("/api/2.0/mlflow/runs/get")
    client.get("/api/2.0/mlflow/anything-a-client-thinks-of/get")
    text = client.get("/metrics").text
    assert 'registry_requests_total{area="health",code="200"} 1.0' in text
    assert 'registry_requests_total{area="runs",code="401"} 1.0' in text
    assert 'registry_requests_total{area="other",code="401"} 1.0' in text
    assert "anything-a-client" not in text
