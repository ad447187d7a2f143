"""The feature store's process: online features over HTTP, in the form of Feast's own server.

`POST /get-online-features` takes `{"feature_service": …, "entities": {column: [keys]}}` and answers as `feast serve`
does. It is our own thin server for three reasons: a bearer token (Feast's server knows only OIDC and Kubernetes), one
process instead of a gunicorn tree, and nothing else on the port, where Feast's also takes writes.

    python -m training.features.server --port 6566      environment: MLOPS_DATA_DIR, MLOPS_FEATURE_STORE_TOKEN

`GET /health` and `GET /metrics` (Prometheus) need no token. A service that was applied after the start is found at its
first request.
"""

import argparse
import hmac
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import Any

from training.errors import TrainingError
from training.features.store import open_store, repository
from training.workspace import data_directory, run, say

MAX_BODY = 1 << 20
MAX_ROWS = 10_000


class BadRequest(Exception):  # noqa: N818 - the name of the HTTP status
    """The request cannot be answered; the message says why."""


def parse(data: Any) -> tuple[str, dict[str, list[Any]]]:
    """Check a request body and return the service and the columns of entity keys.

    Raises:
        BadRequest: naming the key and what is expected.
    """
    if not isinstance(data, Mapping):
        raise BadRequest('expected an object with "feature_service" and "entities"')
    service, entities = data.get("feature_service"), data.get("entities")
    if not isinstance(service, str) or not service:
        raise BadRequest(f"feature_service: expected the name of a feature service, got {service!r}")
    if not isinstance(entities, Mapping) or not entities:
        raise BadRequest("entities: expected an object of entity name to list of keys")
    columns: dict[str, list[Any]] = {}
    for name, keys in entities.items():
        if not isinstance(keys, list) or not keys:
            raise BadRequest(f"entities.{name}: expected a list of at least one key")
        if not all(isinstance(key, str | int) and not isinstance(key, bool) for key in keys):
            raise BadRequest(f"entities.{name}: keys must be text or whole numbers")
        columns[str(name)] = keys
    lengths = {len(keys) for keys in columns.values()}
    if len(lengths) > 1:
        raise BadRequest(f"entities: all lists must be of one length, they have {sorted(lengths)}")
    if max(lengths) > MAX_ROWS:
        raise BadRequest(f"entities: {max(lengths)} rows, at most {MAX_ROWS} at once")
    return service, columns


class Lookup:
    """Answers requests from a Feast store. Feast's SQLite connection is shared, so one request at a time."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._lock = threading.Lock()

    def answer(self, service: str, entities: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Return Feast's response: names, and per column values, statuses and times.

        Raises:
            BadRequest: there is no such service, or it needs other entities.
        """
        rows = [dict(zip(entities, keys, strict=True)) for keys in zip(*entities.values(), strict=True)]
        with self._lock:
            found = self._service(service)
            try:
                response = self._store.get_online_features(features=found, entity_rows=rows)
            except (KeyError, ValueError) as error:
                raise BadRequest(f"entities: {error}") from None
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                raise BadRequest(f"feature_service: {service} was never materialised") from None
        names = list(response.proto.metadata.feature_names.val)
        results = [
            {
                "values": [_plain(value) for value in column.values],
                "statuses": [_status(status) for status in column.statuses],
                "event_timestamps": [stamp.ToJsonString() for stamp in column.event_timestamps],
            }
            for column in response.proto.results
        ]
        return {"metadata": {"feature_names": names}, "results": results}

    def warm(self) -> int:
        """Look nothing up in each service once; returns how many answered.

        The first lookup of a process takes several times the next ones (it opens the registry and the database), longer
        than predictions wait for features: nobody's prediction should be the one that pays.
        """
        warmed = 0
        for service in self._store.list_feature_services():
            views = [self._store.get_feature_view(one.name) for one in service.feature_view_projections]
            keys = {column.name: column.dtype for view in views for column in view.entity_columns}
            try:
                self.answer(service.name, {name: ["" if str(kind) == "String" else 0] for name, kind in keys.items()})
            except BadRequest:  # never materialised yet
                continue
            warmed += 1
        return warmed

    def _service(self, name: str) -> Any:
        from feast.errors import FeastObjectNotFoundException

        for refresh in (False, True):
            if refresh:
                self._store.refresh_registry()
            try:
                return self._store.get_feature_service(name, allow_cache=True)
            except FeastObjectNotFoundException:
                continue
        raise BadRequest(f"feature_service: there is no {name!r} here")


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("val")
    return None if kind in (None, "null_val") else getattr(value, kind)


def _status(status: int) -> str:
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    return str(FieldStatus.Name(status))


def create_app(lookup: Lookup, token: str | None) -> Any:
    """Build the application.

    Args:
        lookup: what answers.
        token: the bearer token that lookups must show; None opens them (tests).

    Returns:
        A starlette.applications.Starlette.
    """
    import anyio.to_thread
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    metrics = CollectorRegistry()
    requests = Counter("feature_store_requests", "Lookups by outcome.", ["code"], registry=metrics)
    seconds = Histogram("feature_store_request_seconds", "Time of a lookup.", registry=metrics)
    keys = Counter("feature_store_entities", "Entity rows looked up.", registry=metrics)

    def refusal(status: int, text: str) -> Response:
        requests.labels(str(status)).inc()
        return JSONResponse({"detail": text}, status_code=status)

    async def features(request: Request) -> Response:
        if token is not None and not authorised(request.headers.get("authorization"), token):
            return refusal(401, "a bearer token is required")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return refusal(413, f"the body is larger than {MAX_BODY} bytes")
        start = time.perf_counter()
        try:
            service, entities = parse(decode(body))
            answer = await anyio.to_thread.run_sync(lookup.answer, service, entities)
        except BadRequest as error:
            return refusal(400, str(error))
        seconds.observe(time.perf_counter() - start)
        requests.labels("200").inc()
        keys.inc(len(next(iter(entities.values()))))
        return JSONResponse(answer)

    def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def scrape(_: Request) -> Response:
        return PlainTextResponse(generate_latest(metrics).decode(), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            Route("/get-online-features", features, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", scrape),
        ]
    )


def decode(body: bytes) -> Any:
    """Decode a JSON body.

    Raises:
        BadRequest: it is no JSON.
    """
    import json

    try:
        return json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from None


def authorised(header: str | None, token: str) -> bool:
    """Say whether an authorization header shows the token, in a time that does not depend on where they differ."""
    return header is not None and hmac.compare_digest(header.encode(), f"Bearer {token}".encode())


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m training.features.server", description="Serve online features.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6566)
    options = parser.parse_args()
    token = os.environ.get("MLOPS_FEATURE_STORE_TOKEN")
    if not token:
        raise TrainingError("MLOPS_FEATURE_STORE_TOKEN is not set; the feature store is not served without a token")
    import uvicorn

    lookup = Lookup(open_store(repository(data_directory())))
    lookup.warm()
    app = create_app(lookup, token)
    say(f"feature store on http://{options.host}:{options.port}")
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    run(main)
