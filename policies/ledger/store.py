"""The ledger in a SQL database: SQLite locally, PostgreSQL elsewhere. The only file here that knows SQLAlchemy.

A row in `ledger_head` is both the end of the chain and the lock: whoever appends updates it first, so that writers of
all threads, processes and machines follow one another, numbers have no gaps, and an append that is rolled back leaves
no trace. An append can be part of the caller's own transaction; then state and audit are written together or not at
all.
"""

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa

from policies.ledger.chain import Entry, Head, Prepared, genesis, link, prepare, timestamp
from policies.ledger.checkpoint import Checkpoint
from policies.ledger.events import AnyEvent, Kind
from policies.ledger.verification import Finding, Report, verify
from policies.releases.signing import PublicKey

Clock = Callable[[], datetime]

_PAGE = 1_000
_WRITE = "mlops_write"
# How long a writer waits for the others, in seconds.
_BUSY_SECONDS = 30

_metadata = sa.MetaData()
_text = sa.Text()
entries_table = sa.Table(
    "ledger_entries",
    _metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(27), nullable=False, index=True),
    sa.Column("kind", _text, nullable=False),
    sa.Column("person", _text, nullable=False),
    sa.Column("model", _text),
    sa.Column("version", _text),
    sa.Column("digest", _text),
    sa.Column("what", _text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ledger_entries_model", "model", "seq"),
    sa.Index("ledger_entries_person", "person", "seq"),
    sa.Index("ledger_entries_kind", "kind", "seq"),
)
head_table = sa.Table(
    "ledger_head",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ledger", sa.String(32), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
# Against accidents. Against intent there are the chain and the checkpoints.
_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER ledger_no_{operation} BEFORE {operation} ON ledger_entries "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for operation in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()",
    ],
}


@dataclass(frozen=True)
class Query:
    """Which entries are wanted; what is None does not narrow. Times: from `since` on, before `until`."""

    since: datetime | None = None
    until: datetime | None = None
    model: str | None = None
    person: str | None = None
    kinds: Collection[Kind] | None = None
    digest: str | None = None
    after: int = 0
    up_to: int | None = None
    limit: int | None = None


def open_engine(url: str, **options: Any) -> sa.Engine:
    """Make an engine that is fit for the ledger and for tables that change in one transaction with it.

    On SQLite: write-ahead log, each commit reaches the disk before it returns, and `write_transaction` takes the write
    lock at its begin, so that no transaction fails half way because another one wrote in between.

    Args:
        url: `sqlite:////absolute/path` or a URL of PostgreSQL.
        options: passed on to SQLAlchemy.
    """
    engine = sa.create_engine(url, **options)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    # The driver's own way of beginning transactions is switched off: `_on_begin` does it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """Have the write-ahead log: of several who give it to a new database at once SQLite lets one alone wait."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _on_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def write_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Begin a transaction that will write, on an engine by `open_engine`: committed at the end, or rolled back."""
    with engine.execution_options(**{_WRITE: True}).begin() as connection:
        yield connection


class LedgerDamagedError(Exception):
    """The ledger can't be used: what it consists of is not there."""


class Ledger:
    """An append-only ledger in a database. Safe to share between threads."""

    def __init__(self, engine: sa.Engine, clock: Clock | None = None, *, create: bool = True) -> None:
        """Use the ledger in a database, making its tables on first use.

        Args:
            engine: made by `open_engine`.
            clock: returns the time that entries are stamped with; the machine's by default.
            create: whether to make the tables. An auditor does not, and needs no right to write.

        Raises:
            LedgerDamagedError: there is no ledger to be read, or it lacks a part.
        """
        self.engine = engine
        self._clock = clock or (lambda: datetime.now(UTC))
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        try:
            if create:
                with write_transaction(engine) as connection:
                    _create(connection)
            with engine.connect() as connection:
                found = _identity(connection)
        except sa.exc.DatabaseError as error:
            if type(error) is not sa.exc.DatabaseError:  # the others say that it is locked, away, or not writable
                raise
            raise LedgerDamagedError(f"the ledger's database can't be read: {error.orig}") from None
        self.id: str = found
        """Random, made with the ledger: part of its first hash and of each checkpoint."""

    def append(self, events: Iterable[AnyEvent], connection: sa.Connection | None = None) -> list[Entry]:
        """Append events, all or none, and return their entries.

        Args:
            events: the events, in order.
            connection: the caller's transaction, for example of `write_transaction`. The entries are durable when it
                is committed; until then all other writers wait. Without it they are durable on return.

        Raises:
            SecretRefusedError: an event holds what looks like a secret.
            ValueError: an event is too large.
        """
        return self.append_prepared([prepare(event) for event in events], connection)

    def append_prepared(self, prepared: Sequence[Prepared], connection: sa.Connection | None = None) -> list[Entry]:
        """Append events that `prepare` has checked; otherwise as `append`."""
        if not prepared:
            return []
        if connection is None:
            with write_transaction(self.engine) as own:
                return self._append(prepared, own)
        return self._append(prepared, connection)

    def _append(self, prepared: Sequence[Prepared], connection: sa.Connection) -> list[Entry]:
        # Update first: it takes the lock and reads in one, also in a transaction that was begun without one.
        seq, previous = connection.execute(_ADVANCE, {"count": len(prepared)}).one()
        entries = list(link(Head(seq - len(prepared), previous), timestamp(self._clock()), prepared))
        connection.execute(_INSERT, [entry._asdict() for entry in entries])
        connection.execute(_SET_HASH, {"new_hash": entries[-1].hash})
        return entries

    def head(self) -> Head:
        """Return the end of the chain."""
        with self.engine.connect() as connection:
            return Head(*connection.execute(sa.select(head_table.c.seq, head_table.c.hash)).one())

    def entries(self, query: Query | None = None) -> Iterator[Entry]:
        """Return the entries of a query in order, read in pages: memory stays small and no writer is held up."""
        return map(Entry._make, self._rows(query or Query()))

    def _rows(self, wanted: Query) -> Iterator[Entry]:
        """The rows of `entries`: plain tuples as the driver gives them.

        Rows of SQLAlchemy and named tuples would be half of the time of a verification; no column needs a conversion.
        """
        after, left = wanted.after, wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            with self.engine.connect() as connection:
                cursor = connection.execute(_select(replace(wanted, after=after)).limit(size)).cursor
                assert cursor is not None  # a SELECT always has one
                try:
                    rows = cast("list[Entry]", cursor.fetchall())
                except self._driver_error as error:
                    raise sa.exc.DBAPIError("the entries of the ledger", None, error) from error
            yield from rows
            if len(rows) < size:
                return
            after = rows[-1][0]
            left = None if left is None else left - size

    def verify(self, checkpoints: Iterable[Checkpoint], keys: Collection[PublicKey]) -> Report:
        """Verify all that is there now, while others may go on appending. See `verification.verify`."""
        known = list(checkpoints)  # before the head: none of these may be about entries that come later
        failure: list[str] = []
        try:
            head = self.head()
        except sa.exc.NoResultFound:
            report = verify(self.id, self.entries(), known, keys)
            return replace(report, findings=(*report.findings, Finding("the head record is missing")))
        except sa.exc.DatabaseError as error:
            unreadable = Finding(f"the database can't be read: {error.orig}")
            return Report((unreadable,), 0, genesis(self.id), len(known), 0, None, 0)
        report = verify(self.id, self._readable(head, failure), known, keys, head)
        if not failure:
            return report
        first = report.head.seq + 1
        broken = Finding(
            f"the database can't be read after entry {first - 1}: {failure[0]}", first, max(head.seq, first)
        )
        return replace(report, findings=(broken, *report.findings))

    def _readable(self, head: Head, failure: list[str]) -> Iterator[Entry]:
        """All entries; what stops the database from giving them is put into `failure` instead of raised."""
        try:
            yield from self._rows(Query(up_to=head.seq))
            # Entries beyond the head record: either just appended, or put there by somebody who forgot the record.
            beyond = next(self.entries(Query(after=head.seq, limit=1)), None)
            if beyond is not None and self.head() == head:
                yield beyond
        except sa.exc.DBAPIError as error:
            failure.append(str(error.orig))


def _create(connection: sa.Connection) -> None:
    """Make what is not there yet; one process does, when several come up at once."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7306085893296906595)"))
    if sa.inspect(connection).has_table(head_table.name):
        return
    _metadata.create_all(connection)
    for statement in _APPEND_ONLY.get(dialect, ()):
        connection.exec_driver_sql(statement)
    ledger = secrets.token_hex(16)
    connection.execute(head_table.insert().values(id=1, ledger=ledger, seq=0, hash=genesis(ledger).hash))


def _identity(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(head_table.name):
        raise LedgerDamagedError("the database holds no ledger")
    found = connection.execute(sa.select(head_table.c.ledger)).scalar()
    if found is None:
        raise LedgerDamagedError("the ledger has no head record: somebody removed it")
    return str(found)


_ADVANCE = (
    sa.update(head_table)
    .where(head_table.c.id == 1)
    .values(seq=head_table.c.seq + sa.bindparam("count", type_=sa.BigInteger))
    .returning(head_table.c.seq, head_table.c.hash)
)
_SET_HASH = sa.update(head_table).where(head_table.c.id == 1).values(hash=sa.bindparam("new_hash"))
_INSERT = sa.insert(entries_table)


def _select(query: Query) -> sa.Select[Any]:
    table = entries_table.c
    select = sa.select(entries_table).where(table.seq > query.after).order_by(table.seq)
    if query.up_to is not None:
        select = select.where(table.seq <= query.up_to)
    if query.since is not None:
        select = select.where(table.time >= timestamp(query.since))
    if query.until is not None:
        select = select.where(table.time < timestamp(query.until))
    if query.model is not None:
        select = select.where(table.model == query.model)
    if query.person is not None:
        select = select.where(table.person == query.person)
    if query.digest is not None:
        select = select.where(table.digest == query.digest)
    if query.kinds is not None:
        select = select.where(table.kind.in_(sorted(query.kinds)))
    return select
