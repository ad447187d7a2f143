"""The ledger over HTTP: entries, what served when, verification and export. Reading it changes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from policies.ledger.checkpointer import CheckpointPlace, audit
from policies.ledger.events import Kind
from policies.ledger.export import export_lines
from policies.ledger.served import KINDS, serving_at
from policies.ledger.store import Ledger, Query
from policies.releases.signing import PublicKey

_MOST_ENTRIES = 10_000
_LINES = "application/x-ndjson"
HISTORY: tuple[Kind, ...] = ("release-step", "rollback", "quarantine", "approval", "administrative-access")


class AuditError(Exception):
    """A question to the ledger is malformed."""


class Audit:
    """Handlers around a ledger and the place of its checkpoints."""

    def __init__(self, ledger: Ledger, place: CheckpointPlace | None, keys: Collection[PublicKey]) -> None:
        self._ledger, self._place, self._keys = ledger, place, keys

    async def entries(self, request: Request) -> Response:
        """Answer entries as JSON lines, oldest first: `after` a number, `limit`, `model`, `person`."""
        query = Query(
            after=_number(request, "after", 0),
            limit=min(_number(request, "limit", 1_000), _MOST_ENTRIES),
            model=request.query_params.get("model"),
            person=request.query_params.get("person"),
        )
        lines = (json.dumps(entry.to_json(), ensure_ascii=False) + "\n" for entry in self._ledger.entries(query))
        return StreamingResponse(_threaded(lines), media_type=_LINES)

    async def serving(self, request: Request) -> Response:
        """Say what served `model` at a time, who approved it and on which evidence."""
        model = request.query_params.get("model")
        if not model:
            raise AuditError("model: which one?")
        at = _time(request.query_params.get("at"))
        served = await asyncio.to_thread(
            lambda: serving_at(self._ledger.entries(Query(model=model, kinds=KINDS)), model, at)
        )
        return JSONResponse(asdict(served))

    async def verify(self, _request: Request) -> Response:
        """Verify chain and checkpoints."""
        place, keys = self._place, self._keys
        if place is None:
            report = await asyncio.to_thread(self._ledger.verify, [], ())
        else:
            try:
                report = await asyncio.to_thread(audit, self._ledger, place, keys)
            except OSError as error:
                raise AuditError(
                    f"the checkpoints in {place.name} can't be read, so nothing is said: {error}"
                ) from None
        document = asdict(report) | {"ok": report.ok, "firstBad": report.first_bad, "ledger": self._ledger.id}
        return JSONResponse(document | {"keys": [key.line() for key in keys]})

    async def export(self, _request: Request) -> Response:
        """Give the whole ledger with its checkpoints, as JSON lines that can be verified without the database."""
        checkpoints = [] if self._place is None else (await asyncio.to_thread(self._place.read))[0]
        lines = export_lines(self._ledger.id, self._ledger.entries(), checkpoints, datetime.now(UTC))
        return StreamingResponse(_threaded(lines), media_type=_LINES)

    async def history(self, model: str, limit: int) -> list[dict[str, Any]]:
        """Return the last entries about a model's releases, oldest first."""
        query = Query(model=model, kinds=HISTORY)
        entries = await asyncio.to_thread(lambda: list(self._ledger.entries(query))[-limit:])
        return [entry.to_json() for entry in entries]


async def _threaded(lines: Iterable[str]) -> AsyncIterator[str]:
    """Read in a thread, in pieces, so that replicas are answered meanwhile."""
    iterator = iter(lines)
    while piece := await asyncio.to_thread(_piece, iterator):
        yield piece


def _piece(lines: Iterator[str]) -> str:
    return "".join(line for line, _ in zip(lines, range(500), strict=False))


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdigit():
        raise AuditError(f"{name}: expected a whole number, got {text[:40]!r}")
    return int(text)


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise AuditError(f"at: expected a time such as 2026-11-20T09:00Z, got {text[:40]!r}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
