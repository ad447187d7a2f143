"""Keep models, rollouts, replicas and counters, in a SQL database and in memory; apply what `rollout` decides.

Every change is one transaction and raises the generation; the signed snapshot follows it. Only one process writes.
"""

import datetime
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Float, Integer, MetaData, String, Table, Text, create_engine, event
from sqlalchemy.dialects.sqlite import insert

from serving.control.rollout import LIVE_SECONDS, Decision, Seen, decide
from serving.control.series import Key, SeriesError, read_batch, surplus
from serving.state import Entry, Release, State, StateError, write_snapshot

log = logging.getLogger(__name__)

_META = MetaData()
_DOCUMENTS = Table(
    "documents", _META, Column("kind", String, primary_key=True), Column("id", String, primary_key=True),
    Column("body", Text, nullable=False),
)  # fmt: skip
_REPLICAS = Table(
    "replicas", _META, Column("id", String, primary_key=True), Column("sequence", Integer, nullable=False),
    Column("seen", Float, nullable=False),
)  # fmt: skip
_SERIES = Table(
    "series", _META, Column("kind", String, primary_key=True), Column("model", String, primary_key=True),
    Column("version", String, primary_key=True), Column("label", String, primary_key=True),
    Column("value", Float, nullable=False),
)  # fmt: skip

_FORGET_SECONDS = 7 * 24 * 3600.0


class RefusedError(Exception):
    """A request of a caller cannot be met; the message says why."""


@dataclass(slots=True)
class _Replica:
    group: str
    at: float
    models: Mapping[str, Seen]


class Store:
    """The state of the control plane. Its methods are called from one thread."""

    def __init__(
        self, database: str, snapshot: Path, key: str, *, rollout_seconds: float, clock: Callable[[], float]
    ) -> None:
        """Open the database and write the snapshot.

        Args:
            database: SQLAlchemy address.
            snapshot: path of the signed snapshot.
            key: what it is signed with.
            rollout_seconds: time after which a rollout has failed.
            clock: the time in seconds since the epoch.
        """
        self._snapshot, self._key, self._seconds, self._clock = snapshot, key, rollout_seconds, clock
        if database.startswith("sqlite:///"):
            Path(database.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(database)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _tune)
        _META.create_all(self._engine)
        self._replicas: dict[str, _Replica] = {}
        self._snapshot_due = True
        self._generation = 0
        self._entries: dict[str, Entry] = {}
        self._rollouts: dict[str, dict[str, Any]] = {}
        self._sequences: dict[str, int] = {}
        self.series: dict[Key, float] = {}
        with self._engine.begin() as connection:
            self._read(connection)
        self.write_snapshot()

    @property
    def state(self) -> State:
        """What is published now."""
        return State(self._generation, dict(self._entries))

    def replicas(self) -> dict[str, int]:
        """Return the number of live replicas by group."""
        counts: dict[str, int] = {}
        for replica in self._live().values():
            counts[replica.group] = counts.get(replica.group, 0) + 1
        return counts

    def model(self, name: str) -> dict[str, Any] | None:
        """Return a model as the API shows it, None if it is unknown."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        rollout = self._rollouts.get(name)
        stable = entry.stable
        return {
            "model": name,
            "group": entry.to_json()["group"],
            "served": stable and {"version": stable.version, "digest": stable.digest},
            "previous": entry.previous and {"version": entry.previous.version, "digest": entry.previous.digest},
            "rollout": rollout and _public(rollout),
        }

    def models(self) -> list[str]:
        """Return the names of all models."""
        return sorted(self._entries)

    def release(self, name: str, release: Release, strategy: Mapping[str, Any], approval: Any) -> dict[str, Any]:
        """Start a rollout; asking for what is served already, or for what is rolling out, changes nothing.

        Returns:
            The rollout as the API shows it.

        Raises:
            RefusedError: the strategy is not available.
        """
        if strategy.get("kind") != "all-at-once":
            kind = strategy.get("kind")
            raise RefusedError(f"strategy.kind: {kind!r} is not available here yet; allowed: all-at-once")
        entry = self._entries.get(name, Entry())
        current = self._rollouts.get(name)
        running = current is not None and current["state"] == "progressing"
        if running and entry.candidate == release and current is not None:
            return _public(current)
        now = self._clock()
        rollout: dict[str, Any] = {
            "id": uuid.uuid4().hex[:12],
            "state": "progressing",
            "phase": "loading",
            "reason": "",
            "release": release.to_json(),
            "strategy": dict(strategy),
            "approval": approval,
            "deadline": now + self._seconds,
            "base": entry.to_json(),
            "steps": [],
        }
        if entry.stable == release and not running:
            if current is not None and current["state"] == "promoted":
                return _public(current)
            rollout |= {"state": "promoted", "phase": "promoted"}
            self._say(rollout, now, f"version {release.version} is served already")
            with self._engine.begin() as connection:
                self._keep(connection, name, entry, rollout)
            return _public(rollout)
        if running and current is not None:
            self._say(rollout, now, f"takes the place of the rollout {current['id']}")
        # A rollout that is replaced while it switches had published its candidate: what was before it is the base.
        base = _base(current) if running and current is not None else entry
        rollout["base"] = base.to_json()
        self._say(rollout, now, f"version {release.version} is loaded by the replicas of group {release.group!r}")
        with self._engine.begin() as connection:
            self._keep(connection, name, Entry(base.stable, base.previous, release), rollout)
        self.write_snapshot()
        return _public(rollout)

    def delete(self, name: str) -> bool:
        """Stop serving a model; says whether it was known."""
        if name not in self._entries:
            return False
        with self._engine.begin() as connection:
            del self._entries[name]
            self._rollouts.pop(name, None)
            for kind in ("model", "rollout"):
                connection.execute(_DOCUMENTS.delete().where(_DOCUMENTS.c.kind == kind, _DOCUMENTS.c.id == name))
            self._raise(connection)
        self.write_snapshot()
        return True

    def report(self, replica: str, report: Any) -> int:
        """Take a replica's report; returns the number of the last batch of counters that was taken from it.

        Raises:
            RefusedError: it is malformed.
        """
        now = self._clock()
        try:
            models = {str(name): _seen(replica, now, status) for name, status in report["models"].items()}
            batches = [read_batch(batch) for batch in report["counters"]]
            self._replicas[replica] = _Replica(str(report["group"]), now, models)
        except (KeyError, TypeError, AttributeError, ValueError, SeriesError) as error:
            raise RefusedError(f"the report is malformed: {error}") from None
        last = self._sequences.get(replica, 0)
        fresh = [(sequence, added) for sequence, added in sorted(batches, key=lambda b: b[0]) if sequence > last]
        if fresh:
            with self._engine.begin() as connection:
                for sequence, added in fresh:
                    self._add(connection, added)
                    last = sequence
                row = {"id": replica, "sequence": last, "seen": now}
                statement = insert(_REPLICAS).values(row)
                connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))
            self._sequences[replica] = last
        self.step()
        return last

    def step(self) -> None:
        """Move every rollout as far as it can go, and write the snapshot if that has failed before."""
        now = self._clock()
        for name, rollout in self._rollouts.items():
            while rollout["state"] == "progressing":
                release = Release.from_json(rollout["release"])
                seen = [
                    replica.models.get(name, Seen(identifier, replica.at))
                    for identifier, replica in self._replicas.items()
                    if replica.group == release.group
                ]
                decision = decide(
                    rollout["phase"],
                    (release.version, release.digest),
                    seen,
                    now=now,
                    deadline=rollout["deadline"],
                    group=release.group,
                )
                if decision.phase == rollout["phase"]:
                    break
                self._move(name, rollout, release, decision, now)
        if self._snapshot_due:
            self.write_snapshot()

    def forget(self) -> None:
        """Drop replicas that are long gone, and the counters of versions that are."""
        now = self._clock()
        served = {
            name: {release.version for release in (e.stable, e.previous, e.candidate) if release}
            for name, e in self._entries.items()
        }
        old = surplus(self.series, served)
        with self._engine.begin() as connection:
            connection.execute(_REPLICAS.delete().where(_REPLICAS.c.seen < now - _FORGET_SECONDS))
            for model, version in old:
                connection.execute(_SERIES.delete().where(_SERIES.c.model == model, _SERIES.c.version == version))
        self.series = {key: value for key, value in self.series.items() if (key[1], key[2]) not in old}
        self._replicas = self._live()

    def write_snapshot(self) -> None:
        """Write the signed snapshot; a full disk is reported and tried again later."""
        try:
            write_snapshot(self._snapshot, self._key, self.state)
        except OSError as error:
            self._snapshot_due = True
            log.error("the snapshot cannot be written, replicas would start from an older one: %s", error)  # noqa: TRY400
        else:
            self._snapshot_due = False

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _move(self, name: str, rollout: dict[str, Any], release: Release, decision: Decision, now: float) -> None:
        entry = self._entries[name]
        rollout["phase"] = decision.phase
        if decision.phase == "switching":
            entry = Entry(release, _before(entry, release), release)
            self._say(rollout, now, f"{decision.reason}; now it becomes stable")
        elif decision.phase == "promoted":
            entry = Entry(entry.stable, entry.previous)
            self._say(rollout, now, f"promoted: {decision.reason}")
        else:
            entry = _base(rollout)
            self._say(rollout, now, f"failed: {decision.reason}")
            rollout["reason"] = decision.reason
        if decision.phase != "switching":
            rollout["state"] = decision.phase
        with self._engine.begin() as connection:
            if decision.phase != "switching":
                self._add(connection, {("rollouts", name, "", decision.phase): 1.0})
            self._keep(connection, name, entry, rollout)
        self.write_snapshot()

    def _keep(self, connection: Connection, name: str, entry: Entry, rollout: dict[str, Any]) -> None:
        self._entries[name], self._rollouts[name] = entry, rollout
        self._write(connection, "model", name, entry.to_json())
        self._write(connection, "rollout", name, rollout)
        self._raise(connection)

    def _raise(self, connection: Connection) -> None:
        self._generation += 1
        self._write(connection, "meta", "generation", self._generation)

    @staticmethod
    def _write(connection: Connection, kind: str, identifier: str, body: Any) -> None:
        row = {"kind": kind, "id": identifier, "body": json.dumps(body)}
        statement = insert(_DOCUMENTS).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["kind", "id"], set_=row))

    def _add(self, connection: Connection, added: Mapping[Key, float]) -> None:
        for key, value in added.items():
            self.series[key] = self.series.get(key, 0.0) + value
            row = dict(zip(("kind", "model", "version", "label"), key, strict=True)) | {"value": self.series[key]}
            statement = insert(_SERIES).values(row)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["kind", "model", "version", "label"], set_={"value": row["value"]}
                )
            )

    def _live(self) -> dict[str, _Replica]:
        now = self._clock()
        return {name: replica for name, replica in self._replicas.items() if now - replica.at <= LIVE_SECONDS}

    def _read(self, connection: Connection) -> None:
        for kind, identifier, body in connection.execute(_DOCUMENTS.select()):
            document = json.loads(body)
            if kind == "meta":
                self._generation = document
            elif kind == "rollout":
                self._rollouts[identifier] = document
            else:
                self._entries[identifier] = Entry.from_json(document)
        for identifier, sequence, _ in connection.execute(_REPLICAS.select()):
            self._sequences[identifier] = sequence
        for kind, model, version, label, value in connection.execute(_SERIES.select()):
            self.series[kind, model, version, label] = value

    @staticmethod
    def _say(rollout: dict[str, Any], now: float, message: str) -> None:
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="milliseconds")
        rollout["steps"].append({"time": moment, "message": message})
        log.info("rollout %s: %s", rollout["id"], message)


def _base(rollout: Mapping[str, Any]) -> Entry:
    """Return what was served before the rollout began."""
    return Entry.from_json(rollout["base"])


def _before(entry: Entry, release: Release) -> Release | None:
    """Return what stays warm: the last stable, unless it is the same content in another group."""
    return entry.stable if entry.stable is not None and entry.stable != release else entry.previous


def _public(rollout: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: rollout[key] for key in ("id", "state", "phase", "reason", "steps")}
    return shown | {"version": rollout["release"]["version"], "digest": rollout["release"]["digest"]}


def _seen(replica: str, now: float, status: Any) -> Seen:
    serving = status["serving"]
    loaded = {(str(one["version"]), str(one["digest"])): one["error"] for one in status["versions"]}
    for error in loaded.values():
        if error is not None and not isinstance(error, str):
            raise StateError("error: expected text or null")
    return Seen(replica, now, serving and (str(serving["version"]), str(serving["digest"])), loaded)


def _tune(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
