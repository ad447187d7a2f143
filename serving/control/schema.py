"""The tables of the control plane, their version, and the way from each older version to the next.

The version stands in the database itself. A controller brings an older database to its own version before it takes the
lease, in one transaction, so that a step that fails leaves everything as it was; a newer one it refuses to touch, since
it cannot know what it would lose. The ledger's tables lie in the same database and are not ours: entries never change.

To change the schema: change the tables, raise `VERSION`, append a step to `_STEPS`, and record the database of before
as a test (`tests/serving/control/test_schema.py`). A step does not use the tables of this file: they are today's.
"""

import json
import logging
from collections.abc import Callable

import sqlalchemy as sa

log = logging.getLogger(__name__)

VERSION = 2

metadata = sa.MetaData()
schema = sa.Table(
    "control_schema", metadata, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)  # fmt: skip
documents = sa.Table(
    "documents", metadata,
    sa.Column("kind", sa.String, primary_key=True), sa.Column("id", sa.String, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)  # fmt: skip
replicas = sa.Table(
    "replicas", metadata, sa.Column("id", sa.String, primary_key=True),
    sa.Column("sequence", sa.Integer, nullable=False), sa.Column("seen", sa.Float, nullable=False),
)  # fmt: skip
series = sa.Table(
    "series", metadata,
    sa.Column("kind", sa.String, primary_key=True), sa.Column("model", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True), sa.Column("label", sa.String, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)  # fmt: skip
messages = sa.Table(
    "messages", metadata, sa.Column("model", sa.String, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("rollout", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False), sa.Column("level", sa.String, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)  # fmt: skip
lease = sa.Table(
    "lease", metadata, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("holder", sa.String, nullable=False), sa.Column("number", sa.Integer, nullable=False),
    sa.Column("ends", sa.Float, nullable=False),
)  # fmt: skip


class SchemaError(Exception):
    """The database is of a version that this code does not know; the message says what to do."""


def prepare(connection: sa.Connection) -> None:
    """Make the tables, or bring those that are there to `VERSION`. To be called inside of a write transaction.

    Raises:
        SchemaError: the database is newer than this code, and was left alone.
    """
    if connection.dialect.name == "postgresql":
        # Several controllers may come up at once; SQLite's write transaction is a lock by itself.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7306085893296906596)"))
    found = _version(connection)
    if found > VERSION:
        raise SchemaError(
            f"the control database has schema version {found}, and this controller knows versions up to {VERSION}: it "
            "was written by a newer release of the blueprint. Run that release or a later one, or restore the copy of "
            "the database from before the upgrade; nothing was changed"
        )
    for number in range(found or VERSION, VERSION):
        log.info("the control database is brought from schema version %d to %d", number, number + 1)
        _STEPS[number - 1](connection)
    metadata.create_all(connection)
    if found != VERSION:
        connection.execute(schema.delete())
        connection.execute(schema.insert().values(id=1, version=VERSION))


def _version(connection: sa.Connection) -> int:
    """Return the version that a database is of; 0 when it is empty. The first one did not say so yet."""
    present = sa.inspect(connection)
    if present.has_table(schema.name):
        return int(connection.execute(sa.select(schema.c.version)).scalar() or 1)
    return 1 if present.has_table(documents.name) else 0


def _signatures_to_releases(connection: sa.Connection) -> None:
    """1 → 2: a release carries its trainer's signature, for replicas; until then only its manifest did.

    And an analysis no longer remembers whether stable's record is to be trusted: it is asked of the counts each time.
    """
    rows = connection.execute(sa.text("SELECT id, body FROM documents WHERE kind = 'managed'")).all()
    for identifier, body in rows:
        managed = json.loads(body)
        for digest, release in managed.get("releases", {}).items():
            manifest = managed.get("manifests", {}).get(digest) or {}
            release.setdefault("signature", manifest.get("signature"))
            release.setdefault("trainedAt", manifest.get("trainedAt"))
        rollout = managed.get("state", {}).get("rollout") or {}
        rollout.get("analysis", {}).pop("trusted", None)
        connection.execute(
            sa.text("UPDATE documents SET body = :body WHERE kind = 'managed' AND id = :id"),
            {"body": json.dumps(managed), "id": identifier},
        )


_STEPS: tuple[Callable[[sa.Connection], None], ...] = (_signatures_to_releases,)
