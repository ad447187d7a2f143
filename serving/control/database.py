"""The controller's database: the ledger's engine, our tables (`serving.control.schema`) beside its, and the lease.

One process writes at a time. It holds the lease, a row with its name and a fencing number that goes up with each new
holder; each of its transactions first touches that row and only that number, so that a holder that was paused and
replaced cannot write any more, whatever it believes. When the lease ends is only for those who wait for it.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from policies.ledger.store import open_engine, write_transaction
from serving.control.schema import SchemaError, documents, lease, prepare

LEASE_SECONDS = 5.0
"""How long a holder that does not renew is waited for."""


class LeaseHeldError(Exception):
    """Another controller holds the lease; try again."""


class LeaseLostError(Exception):
    """Another controller has taken over: this one must not go on."""


class Database:
    """The database of one controller."""

    def __init__(self, url: str, holder: str, clock: Callable[[], float]) -> None:
        """Open it and take the lease.

        Args:
            url: SQLAlchemy address.
            holder: a name that no other process has.
            clock: seconds since 1970.

        Raises:
            LeaseHeldError: somebody else is at work.
            SchemaError: the database was written by a newer release of the blueprint.
        """
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.engine = open_engine(url)
        self._holder, self._clock = holder, clock
        try:
            with write_transaction(self.engine) as connection:
                prepare(connection)
            self.number = self._take()
        except (LeaseHeldError, SchemaError):
            self.engine.dispose()
            raise

    def _take(self) -> int:
        now = self._clock()
        with write_transaction(self.engine) as connection:
            row = connection.execute(sa.select(lease).where(lease.c.id == 1)).one_or_none()
            if row is None:
                values = {"id": 1, "holder": self._holder, "number": 1, "ends": now + LEASE_SECONDS}
                connection.execute(lease.insert().values(values))
                return 1
            # An end that is further away than any lease lasts is of a clock that was put back since.
            if row.holder and now < row.ends <= now + LEASE_SECONDS:
                raise LeaseHeldError(f"another controller ({row.holder}) is at work for {row.ends - now:.1f} s more")
            number = int(row.number) + 1
            changes = {"holder": self._holder, "number": number, "ends": now + LEASE_SECONDS}
            # Two that wait for the same end: PostgreSQL lets the second one see what the first one wrote.
            taken = connection.execute(
                lease.update().where(lease.c.id == 1, lease.c.number == row.number).values(changes)
            )
            if taken.rowcount != 1:
                raise LeaseHeldError("another controller was faster")
            return number

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Begin a transaction under the lease, which it renews.

        Raises:
            LeaseLostError: the lease is somebody else's by now; nothing was written.
        """
        with write_transaction(self.engine) as connection:
            kept = connection.execute(
                lease.update()
                .where(lease.c.id == 1, lease.c.number == self.number)
                .values(ends=self._clock() + LEASE_SECONDS)
            )
            if kept.rowcount != 1:
                raise LeaseLostError(f"fencing number {self.number} is no longer valid: another controller took over")
            yield connection

    def release(self) -> None:
        """Give the lease back, so that the next controller need not wait, and close."""
        with contextlib.suppress(LeaseLostError, sa.exc.SQLAlchemyError), self.transaction() as connection:
            connection.execute(lease.update().where(lease.c.id == 1).values(holder="", ends=0.0))
        self.engine.dispose()

    def upsert(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Write a row in place of the one with the same primary key."""
        dialect = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        keys = [column.name for column in table.primary_key]
        changes = {name: value for name, value in row.items() if name not in keys}
        statement = dialect.insert(table).values(dict(row))
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes))

    def write(self, connection: sa.Connection, kind: str, identifier: str, body: Any) -> None:
        """Write a document."""
        self.upsert(connection, documents, {"kind": kind, "id": identifier, "body": json.dumps(body)})
