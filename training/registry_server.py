"""The registry's process: MLflow's own server application behind one password, in one process.

    python -m training.registry_server --port 5000
        environment: MLOPS_DATA_DIR, MLOPS_REGISTRY_USERNAME, MLOPS_REGISTRY_PASSWORD

State lies in `<data>/registry`: `mlflow.db` (SQLite) and `artifacts/`, or where the environment says, which then needs
no data folder:

    MLOPS_REGISTRY_DATABASE                 address for SQLAlchemy without a password, such as
                                            postgresql+psycopg://mlops@host:5432/mlops?sslmode=require
    MLOPS_REGISTRY_DATABASE_PASSWORD_FILE   file with the password, read at every connection: it may change meanwhile
    MLOPS_REGISTRY_ARTIFACTS                s3://bucket/prefix
    MLOPS_REGISTRY_HOSTS                    names (host:port, by commas) under which clients reach it, besides loopback

Clients reach artifacts only through the server (`mlflow-artifacts:`).

`GET /health` and `GET /metrics` are open, everything else asks for HTTP basic authentication,
which MLflow's client sends by `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`. Through the service proxy of a
Kubernetes API server, which keeps the header `authorization` to itself, it comes as `x-mlops-authorization`
(`training.pipelines.through_cluster`).

Why not `mlflow server --app-name basic-auth`: it keeps a database of users whose admin password is set once and does
not follow the secret of a stack; it derives a key from the password on every request (0.6 s for a search of
experiments where this takes 0.03 s, on two busy cores); it guards the routes that it knows, where this guards all; its
command stays as a second process that only waits (560 MB for both, 280 MB here); and it needs packages that MLflow does
not bring along. Many users with rights of their own, which it has, an environment on one machine has no use for.

MLflow's own protection against DNS rebinding and cross-origin requests is on, for the names that are stated only.
Job execution (a queue with worker processes, for evaluations of language models) is off.
"""

import argparse
import base64
import contextlib
import hmac
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import TrainingError
from training.workspace import data_directory, run, say

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = frozenset({"/health", "/metrics"})
_CREDENTIALS = frozenset({b"authorization", b"x-mlops-authorization"})
_MIGRATION_LOCK = 7_404_001
"""Any number that no other lock in the database has."""


class Guard:
    """An ASGI application that lets only those in who know the password, and counts what passes."""

    def __init__(self, application: Application, username: str, password: str) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._application = application
        pair = base64.b64encode(f"{username}:{password}".encode())
        self._expected = b"basic " + pair
        self._metrics = CollectorRegistry()
        labels = ["area", "code"]
        self._requests = Counter("registry_requests", "Requests by area and status.", labels, registry=self._metrics)
        self._seconds = Histogram("registry_request_seconds", "Time to answer.", ["area"], registry=self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or hand on the start and stop of the application)."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            # MLflow has no WebSocket that this platform uses.
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, start, area = scope["path"], time.perf_counter(), _area(scope["path"])
        status = 500

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        is_read = scope["method"] in ("GET", "HEAD")
        try:
            if is_read and path == "/metrics":
                from prometheus_client import generate_latest

                await _answer(watched, 200, generate_latest(self._metrics), b"text/plain; version=0.0.4")
            elif (is_read and path in _OPEN) or self._authorised(scope):
                await self._application(scope, receive, watched)
            else:
                text = b"This registry asks for a user name and a password; `./mlops status` shows how to get them.\n"
                extra = [(b"www-authenticate", b'Basic realm="registry", charset="UTF-8"')]
                await _answer(watched, 401, text, b"text/plain; charset=utf-8", extra)
        finally:
            self._requests.labels(area, str(status)).inc()
            self._seconds.labels(area).observe(time.perf_counter() - start)

    def _authorised(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name in _CREDENTIALS]
        if len(given) != 1:
            return False
        scheme, _, pair = given[0].partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + pair.strip(), self._expected)


async def _answer(
    send: Send, status: int, body: bytes, content_type: bytes, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _area(path: str) -> str:
    """Name the part of the API, for labels that stay few whatever is asked for."""
    parts = path.strip("/").split("/")
    if parts[0] in ("api", "ajax-api") and len(parts) > 3:
        areas = {"mlflow-artifacts", "runs", "experiments", "registered-models", "model-versions", "logged-models"}
        name = parts[2] if parts[2] == "mlflow-artifacts" else parts[3]
        return name if name in areas else "other"
    return parts[0] if parts[0] in ("health", "metrics") else "pages"


@dataclass(frozen=True)
class Storage:
    """Where the registry keeps things.

    Attributes:
        database: address for SQLAlchemy.
        artifacts: address of the folder or bucket of the artifacts.
        password_file: file with the password of the database; None where it needs none.
        hosts: names under which clients reach the server, `host:port`.
    """

    database: str
    artifacts: str
    password_file: Path | None = None
    hosts: tuple[str, ...] = ()


def storage(environment: Mapping[str, str]) -> Storage:
    """Read from the environment where things are kept.

    Raises:
        TrainingError: only one of database and artifacts is stated, or the database's address holds a password.
    """
    database, artifacts = environment.get("MLOPS_REGISTRY_DATABASE"), environment.get("MLOPS_REGISTRY_ARTIFACTS")
    hosts = tuple(filter(None, environment.get("MLOPS_REGISTRY_HOSTS", "").split(",")))
    if not database and not artifacts:
        folder = data_directory() / "registry"
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        return Storage(f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri(), hosts=hosts)
    if not database or not artifacts:
        raise TrainingError("MLOPS_REGISTRY_DATABASE and MLOPS_REGISTRY_ARTIFACTS go together: state both or none")
    from sqlalchemy.engine import make_url

    if make_url(database).password is not None:
        raise TrainingError(
            "MLOPS_REGISTRY_DATABASE holds a password: put it into a file and name that in "
            "MLOPS_REGISTRY_DATABASE_PASSWORD_FILE"
        )
    file = environment.get("MLOPS_REGISTRY_DATABASE_PASSWORD_FILE")
    return Storage(database, artifacts, Path(file) if file else None, hosts)


def follow_password(file: Path, engine: Any = None) -> None:
    """Let every new connection to PostgreSQL use the password that is in the file at that moment.

    Args:
        file: the file.
        engine: whose connections; None for those of all engines, MLflow's among them.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(engine or Engine, "do_connect")
    def connecting(dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        if dialect.name == "postgresql":
            parameters["password"] = file.read_text(encoding="utf-8").strip()


@contextlib.contextmanager
def alone(database: str) -> Iterator[None]:
    """Let one of several servers that start together make or migrate the tables; the others wait for it.

    SQLite has one server, so that only PostgreSQL is asked for a lock.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    if make_url(database).get_backend_name() != "postgresql":
        yield
        return
    engine = create_engine(database)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            yield
    finally:
        # The lock goes with its connection, also when this process dies.
        engine.dispose()


def configure(kept: Storage, port: int) -> Application:
    """Bring the database up to date and return MLflow's server application.

    The application reads its settings from the environment while it is imported, as MLflow's own command hands them on.

    Raises:
        TrainingError: this version of MLflow takes them under other names.
    """
    if kept.password_file is not None:
        follow_password(kept.password_file)
    database, root = kept.database, "mlflow-artifacts:/"
    settings = {
        "BACKEND_STORE_URI_ENV_VAR": ("_MLFLOW_SERVER_FILE_STORE", database),
        "REGISTRY_STORE_URI_ENV_VAR": ("_MLFLOW_SERVER_REGISTRY_STORE", database),
        "ARTIFACT_ROOT_ENV_VAR": ("_MLFLOW_SERVER_ARTIFACT_ROOT", root),
        "ARTIFACTS_DESTINATION_ENV_VAR": ("_MLFLOW_SERVER_ARTIFACT_DESTINATION", kept.artifacts),
        "SERVE_ARTIFACTS_ENV_VAR": ("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true"),
    }
    os.environ.update(dict(settings.values()))
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")] + list(kept.hosts)
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(hosts)
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(f"http://{host}" for host in hosts)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"

    from mlflow.server import constants, handlers

    for name, (variable, _) in settings.items():
        if getattr(constants, name, None) != variable:
            raise TrainingError(f"this MLflow does not know the setting {variable}; install the locked version")
    with alone(database):
        handlers.initialize_backend_stores(database, database, root)
    from mlflow.server.fastapi_app import app

    application: Application = app
    return application


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m training.registry_server", description="Serve the registry.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    username = os.environ.get("MLOPS_REGISTRY_USERNAME", "mlops")
    password = os.environ.get("MLOPS_REGISTRY_PASSWORD")
    if not password:
        raise TrainingError("MLOPS_REGISTRY_PASSWORD is not set; the registry is not served without a password")
    if ":" in username:
        raise TrainingError("MLOPS_REGISTRY_USERNAME: a user name for HTTP basic authentication has no colon")
    # Nothing that the server starts needs it.
    del os.environ["MLOPS_REGISTRY_PASSWORD"]
    application = configure(storage(os.environ), options.port)
    import uvicorn

    say(f"registry on http://{options.host}:{options.port}")
    guard = Guard(application, username, password)
    uvicorn.run(guard, host=options.host, port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    run(main)
