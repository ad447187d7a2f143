"""The HTTP side of the control plane.

    GET    /v1/health                    open
    GET    /metrics                      open: counts only; the server listens on loopback
    GET    /v1/models                    admin token
    GET    /v1/models/{model}            admin token
    PUT    /v1/models/{model}/release    admin token: starts a rollout
    GET    /v1/models/{model}/release    admin token: what is served, as it was asked for
    POST   /v1/models/{model}/rollout/{command}   admin token: pause, resume, promote, abort, rollback
    PUT    /v1/models/{model}/shadows    admin token: which versions get copies of its requests
    POST   /v1/models/{model}/approvals  admin token: an approval of a manifest that is known here
    GET    /v1/models/{model}/history    admin token: the ledger's last entries about it
    POST   /v1/models/{model}/alarms     admin token: what a monitor found out about a version
    POST   /v1/models/{model}/labels     replica token: labels of predictions
    DELETE /v1/models/{model}            admin token
    GET    /v1/audit/entries, /v1/audit/serving, /v1/audit/export; POST /v1/audit/verify    admin token
    GET    /v1/state?after=&timeout=     replica token: answers when the generation is another than `after`
    POST   /v1/replicas/{id}             replica token: what a replica has loaded and counted
    POST   /v1/applications              replica token: how the candidates' applications are

Errors are {"error": "…"} with a 4xx status; 503 while the database is away, when asking again is all that helps.
"""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, get_args

from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.auth import Bearer
from serving.control.alarms import Alarms
from serving.control.audit_api import Audit, AuditError
from serving.control.database import LeaseLostError
from serving.control.drift import Drift
from serving.control.joining import Joiner
from serving.control.labels import DifferentLabelError, read_labels
from serving.control.metrics import page
from serving.control.store import ConflictError, RefusedError, Store, UnknownError
from serving.rollout.observation import CommandKind
from serving.state import Release, StateError

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.5
_FORGET_STEPS = 1200
_LONGEST_POLL = 60.0
_MAX_BODY = 4 * 1024 * 1024
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_PERSON = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_COMMANDS = get_args(CommandKind)
_REPLICA = re.compile(r"[A-Za-z0-9-]{1,64}")
_RELEASE_KEYS = {
    "version", "digest", "source", "files", "group", "signature", "trainedAt",
    "strategy", "approval", "manifest", "requestedBy",
}  # fmt: skip

Handler = Callable[[Request], Awaitable[Response]]


class _RequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Control:
    """Handlers around a store."""

    def __init__(
        self,
        store: Store,
        admin_token: str,
        replica_token: str,
        audit: Audit | None = None,
        *,
        labels: Joiner | None = None,
        drift: Drift | None = None,
        lost: Callable[[], None] = lambda: None,
        unsealed: Callable[[], float] | None = None,
    ) -> None:
        """Make it.

        Args:
            store: the controller's state.
            admin_token: bearer token of people and tools.
            replica_token: bearer token of replicas and the actuator.
            audit: the ledger for readers.
            labels: where labels go; None where predictions are not captured, so that there is nothing to compare with.
            drift: where drift of a stable version is told to who trains; None where nobody listens.
            lost: called once when another controller has taken over: this process must end.
            unsealed: returns for how many seconds the ledger has lacked a checkpoint; None where none are made.
        """
        self._store, self._lost, self._labels = store, lost, labels
        self._alarms, self._drift, self._unsealed = Alarms(store, drift), drift, unsealed
        self._audit = audit or Audit(store.ledger, None, ())
        self.failed = False
        self._admin, self._replica = Bearer(admin_token), Bearer(replica_token)
        self._changed = asyncio.Condition()
        self._published = store.state.generation

    def application(self) -> Starlette:
        """Return the ASGI application; its lifespan moves rollouts on and closes the store."""
        routes = [
            Route("/v1/health", self._open(self._health)),
            Route("/metrics", self._open(self._metrics)),
            Route("/v1/models", self._guarded(self._models, self._admin)),
            Route("/v1/models/{model}", self._guarded(self._model, self._admin)),
            Route("/v1/models/{model}", self._guarded(self._delete, self._admin), methods=["DELETE"]),
            Route("/v1/models/{model}/release", self._guarded(self._release, self._admin), methods=["PUT"]),
            Route("/v1/models/{model}/release", self._guarded(self._stated, self._admin)),
            Route("/v1/models/{model}/rollout/{command}", self._guarded(self._command, self._admin), methods=["POST"]),
            Route("/v1/models/{model}/shadows", self._guarded(self._shadows, self._admin), methods=["PUT"]),
            Route("/v1/models/{model}/approvals", self._guarded(self._approve, self._admin), methods=["POST"]),
            Route("/v1/models/{model}/alarms", self._guarded(self._alarm, self._admin), methods=["POST"]),
            Route("/v1/models/{model}/labels", self._guarded(self._label, self._replica), methods=["POST"]),
            Route("/v1/models/{model}/history", self._guarded(self._history, self._admin)),
            Route("/v1/audit/entries", self._guarded(self._audit.entries, self._admin)),
            Route("/v1/audit/serving", self._guarded(self._audit.serving, self._admin)),
            Route("/v1/audit/export", self._guarded(self._audit.export, self._admin)),
            Route("/v1/audit/verify", self._guarded(self._audit.verify, self._admin), methods=["POST"]),
            Route("/v1/applications", self._guarded(self._applications, self._replica), methods=["POST"]),
            Route("/v1/state", self._guarded(self._state, self._replica, self._admin)),
            Route("/v1/replicas/{id}", self._guarded(self._report, self._replica), methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._tick())]
        if self._labels is not None:
            tasks.append(asyncio.create_task(self._labels.run()))
        if self._drift is not None:
            tasks.append(asyncio.create_task(self._drift.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self._store.close()

    async def _tick(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(_STEP_SECONDS)
            try:
                self._store.step()
                count += 1
                if count % _FORGET_STEPS == 0:
                    self._store.forget()
            except LeaseLostError as error:
                log.error("%s", error)  # noqa: TRY400 - the message says all
                self.failed = True
                self._lost()
                return
            except Exception:
                log.exception("a step of the rollouts failed; it is tried again")
            await self._publish()

    async def _publish(self) -> None:
        """Wake those who wait for another generation."""
        generation = self._store.state.generation
        if generation != self._published:
            self._published = generation
            async with self._changed:
                self._changed.notify_all()

    def _open(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except _RequestError as error:
                return JSONResponse({"error": error.message}, error.status)
            except RefusedError as error:
                return JSONResponse({"error": str(error), "reasons": list(error.reasons)}, 422)
            except AuditError as error:
                return JSONResponse({"error": str(error)}, 422)
            except UnknownError as error:
                return JSONResponse({"error": str(error)}, 404)
            except (ConflictError, DifferentLabelError) as error:
                return JSONResponse({"error": str(error)}, 409)
            except (OperationalError, InterfaceError) as error:
                log.error("%s %s: the database does not answer: %s", request.method, request.url.path, error.orig)  # noqa: TRY400
                text = "the controller's database does not answer; what is served goes on: ask again when it is back"
                return JSONResponse({"error": text}, 503)
            except Exception:
                log.exception("%s %s failed", request.method, request.url.path)
                return JSONResponse({"error": "internal error; it was logged"}, 500)

        return handle

    def _guarded(self, handler: Handler, *bearers: Bearer) -> Handler:
        opened = self._open(handler)

        async def handle(request: Request) -> Response:
            # Through the service proxy of a Kubernetes API server only the second arrives: the first is its own.
            stated = [request.headers.get(name, "") for name in ("authorization", "x-mlops-authorization")]
            if not any(bearer.allows(header.encode("latin-1")) for bearer in bearers for header in stated):
                headers = {"www-authenticate": "Bearer"}
                return JSONResponse({"error": "this needs the header authorization: Bearer <token>"}, 401, headers)
            return await opened(request)

        return handle

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _metrics(self, _request: Request) -> Response:
        text = page(
            self._store.series,
            self._store.state,
            self._store.replicas(),
            unsealed=self._unsealed() if self._unsealed else None,
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"models": [self._store.model(name) for name in self._store.models()]})

    async def _model(self, request: Request) -> Response:
        found = self._store.model(request.path_params["model"])
        if found is None:
            raise _RequestError(404, f"unknown model {request.path_params['model']!r}")
        return JSONResponse(found)

    async def _delete(self, request: Request) -> Response:
        if not self._store.delete(request.path_params["model"], _person(request.query_params.get("by"))):
            raise _RequestError(404, f"unknown model {request.path_params['model']!r}")
        await self._publish()
        return JSONResponse({})

    async def _release(self, request: Request) -> Response:
        name = request.path_params["model"]
        if not _NAME.fullmatch(name):
            raise _RequestError(422, f"model {name!r}: small letters, digits and dashes, a letter first, at most 63")
        body = await _body(request)
        unknown = sorted(body.keys() - _RELEASE_KEYS)
        if unknown:
            raise _RequestError(422, f"{unknown[0]}: unknown key; allowed: {', '.join(sorted(_RELEASE_KEYS))}")
        strategy = body.get("strategy") or {"kind": "all-at-once"}
        if not isinstance(strategy, dict):
            raise _RequestError(422, 'strategy: expected an object with "kind"')
        try:
            release = Release.from_json(body)
        except StateError as error:
            raise _RequestError(422, str(error)) from None
        if not _VERSION.fullmatch(release.version):
            raise _RequestError(422, f"version {release.version!r}: expected a whole number above 0")
        manifest = body.get("manifest")
        if manifest is not None and not isinstance(manifest, dict):
            raise _RequestError(422, "manifest: expected an object or null")
        by = _person(body.get("requestedBy"))
        rollout = self._store.release(name, release, strategy, body.get("approval"), manifest=manifest, by=by)
        await self._publish()
        return JSONResponse({"rollout": rollout}, 202)

    async def _stated(self, request: Request) -> Response:
        found = self._store.stated(request.path_params["model"])
        if found is None:
            raise _RequestError(404, f"no version of {request.path_params['model']!r} is served")
        return JSONResponse(found)

    async def _command(self, request: Request) -> Response:
        command = request.path_params["command"]
        if command not in _COMMANDS:
            raise _RequestError(404, f"unknown command {command!r}; known: {', '.join(_COMMANDS)}")
        body = await _body(request)
        reason = body.get("reason") or ""
        if not isinstance(reason, str) or len(reason) > 1000:
            raise _RequestError(422, "reason: expected text of at most 1000 characters")
        found = self._store.command(request.path_params["model"], command, _person(body.get("by")), reason)
        await self._publish()
        return JSONResponse(found)

    async def _shadows(self, request: Request) -> Response:
        body = await _body(request)
        wanted = body.get("shadows")
        if not isinstance(wanted, list) or body.keys() - {"shadows", "requestedBy"}:
            raise _RequestError(422, 'shadows: expected {"shadows": [...], "requestedBy": ...}')
        found = self._store.shadow(request.path_params["model"], wanted, _person(body.get("requestedBy")))
        await self._publish()
        return JSONResponse(found)

    async def _approve(self, request: Request) -> Response:
        body = await _body(request)
        digest = body.get("digest")
        if not isinstance(digest, str):
            raise _RequestError(422, "digest: which release is approved?")
        found = self._store.approve(request.path_params["model"], digest, body.get("approval"), _person(body.get("by")))
        await self._publish()
        return JSONResponse(found)

    async def _alarm(self, request: Request) -> Response:
        body = await _body(request)
        by = _person(body.pop("by", None))
        found = self._alarms.take(request.path_params["model"], body, by)
        await self._publish()
        return JSONResponse(found, 202 if found["accepted"] else 200)

    async def _label(self, request: Request) -> Response:
        if self._labels is None:
            raise _RequestError(
                422, "this environment captures no predictions: there is nothing to compare labels with"
            )
        found = self._labels.take(request.path_params["model"], read_labels(await _body(request)))
        return JSONResponse(found)

    async def _history(self, request: Request) -> Response:
        text = request.query_params.get("limit", "50")
        if not text.isdigit() or not 1 <= int(text) <= 1000:
            raise _RequestError(422, "limit: expected 1 to 1000")
        name = request.path_params["model"]
        return JSONResponse({"model": name, "entries": await self._audit.history(name, int(text))})

    async def _applications(self, request: Request) -> Response:
        self._store.applications((await _body(request)).get("applications"))
        await self._publish()
        return JSONResponse({})

    async def _state(self, request: Request) -> Response:
        try:
            after = int(request.query_params.get("after", "-1"))
            timeout = min(float(request.query_params.get("timeout", "25")), _LONGEST_POLL)
        except ValueError:
            raise _RequestError(422, "after and timeout must be numbers") from None
        # Another number, not a larger one: a database that was restored starts again from a smaller one.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(timeout, 0)), self._changed:
                await self._changed.wait_for(lambda: self._store.state.generation != after)
        return JSONResponse(self._store.state.to_json())

    async def _report(self, request: Request) -> Response:
        identifier = request.path_params["id"]
        if not _REPLICA.fullmatch(identifier):
            raise _RequestError(422, "the replica's id must be letters, digits and dashes, at most 64")
        acknowledged = self._store.report(identifier, await _body(request))
        await self._publish()
        return JSONResponse({"acknowledged": acknowledged})


def _person(name: Any) -> str:
    """Return who asks, as the ledger will name them."""
    if name is None:
        return "unknown"
    if not isinstance(name, str) or not _PERSON.fullmatch(name):
        raise _RequestError(422, "by: expected a name without spaces, at most 200 characters")
    return name


async def _body(request: Request) -> dict[str, Any]:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > _MAX_BODY:
            raise _RequestError(413, f"at most {_MAX_BODY} bytes are allowed")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise _RequestError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise _RequestError(422, "the body must be an object")
    return body
