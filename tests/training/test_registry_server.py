"""The registry's guard: nothing passes without the password but its health and its metrics."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from training import registry_server
from training.errors import TrainingError
from training.registry_server import Guard, alone, follow_password, storage


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


def test_through_an_api_server_the_password_comes_by_a_header_of_its_own(client: TestClient) -> None:
    good = basic("mlops:se:cret")["authorization"]

    assert client.get("/", headers={"x-mlops-authorization": good}).status_code == 200
    assert client.get("/", headers={"x-mlops-authorization": basic("mlops:wrong")["authorization"]}).status_code == 401
    assert client.get("/", headers={"x-mlops-authorization": good, "authorization": good}).status_code == 401


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


DATABASE = "postgresql+psycopg://mlops@db.example:5432/mlops?sslmode=require"


def test_without_a_word_things_are_kept_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_DATA_DIR", str(tmp_path))

    kept = storage({})

    assert kept.database == f"sqlite:///{tmp_path}/registry/mlflow.db"
    assert kept.artifacts == (tmp_path / "registry" / "artifacts").as_uri()


def test_database_and_bucket_need_no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_DATA_DIR", raising=False)

    kept = storage(
        {
            "MLOPS_REGISTRY_DATABASE": DATABASE,
            "MLOPS_REGISTRY_ARTIFACTS": "s3://models/artifacts",
            "MLOPS_REGISTRY_DATABASE_PASSWORD_FILE": "/run/secrets/database/password",
            "MLOPS_REGISTRY_HOSTS": "registry.registry.svc:5000",
        }
    )

    assert (kept.database, kept.artifacts) == (DATABASE, "s3://models/artifacts")
    assert kept.password_file == Path("/run/secrets/database/password")
    assert kept.hosts == ("registry.registry.svc:5000",)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"MLOPS_REGISTRY_DATABASE": DATABASE}, "go together"),
        ({"MLOPS_REGISTRY_ARTIFACTS": "s3://models"}, "go together"),
        (
            {
                "MLOPS_REGISTRY_DATABASE": DATABASE.replace("mlops@", "mlops:secret@"),
                "MLOPS_REGISTRY_ARTIFACTS": "s3://models",
            },
            "PASSWORD_FILE",
        ),
    ],
)
def test_half_a_storage_or_a_password_in_an_address_is_refused(stated: dict[str, str], words: str) -> None:
    with pytest.raises(TrainingError, match=words) as refused:
        storage(stated)
    assert "secret@" not in str(refused.value)


def test_a_changed_password_is_used_by_the_next_connection(tmp_path: Path) -> None:
    given: list[str] = []

    def connect(*_: object, **parameters: str) -> None:
        given.append(parameters["password"])
        raise psycopg.OperationalError("nobody is there")

    engine = create_engine(DATABASE)
    engine.dialect.loaded_dbapi = SimpleNamespace(connect=connect, Error=psycopg.Error)
    file = tmp_path / "password"
    follow_password(file, engine)

    for password in ("first", "second"):
        file.write_text(f"{password}\n")
        with pytest.raises(Exception, match="nobody is there"):
            engine.connect()

    assert given == ["first", "second"]


def test_one_server_over_sqlite_asks_for_no_lock(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"

    with alone(f"sqlite:///{file}"):
        assert not file.exists()


@pytest.mark.slow
def test_servers_that_start_together_make_the_tables_one_after_the_other(postgres_address: str) -> None:
    database = postgres_address
    engine = create_engine(database)
    free = text("SELECT pg_try_advisory_xact_lock(:lock)")

    with alone(database), engine.begin() as other:
        assert other.execute(free, {"lock": registry_server._MIGRATION_LOCK}).scalar() is False
    # It goes when the server has seen the end of the connection, so that it is waited for, as the next one does.
    with engine.begin() as other:
        other.execute(text("SET LOCAL lock_timeout = '60s'"))
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": registry_server._MIGRATION_LOCK})
    engine.dispose()
