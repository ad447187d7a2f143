"""Ledgers to write to: in a file for each test, and on PostgreSQL (see `tests.postgres`)."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from policies.ledger.events import ReleaseStep
from policies.ledger.store import Ledger, open_engine


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 20, 9, 0, tzinfo=UTC))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    address: str = request.getfixturevalue("postgres_address")
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS ledger_entries, ledger_head, state"))
    yield address
    engine.dispose()


@pytest.fixture
def ledger(database: str, clock: Clock) -> Iterator[Ledger]:
    """An empty ledger."""
    engine = open_engine(database)
    yield Ledger(engine, clock)
    engine.dispose()


@pytest.fixture
def step() -> Callable[..., ReleaseStep]:
    """Make a step of a rollout; `step(3)` differs from `step(4)`."""

    def make(number: int = 0, model: str = "flight-delay", person: str = "controller") -> ReleaseStep:
        return ReleaseStep(
            person=person,
            model=model,
            version="3",
            digest="sha256:" + "a" * 64,
            rollout=f"r{number}",
            step="weight",
            strategy="canary",
            weight=0.05,
            evidence={"requests": number, "text": 'quotes " and ü'},
        )

    return make
