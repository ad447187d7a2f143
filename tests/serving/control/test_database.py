"""The database goes away while it is written to: nothing is lost, nothing is written twice, nobody is misled.

On PostgreSQL (see `tests.postgres`) its own connection is ended in the middle of a transaction, and its server killed.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from policies.ledger.checkpointer import DirectoryPlace, audit
from policies.releases.keys import make_key
from policies.releases.signing import public_key
from serving.control.database import LeaseHeldError, LeaseLostError
from serving.state import read_snapshot
from tests.postgres import Server
from tests.serving.control.test_releases import CANARY, World, release

AWAY = sa.exc.OperationalError("COMMIT", {}, ConnectionResetError("the server closed the connection"))


def emptied(address: str) -> str:
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control.db"
    return emptied(request.getfixturevalue("postgres_address"))


@pytest.fixture
def world(tmp_path: Path, address: str) -> Iterator[World]:
    world = World(tmp_path, address)
    yield world
    world.store.close()


def fail_every_third(world: World, patch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """Let the database go away in every third transaction, before or after it was taken."""
    original, count = world.store.database.transaction, 0

    @contextlib.contextmanager
    def transaction() -> Iterator[sa.Connection]:
        nonlocal count
        count += 1
        with original() as connection:
            yield connection
            if count % 3 == 0 and not committed:
                if connection.dialect.name == "postgresql":
                    connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
                raise AWAY
        if count % 3 == 0:
            raise AWAY

    patch.setattr(world.store.database, "transaction", transaction)


@pytest.mark.slow
@pytest.mark.parametrize("committed", [False, True])
def test_rollout_goes_on_and_is_written_once_when_the_database_goes_away(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    calm = World(tmp_path / "calm")
    for one in (calm, world):
        one.promote("1")
    fail_every_third(world, monkeypatch, committed=committed)

    for one in (calm, world):
        one.again(lambda one=one: one.store.release("m", release("2"), CANARY))  # type: ignore[misc]
        one.until(one.ended)

    assert world.refused > 10
    assert world.rollout()["state"] == "promoted"
    assert world.steps() == calm.steps()
    assert [one["text"] for one in world.rollout()["messages"]] == [one["text"] for one in calm.rollout()["messages"]]
    assert world.rollout()["counts"] == calm.rollout()["counts"]
    assert read_snapshot(tmp_path / "snapshot.json", "key") == world.store.state
    world.kill()
    assert world.steps() == calm.steps()
    keys = {public_key(make_key(tmp_path / "key", "test"))}
    assert audit(world.store.ledger, DirectoryPlace(tmp_path / "checkpoints"), keys).findings == ()
    calm.store.close()


@pytest.mark.slow
def test_rollout_goes_on_and_is_written_once_when_the_server_of_the_database_is_killed(
    postgres_server: Server, tmp_path: Path
) -> None:
    calm, world = World(tmp_path / "calm"), World(tmp_path, emptied(postgres_server.address))
    for one in (calm, world):
        one.promote("1")
        one.store.release("m", release("2"), CANARY)
    calm.until(calm.ended)

    for passed in range(100):
        if world.ended():
            break
        if passed % 4 == 0:
            postgres_server.kill()
            with pytest.raises(sa.exc.OperationalError):
                world.store.step()
            postgres_server.start()
        world.second()

    assert passed > 8  # three kills at least
    assert world.rollout()["state"] == "promoted"
    assert world.steps() == calm.steps()
    assert world.rollout()["counts"] == calm.rollout()["counts"]
    keys = {public_key(make_key(tmp_path / "key", "test"))}
    assert audit(world.store.ledger, DirectoryPlace(tmp_path / "checkpoints"), keys).findings == ()
    for one in (calm, world):
        one.store.close()


def test_nothing_is_decided_while_the_database_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.promote("1")
    world.store.release("m", release("2"), CANARY)
    world.until(lambda: world.rollout()["phase"] == "analysing")
    before = world.store.state

    with monkeypatch.context() as patch:
        patch.setattr(world.store.database, "transaction", _away)
        patch.setattr(world.store.database.engine, "connect", _away)
        for ask in (world.store.step, lambda: world.store.command("m", "promote", "ann", "")) * 3:
            with pytest.raises(sa.exc.OperationalError):
                ask()
        assert world.store.state == before

    world.until(world.ended)
    assert world.rollout()["state"] == "promoted"


def _away() -> None:
    raise AWAY


def test_another_controller_takes_over_and_the_first_one_cannot_write(world: World) -> None:
    world.promote("1")
    with pytest.raises(LeaseHeldError, match="is at work for"):
        world.open()
    first = world.store
    world.now += 3600
    world.store = world.open()

    with pytest.raises(LeaseLostError, match="no longer valid"):
        first.release("m", release("2"), CANARY)

    first.database.engine.dispose()
    world.store.release("m", release("2"), CANARY)
    world.until(world.ended)
    assert world.rollout()["state"] == "promoted"
