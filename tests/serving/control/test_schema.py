"""Databases of older controllers are taken over as they were recorded; those of newer ones are left alone.

`schemas/<version>.sql` is the dump of a real database of that version: a model whose second version was promoted by an
approved manifest. `sqlite3 control.db .dump` makes one.
"""

import json
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from policies.ledger.store import open_engine, write_transaction
from serving.control import schema
from serving.control.schema import VERSION, SchemaError, prepare
from serving.control.store import Store

RECORDED = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def recorded(dump: Path, folder: Path) -> str:
    with sqlite3.connect(folder / "control.db") as connection:
        connection.executescript(dump.read_text("utf-8"))
    connection.close()
    return f"sqlite:///{folder}/control.db"


def open_store(database: str, folder: Path) -> Store:
    return Store(database, folder / "snapshot.json", "key", rollout_seconds=60, clock=lambda: 2e9)


def version(database: str) -> int:
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT version FROM control_schema")).scalar_one()
    engine.dispose()
    return int(found)


def test_every_older_version_is_recorded() -> None:
    assert [path.stem for path in RECORDED] == [str(number) for number in range(1, VERSION)]


@pytest.mark.parametrize("dump", RECORDED, ids=lambda path: f"from-{path.stem}")
def test_recorded_database_is_brought_to_this_version_and_served_from(dump: Path, tmp_path: Path) -> None:
    database = recorded(dump, tmp_path)
    for _ in range(2):
        store = open_store(database, tmp_path)
        assert version(database) == VERSION
        assert store.model("m")["served"]["version"] == "2"  # type: ignore[index]
        entry = store.state.models["m"]
        for release in (entry.stable, entry.previous):
            assert release is not None
            assert release.signature is not None
            assert release.signature.principal == "trainer@company"
            assert release.trained_at is not None
        assert len(list(store.ledger.entries())) >= 10
        store.close()


def test_new_database_is_of_this_version(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/c.db", tmp_path).close()
    assert version(f"sqlite:///{tmp_path}/c.db") == VERSION


def test_newer_database_is_refused_with_what_to_do_and_left_alone(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/c.db"
    open_store(database, tmp_path).close()
    with sqlite3.connect(tmp_path / "c.db") as connection:
        connection.execute("UPDATE control_schema SET version = 99")
        before = list(connection.iterdump())
    with pytest.raises(SchemaError, match=rf"version 99, and this controller knows versions up to {VERSION}.*Run that"):
        open_store(database, tmp_path)
    with sqlite3.connect(tmp_path / "c.db") as connection:
        assert list(connection.iterdump()) == before


def test_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = recorded(RECORDED[0], tmp_path)
    steps = schema._STEPS

    def fail(connection: sa.Connection) -> None:
        steps[0](connection)
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(schema, "_STEPS", (fail, *steps[1:]))
    with pytest.raises(RuntimeError, match="the disk is full"):
        open_store(database, tmp_path)
    engine = open_engine(database)
    with engine.connect() as connection:
        assert not sa.inspect(connection).has_table("control_schema")
        body = connection.execute(sa.text("SELECT body FROM documents WHERE kind = 'managed'")).scalar_one()
    assert all("signature" not in release for release in json.loads(body)["releases"].values())
    monkeypatch.undo()
    with write_transaction(engine) as connection:
        prepare(connection)
    engine.dispose()
    assert version(database) == VERSION
