"""Labels that arrived, in the controller's database: each is stored once, before whoever sent it is told so.

A label waits here for the captured prediction that it is about, and is kept as long as captures are, so that it can
neither be missed (a prediction may be written after its label came) nor count twice (a label that is sent again, a
prediction that is read again). How the two meet is in `joining`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from policies.ledger.store import write_transaction
from serving.control.admission import RefusedError
from serving.control.database import Database
from serving.control.schema import metadata

MOST = 10_000
"""Labels in one request."""
_SOME = 500
"""Ids in one query."""

labels_table = sa.Table(
    "labels", metadata,
    sa.Column("model", sa.String, primary_key=True), sa.Column("id", sa.String, primary_key=True),
    sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Text, nullable=False), sa.Column("output", sa.String, nullable=False),
    sa.Column("tolerance", sa.Float), sa.Column("received", sa.Float, nullable=False),
    sa.Column("searched", sa.Boolean, nullable=False), sa.Column("joined", sa.Text, nullable=False),
    sa.Index("labels_searched", "model", "searched"), sa.Index("labels_received", "received"),
)  # fmt: skip
files_table = sa.Table(
    "label_files", metadata,
    sa.Column("model", sa.String, primary_key=True), sa.Column("path", sa.String, primary_key=True),
)  # fmt: skip


class DifferentLabelError(Exception):
    """A label is known with another value; the message names some of them."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A stored label; `joined` holds the digests of the versions that it was compared with."""

    id: str
    row: int
    value: Any
    output: str
    tolerance: float | None
    joined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A request with labels, checked: (request id, row, value), and what they are compared with."""

    labels: tuple[tuple[str, int, Any], ...]
    output: str
    tolerance: float | None


def read_labels(body: Mapping[str, Any]) -> Received:
    """Read what a replica hands on.

    Raises:
        RefusedError: it is malformed.
    """
    try:
        labels = tuple((str(one), int(row), value) for one, row, value in body["labels"])
        output, tolerance = str(body["output"]), body["tolerance"]
        received = Received(labels, output, None if tolerance is None else float(tolerance))
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"the labels are malformed: {error}") from None
    if not 0 < len(labels) <= MOST or len({label[:2] for label in labels}) < len(labels):
        raise RefusedError(f"the labels are malformed: expected 1 to {MOST}, each row once")
    if not all(isinstance(value, bool | int | float | str) for _, _, value in labels):
        raise RefusedError("the labels are malformed: a label is a number, text, true or false")
    return received


class Labels:
    """The tables. What is read may be read in any thread; what is written goes into the controller's transactions."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        with write_transaction(self._engine) as connection:
            metadata.create_all(connection)

    def new(self, model: str, received: Received) -> Sequence[tuple[str, int, Any]]:
        """Return the labels that are not known yet.

        Raises:
            DifferentLabelError: one is known with another value. A label that has counted cannot be taken back.
        """
        known: dict[tuple[str, int], str] = {}
        columns = sa.select(labels_table.c.id, labels_table.c.row, labels_table.c.value)
        with self._engine.connect() as connection:
            for some in _pieces({label[0] for label in received.labels}):
                found = connection.execute(columns.where(labels_table.c.model == model, labels_table.c.id.in_(some)))
                known |= {(row.id, row.row): row.value for row in found}
        new, other = [], []
        for one, row, value in received.labels:
            before = known.get((one, row))
            if before is None:
                new.append((one, row, value))
            elif before != json.dumps(value):
                other.append(f"{one} row {row}")
        if other:
            shown = ", ".join(other[:5]) + (f" and {len(other) - 5} more" if len(other) > 5 else "")
            raise DifferentLabelError(
                f"another label is stored already for {shown}; the first one counts, none of this request was taken"
            )
        return new

    @staticmethod
    def insert(
        connection: sa.Connection, model: str, received: Received, new: Iterable[tuple[str, int, Any]], now: float
    ) -> None:
        """Store new labels."""
        same = {"model": model, "output": received.output, "tolerance": received.tolerance, "received": now}
        rows = [
            {"id": one, "row": row, "value": json.dumps(value), "searched": False, "joined": ""} | same
            for one, row, value in new
        ]
        if rows:
            connection.execute(labels_table.insert(), rows)

    def models(self) -> set[str]:
        """Return the models that have labels."""
        with self._engine.connect() as connection:
            return set(connection.execute(sa.select(labels_table.c.model).distinct()).scalars())

    def unsearched(self, model: str, most: int) -> list[Pending]:
        """Return labels that were not looked for in the files that are there, oldest first."""
        query = sa.select(labels_table).where(labels_table.c.model == model, sa.not_(labels_table.c.searched))
        with self._engine.connect() as connection:
            return [_pending(row) for row in connection.execute(query.order_by(labels_table.c.received).limit(most))]

    def searched(self, model: str, ids: Iterable[str]) -> list[Pending]:
        """Return the labels about these requests that were looked for in the files before."""
        wanted = sa.select(labels_table).where(labels_table.c.model == model, labels_table.c.searched)
        found: list[Pending] = []
        with self._engine.connect() as connection:
            for some in _pieces(ids):
                found += map(_pending, connection.execute(wanted.where(labels_table.c.id.in_(some))))
        return found

    def any_searched(self, model: str) -> bool:
        """Say whether a model has labels that were looked for before."""
        query = sa.select(labels_table.c.id).where(labels_table.c.model == model, labels_table.c.searched).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    @staticmethod
    def mark_searched(connection: sa.Connection, model: str, labels: Iterable[Pending]) -> None:
        """Say that labels were looked for in all files that are known."""
        _update(connection, {"searched": True}, [_key(model, one.id, one.row) for one in labels])

    @staticmethod
    def mark_joined(connection: sa.Connection, model: str, joined: Mapping[tuple[str, int], Sequence[str]]) -> None:
        """Say which versions' predictions labels were compared with."""
        keys = [_key(model, *key) | {"new_joined": " ".join(digests)} for key, digests in joined.items()]
        _update(connection, {"joined": sa.bindparam("new_joined")}, keys)

    def files(self, model: str) -> set[str]:
        """Return the files whose predictions all labels that were looked for have been compared with."""
        with self._engine.connect() as connection:
            query = sa.select(files_table.c.path).where(files_table.c.model == model)
            return set(connection.execute(query).scalars())

    @staticmethod
    def add_files(connection: sa.Connection, model: str, paths: Iterable[Path | str]) -> None:
        """Add files to those."""
        rows = [{"model": model, "path": str(path)} for path in paths]
        if rows:
            connection.execute(files_table.insert(), rows)

    @staticmethod
    def drop_files(connection: sa.Connection, model: str, paths: Iterable[str]) -> None:
        """Forget files that are gone."""
        for some in _pieces(paths):
            connection.execute(files_table.delete().where(files_table.c.model == model, files_table.c.path.in_(some)))

    def old(self, before: float, most: int) -> list[tuple[str, str, int, bool]]:
        """Return labels that came before a time: model, request, row, and whether a prediction was found."""
        query = sa.select(labels_table).where(labels_table.c.received < before).limit(most)
        with self._engine.connect() as connection:
            return [(one.model, one.id, one.row, bool(one.joined)) for one in connection.execute(query)]

    @staticmethod
    def delete(connection: sa.Connection, keys: Iterable[tuple[str, str, int]]) -> None:
        """Delete labels."""
        rows = [_key(*key) for key in keys]
        if rows:
            connection.execute(labels_table.delete().where(*_matching()), rows)


def _pieces(ids: Iterable[str]) -> Iterator[list[str]]:
    """Take ids apart into as many as a query may name."""
    rest = iter(ids)
    while some := list(islice(rest, _SOME)):
        yield some


def _pending(row: Any) -> Pending:
    return Pending(row.id, row.row, json.loads(row.value), row.output, row.tolerance, tuple(row.joined.split()))


def _key(model: str, identifier: str, row: int) -> dict[str, Any]:
    return {"the_model": model, "the_id": identifier, "the_row": row}


def _matching() -> tuple[sa.ColumnElement[bool], ...]:
    return (
        labels_table.c.model == sa.bindparam("the_model"),
        labels_table.c.id == sa.bindparam("the_id"),
        labels_table.c.row == sa.bindparam("the_row"),
    )


def _update(connection: sa.Connection, values: Mapping[str, Any], keys: list[dict[str, Any]]) -> None:
    if keys:
        connection.execute(labels_table.update().where(*_matching()).values(dict(values)), keys)
