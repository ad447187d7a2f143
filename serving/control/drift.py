"""Drift of what is served, told to who trains: an object in a store for each alarm of a monitor.

On AWS the arrival of an object is an event, which starts the model's pipeline (`components.pipelines.drift`). An alarm
is noted in the transaction that takes it, and put from that note: a store that is away or a controller that ends loses
none. Where the mark that one was put is lost, it is put again, and heard twice.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from pyarrow import fs

from serving.control.database import LeaseLostError
from serving.control.records import Draft
from serving.control.schema import metadata
from serving.control.store import Store

log = logging.getLogger(__name__)

KIND = "drift"
"""The alarms that are told: what moved is the data, which training on what there is now follows."""
_RETRY_SECONDS = 10.0

drift_table = sa.Table(
    "drift_alarms", metadata,
    sa.Column("model", sa.String, primary_key=True), sa.Column("id", sa.String, primary_key=True),
    sa.Column("body", sa.Text, nullable=False), sa.Column("at", sa.Float, nullable=False),
    sa.Column("put", sa.Float),
)  # fmt: skip


def object_name(model: str, alarm: str) -> str:
    """Return the name of an alarm's object: below its model's, and the same for the same alarm."""
    return f"{model}/{hashlib.sha256(alarm.encode()).hexdigest()[:32]}.json"


class DriftStore:
    """The store. `address` is as pyarrow takes it; credentials are those of the process's role."""

    def __init__(self, address: str) -> None:
        self._address = address

    def put(self, name: str, body: str) -> None:
        """Put an object.

        Raises:
            OSError: the store did not take it.
        """
        system, base = fs.FileSystem.from_uri(self._address)
        target = f"{base.rstrip('/')}/{name}"
        if system.type_name == "local":  # object stores have no folders
            system.create_dir(target.rpartition("/")[0], recursive=True)
        with system.open_output_stream(target) as out:
            out.write(body.encode())


class Drift:
    """Alarms of drift on their way to who trains. Its methods belong to the controller's event loop."""

    def __init__(self, store: Store, put: Callable[[str, str], None], *, retry_seconds: float = _RETRY_SECONDS) -> None:
        """Make it.

        Args:
            store: the controller's state.
            put: puts an object by name and content, such as `DriftStore.put`; called in a thread.
            retry_seconds: pause after a store that did not take one.
        """
        self._store, self._put, self._retry = store, put, retry_seconds
        self._new, self._error = asyncio.Event(), ""

    def note(self, connection: sa.Connection, model: str, alarm: Mapping[str, Any], by: str, at: float) -> None:
        """Note an alarm, in the transaction that takes it; it is put when that is over.

        Args:
            connection: of the transaction.
            model: whose data drifted.
            alarm: the alarm, with its `id`.
            by: the monitor.
            at: seconds since 1970.
        """
        body = json.dumps({**alarm, "model": model, "by": by, "at": at}, sort_keys=True)
        connection.execute(drift_table.insert(), {"model": model, "id": alarm["id"], "body": body, "at": at})
        self._new.set()

    async def run(self) -> None:
        """Put what is noted until cancelled."""
        while True:
            self._new.clear()
            try:
                await self.put_waiting()
                self._error = ""
            except LeaseLostError:
                # The controller ends; its successor puts what is left.
                return
            except Exception as error:
                if str(error) != self._error:
                    log.exception("alarms of drift are not told yet; it is tried again")
                self._error = str(error)
                await asyncio.sleep(self._retry)
                continue
            await self._new.wait()

    async def put_waiting(self) -> None:
        """Put what waits, oldest first.

        Raises:
            OSError: the store did not take one; it and those after it still wait.
        """
        for model, alarm, body in await asyncio.to_thread(self._waiting):
            await asyncio.to_thread(self._put, object_name(model, alarm), body)
            self._store.take_in(Draft(writes=[partial(_mark, model=model, alarm=alarm, at=self._store.time)]))
            log.info("%s: the alarm of drift %s is told to who trains", model, alarm)

    def _waiting(self) -> list[tuple[str, str, str]]:
        columns = drift_table.c
        query = sa.select(columns.model, columns.id, columns.body).where(columns.put.is_(None)).order_by(columns.at)
        with self._store.database.engine.connect() as connection:
            return [(model, alarm, body) for model, alarm, body in connection.execute(query)]


def _mark(connection: sa.Connection, model: str, alarm: str, at: float) -> None:
    columns = drift_table.c
    connection.execute(drift_table.update().where(columns.model == model, columns.id == alarm).values(put=at))
