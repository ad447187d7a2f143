"""What is written in one transaction: models, messages, counters and ledger entries; memory follows the commit.

A `Draft` collects the changes of one step. If the transaction is refused, the draft is dropped and memory still says
what the database says. If the database went away in its course, only the database knows whether it was taken: memory is
then read anew before anything else is decided (`renew`), so that no step is written twice and none is lost.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from policies.ledger.chain import Entry
from policies.ledger.events import AnyEvent
from policies.ledger.store import Ledger
from serving.control.database import Database
from serving.control.managed import Managed
from serving.control.schema import documents, messages, replicas, series
from serving.control.series import Key

KIND = "managed"
_KEPT_MESSAGES = 1_000
_SHOWN_MESSAGES = 500


@dataclass
class Said:
    """A message about a model, as it will be kept."""

    model: str
    rollout: str
    level: str
    text: str


@dataclass
class Draft:
    """The changes of one step."""

    managed: dict[str, Managed] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    said: list[Said] = field(default_factory=list)
    events: list[AnyEvent] = field(default_factory=list)
    added: dict[Key, float] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    generation: int | None = None
    writes: list[Callable[[sa.Connection], None]] = field(default_factory=list)
    """What else is written in the same transaction."""

    def add(self, counts: Mapping[Key, float]) -> None:
        """Add to counters."""
        for key, value in counts.items():
            self.added[key] = self.added.get(key, 0.0) + value

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        parts = (self.managed, self.removed, self.said, self.events, self.added, self.sequences, self.writes)
        return not any(parts) and self.generation is None


@dataclass
class Records:
    """The tables, and what of them is kept in memory."""

    database: Database
    ledger: Ledger
    managed: dict[str, Managed] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    series: dict[Key, float] = field(default_factory=dict)
    generation: int = 0
    doubtful: bool = False
    """Whether the database went away while it was written to, so that memory may be behind."""

    def read(self) -> None:
        """Read everything."""
        with self.database.engine.connect() as connection:
            stored = list(connection.execute(documents.select()))
            sequences = {row.id: row.sequence for row in connection.execute(replicas.select())}
            counters = {
                (kind, model, version, label): value
                for kind, model, version, label, value in connection.execute(series.select())
            }
        self.managed = {
            identifier: Managed.model_validate_json(body) for kind, identifier, body in stored if kind == KIND
        }
        self.generation = next((json.loads(body) for kind, _, body in stored if kind == "meta"), 0)
        self.sequences, self.series = sequences, counters
        self.doubtful = False

    def renew(self) -> bool:
        """Read everything anew if the last transaction may have been taken unseen; says whether it did.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is still away.
        """
        if not self.doubtful:
            return False
        self.read()
        return True

    def commit(self, draft: Draft, now: float) -> list[Entry]:
        """Write a draft, all or nothing, and return its ledger entries.

        Args:
            draft: the changes.
            now: seconds since 1970.
        """
        try:
            values, entries = self._write(draft, now)
        except sa.exc.SQLAlchemyError:
            self.doubtful = True
            raise
        self.managed |= draft.managed
        for name in draft.removed:
            self.managed.pop(name, None)
        self.series |= values
        self.sequences |= draft.sequences
        if draft.generation is not None:
            self.generation = draft.generation
        return entries

    def _write(self, draft: Draft, now: float) -> tuple[dict[Key, float], list[Entry]]:
        """Write a draft in one transaction; return the counters as they are now, and the ledger's entries."""
        values = {key: self.series.get(key, 0.0) + added for key, added in draft.added.items()}
        with self.database.transaction() as connection:
            for name, managed in draft.managed.items():
                body = {"kind": KIND, "id": name, "body": managed.model_dump_json(by_alias=True)}
                self.database.upsert(connection, documents, body)
            for name in draft.removed:
                connection.execute(documents.delete().where(documents.c.kind == KIND, documents.c.id == name))
            for key, value in values.items():
                row = dict(zip(("kind", "model", "version", "label"), key, strict=True))
                self.database.upsert(connection, series, row | {"value": value})
            for replica, sequence in draft.sequences.items():
                self.database.upsert(connection, replicas, {"id": replica, "sequence": sequence, "seen": now})
            self._say(connection, draft.said, now)
            if draft.generation is not None:
                self.database.write(connection, "meta", "generation", draft.generation)
            for write in draft.writes:
                write(connection)
            entries = self.ledger.append(draft.events, connection)
        return values, entries

    def said(self, model: str, rollout: str) -> list[dict[str, Any]]:
        """Return what was said about a rollout, oldest first."""
        query = (
            sa.select(messages)
            .where(messages.c.model == model, messages.c.rollout == rollout)
            .order_by(messages.c.seq.desc())
            .limit(_SHOWN_MESSAGES)
        )
        with self.database.engine.connect() as connection:
            rows = list(connection.execute(query))
        return [{"seq": row.seq, "at": row.at, "level": row.level, "text": row.text} for row in reversed(rows)]

    def forget(self, before: float, versions: Iterable[tuple[str, str]]) -> None:
        """Drop replicas that were last seen before a time, counters of versions, and old messages."""
        dropped = set(versions)
        with self.database.transaction() as connection:
            connection.execute(replicas.delete().where(replicas.c.seen < before))
            for model, version in dropped:
                connection.execute(series.delete().where(series.c.model == model, series.c.version == version))
            for name in self.managed:
                last = connection.execute(
                    sa.select(sa.func.max(messages.c.seq)).where(messages.c.model == name)
                ).scalar()
                if last is not None:
                    old = messages.c.seq <= last - _KEPT_MESSAGES
                    connection.execute(messages.delete().where(messages.c.model == name, old))
        self.series = {key: value for key, value in self.series.items() if (key[1], key[2]) not in dropped}

    @staticmethod
    def _say(connection: sa.Connection, said: Iterable[Said], now: float) -> None:
        for one in said:
            query = sa.select(sa.func.coalesce(sa.func.max(messages.c.seq), 0)).where(messages.c.model == one.model)
            seq = connection.execute(query).scalar_one() + 1
            row = {"model": one.model, "seq": seq, "rollout": one.rollout, "at": now, "level": one.level}
            connection.execute(messages.insert().values(row | {"text": one.text}))
