"""The ledger in a database: gapless for any number of writers, durable, whole with the caller's own transaction."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from policies.ledger.events import Quarantine, ReleaseStep
from policies.ledger.refusal import SecretRefusedError
from policies.ledger.store import Ledger, LedgerDamagedError, Query, open_engine, write_transaction
from policies.ledger.writer import AppendError, GroupWriter

PROJECT = Path(__file__).resolve().parents[2]
Step = Callable[..., ReleaseStep]
DIGEST = "sha256:" + "b" * 64


def numbers(ledger: Ledger, query: Query | None = None) -> list[int]:
    return [entry.seq for entry in ledger.entries(query)]


def test_appended_events_are_entries_in_order(ledger: Ledger, step: Step, clock: Any) -> None:
    first = ledger.append([step(1), step(2)])
    clock.forward(60)
    second = ledger.append([step(3)])
    assert [entry.event() for entry in ledger.entries()] == [step(1), step(2), step(3)]
    assert list(ledger.entries()) == [*first, *second]
    assert ledger.head() == second[-1].head
    assert [entry.time for entry in second] == ["2026-11-20T09:01:00.000000Z"]
    report = ledger.verify([], [])
    assert report.ok, report.findings


def test_ledger_goes_on_where_it_ended_when_opened_again(ledger: Ledger, step: Step, database: str) -> None:
    ledger.append([step(1)])
    again = Ledger(open_engine(database))
    again.append([step(2)])
    assert again.id == ledger.id
    assert numbers(ledger) == [1, 2]
    assert ledger.verify([], []).ok
    again.engine.dispose()


def test_all_or_none_of_the_events_are_appended(ledger: Ledger, step: Step) -> None:
    secret = step(2).model_copy(update={"reason": "password=hunter2"})
    with pytest.raises(SecretRefusedError):
        ledger.append([step(1), secret])
    assert numbers(ledger) == []


def test_append_of_nothing_writes_nothing(ledger: Ledger) -> None:
    assert ledger.append([]) == []
    assert ledger.head().seq == 0


def make_state(engine: sa.Engine) -> sa.Table:
    state = sa.Table("state", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
    with write_transaction(engine) as connection:
        state.create(connection)
        connection.execute(state.insert().values(id=1, n=0))
    return state


def test_state_and_entry_are_written_together(ledger: Ledger, step: Step) -> None:
    state = make_state(ledger.engine)
    with write_transaction(ledger.engine) as connection:
        connection.execute(state.update().values(n=1))
        ledger.append([step(1)], connection)

    def fail() -> None:
        with write_transaction(ledger.engine) as connection:
            connection.execute(state.update().values(n=2))
            ledger.append([step(2)], connection)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    ledger.append([step(3)])
    assert [entry.event() for entry in ledger.entries()] == [step(1), step(3)]
    assert numbers(ledger) == [1, 2], "an append that was rolled back leaves no gap"
    with ledger.engine.connect() as connection:
        assert connection.execute(sa.select(state.c.n)).scalar() == 1
    assert ledger.verify([], []).ok


def test_append_works_in_a_transaction_that_was_begun_to_read(ledger: Ledger, step: Step) -> None:
    ledger.append([step(1)])
    with ledger.engine.begin() as connection:
        ledger.append([step(2)], connection)
    assert ledger.verify([], []).ok
    assert numbers(ledger) == [1, 2]


@pytest.mark.parametrize("statement", ["UPDATE ledger_entries SET person = 'mallory'", "DELETE FROM ledger_entries"])
def test_database_refuses_to_change_entries(ledger: Ledger, step: Step, statement: str) -> None:
    ledger.append([step(1)])
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), write_transaction(ledger.engine) as connection:
        connection.execute(sa.text(statement))


def test_queries_narrow_by_time_model_person_kind_and_digest(ledger: Ledger, step: Step, clock: Any) -> None:
    start: datetime = clock()
    ledger.append([step(1)])
    clock.forward(60)
    ledger.append([step(2, model="mortgage-approval", person="asha@example.com")])
    clock.forward(60)
    quarantine = Quarantine(
        person="asha@example.com", model="flight-delay", digest=DIGEST, action="quarantined", reason="errors"
    )
    ledger.append([quarantine])
    assert numbers(ledger, Query(model="flight-delay")) == [1, 3]
    assert numbers(ledger, Query(person="asha@example.com")) == [2, 3]
    assert numbers(ledger, Query(kinds={"quarantine"})) == [3]
    assert numbers(ledger, Query(kinds=())) == []
    assert numbers(ledger, Query(digest=DIGEST)) == [3]
    assert numbers(ledger, Query(since=start + timedelta(seconds=60))) == [2, 3]
    assert numbers(ledger, Query(until=start + timedelta(seconds=60))) == [1]
    assert numbers(ledger, Query(after=1, up_to=2)) == [2]
    assert numbers(ledger, Query(limit=2)) == [1, 2]
    assert numbers(ledger, Query(model="flight-delay", person="asha@example.com")) == [3]


def test_pages_join_without_gap_or_repetition(ledger: Ledger, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.ledger.store._PAGE", 3)
    ledger.append([step(number) for number in range(10)])
    assert numbers(ledger) == list(range(1, 11))
    assert numbers(ledger, Query(limit=7)) == list(range(1, 8))
    assert ledger.verify([], []).entries == 10


# Writers beside one another


def run_threads(count: int, target: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            target(number)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors


def test_threads_write_a_gapless_chain(ledger: Ledger, step: Step) -> None:
    def write(number: int) -> None:
        for index in range(10):
            ledger.append([step(number * 100 + index)])

    run_threads(4, write)
    assert numbers(ledger) == list(range(1, 41))
    assert ledger.verify([], []).ok


def test_group_writer_gives_each_caller_its_own_entries(ledger: Ledger, step: Step) -> None:
    writer = GroupWriter(ledger)
    seen: dict[int, list[int]] = {}

    def write(number: int) -> None:
        mine = []
        for index in range(20):
            events = [step(number * 1000 + index * 10 + part) for part in range(1 + index % 3)]
            entries = writer.append(events)
            assert [entry.event() for entry in entries] == events
            mine += [entry.seq for entry in entries]
        seen[number] = mine

    run_threads(8, write)
    assert sorted(seq for mine in seen.values() for seq in mine) == numbers(ledger)
    assert all(mine == sorted(mine) for mine in seen.values())
    assert ledger.verify([], []).ok


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_group_writer_commits_together_what_waits_together(ledger: Ledger, step: Step) -> None:
    batches: list[int] = []
    original = ledger.append_prepared
    release = threading.Event()

    def slow(prepared: Any, connection: Any = None) -> Any:
        batches.append(len(prepared))
        assert release.wait(120)
        return original(prepared, connection)

    ledger.append_prepared = slow  # type: ignore[method-assign]
    writer = GroupWriter(ledger)
    threads = [threading.Thread(target=writer.append, args=([step(number)],)) for number in range(6)]
    threads[0].start()
    until(lambda: batches == [1])
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(writer._queue) == 5)
    release.set()
    for thread in threads:
        thread.join(30)
    assert batches == [1, 5]
    assert numbers(ledger) == list(range(1, 7))


def test_group_writer_tells_all_of_a_failure_and_goes_on(ledger: Ledger, step: Step) -> None:
    original = ledger.append_prepared

    def broken(prepared: Any, connection: Any = None) -> Any:
        raise OSError("disk full")

    ledger.append_prepared = broken  # type: ignore[method-assign]
    writer = GroupWriter(ledger)
    failures = []

    def write(number: int) -> None:
        with pytest.raises(AppendError) as caught:
            writer.append([step(number)])
        failures.append(str(caught.value.__cause__))

    run_threads(5, write)
    assert failures == ["disk full"] * 5
    ledger.append_prepared = original  # type: ignore[method-assign]
    writer.append([step(1)])
    assert numbers(ledger) == [1]


WRITE = """
import sys
from policies.ledger.events import Retraining
from policies.ledger.store import Ledger, open_engine
ledger = Ledger(open_engine(sys.argv[1]))
for number in range(int(sys.argv[2])):
    event = Retraining(person=sys.argv[3], model="m", trigger="test", reason=str(number))
    print(ledger.append([event])[0].seq, flush=True)
"""


def start_writer(database: str, count: int, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITE, database, str(count), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)


@pytest.fixture
def writers() -> Iterator[list["subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_processes_write_a_gapless_chain_and_make_the_tables_once(
    database: str, writers: list["subprocess.Popen[str]"]
) -> None:
    writers += [start_writer(database, 10, f"p{number}") for number in range(3)]
    printed = [int(line) for process in writers for line in process.communicate(timeout=120)[0].split()]
    assert [process.returncode for process in writers] == [0, 0, 0]
    ledger = Ledger(open_engine(database))
    assert sorted(printed) == numbers(ledger) == list(range(1, 31))
    assert ledger.verify([], []).ok
    ledger.engine.dispose()


def test_ledger_in_a_new_database_waits_for_another_who_begins_there(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # as whoever switches to the write-ahead log first has it
    end = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    end.start()
    try:
        engine = open_engine(f"sqlite:///{tmp_path}/ledger.db")
        assert Ledger(engine).head().seq == 0
        engine.dispose()
    finally:
        end.join()
        other.close()


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost_when_the_writer_is_killed(
    database: str, writers: list["subprocess.Popen[str]"]
) -> None:
    writers.append(start_writer(database, 100_000, "victim"))
    assert writers[0].stdout is not None
    acknowledged = [int(writers[0].stdout.readline()) for _ in range(20)]
    writers[0].send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writers[0].stdout.read().split("\n")[:-1]]
    writers[0].wait()
    ledger = Ledger(open_engine(database))
    report = ledger.verify([], [])
    assert report.ok, report.findings
    assert report.entries - len(acknowledged) in (0, 1), "at most the one that was being written"
    ledger.engine.dispose()


@pytest.mark.slow
def test_verification_beside_a_writer_sees_no_fault(database: str, writers: list["subprocess.Popen[str]"]) -> None:
    ledger = Ledger(open_engine(database))
    writers.append(start_writer(database, 100_000, "busy"))
    assert writers[0].stdout is not None
    writers[0].stdout.readline()
    reports = [ledger.verify([], []) for _ in range(10)]
    deadline = time.monotonic() + 60  # the writer may not have had its turn yet
    while reports[-1].entries == reports[0].entries and time.monotonic() < deadline:
        reports.append(ledger.verify([], []))
    assert all(report.ok for report in reports), reports[-1]
    assert reports[-1].entries > reports[0].entries
    ledger.engine.dispose()


# What somebody with access to the file can do


@pytest.fixture
def tampered(tmp_path: Path, step: Step) -> Iterator[Callable[..., Ledger]]:
    """Run statements on the file of a ledger with ten entries, behind its back."""
    ledger = Ledger(open_engine(f"sqlite:///{tmp_path}/tampered.db"))
    ledger.append([step(number) for number in range(10)])

    def change(*statements: str) -> Ledger:
        with sqlite3.connect(tmp_path / "tampered.db") as connection:
            connection.execute("DROP TRIGGER ledger_no_UPDATE")
            connection.execute("DROP TRIGGER ledger_no_DELETE")
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return ledger

    yield change
    ledger.engine.dispose()


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE ledger_entries SET person = 'mallory' WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET model = NULL WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET model = 7 WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET kind = x'ff' WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET person = CAST(x'ff' AS TEXT) WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET time = '2020-01-01T00:00:00.000000Z' WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET what = what || ' ' WHERE seq = 4", 4),
        ("UPDATE ledger_entries SET seq = 40 WHERE seq = 4", 4),
        ("DELETE FROM ledger_entries WHERE seq = 4", 4),
        ("DELETE FROM ledger_entries WHERE seq = 1", 1),
        ("DELETE FROM ledger_entries WHERE seq > 7", 8),
        ("DELETE FROM ledger_entries", 1),
        ("UPDATE ledger_head SET hash = previous FROM ledger_entries AS e WHERE e.seq = 10", 10),
        ("UPDATE ledger_head SET seq = 9", 10),
        ("UPDATE ledger_head SET ledger = 'x'", None),
    ],
)
def test_change_behind_the_back_is_found(
    tampered: Callable[..., Ledger], statement: str, first_bad: int | None
) -> None:
    report = tampered(statement).verify([], [])
    if first_bad is None:  # the id is read when a ledger is opened
        assert report.ok
        return
    assert not report.ok
    assert report.findings[0].first is not None
    assert report.findings[0].last is not None
    # A page that can't be read at all is only known by its beginning.
    assert report.findings[0].first <= first_bad <= report.findings[0].last


def test_ledger_under_another_id_is_found(tampered: Callable[..., Ledger]) -> None:
    ledger = tampered("UPDATE ledger_head SET ledger = 'f'")
    assert Ledger(ledger.engine).verify([], []).first_bad == 1


def test_ledger_without_its_head_record_is_refused(tampered: Callable[..., Ledger]) -> None:
    ledger = tampered("DELETE FROM ledger_head")
    assert [one.message for one in ledger.verify([], []).findings] == ["the head record is missing"]
    with pytest.raises(LedgerDamagedError, match="no head record"):
        Ledger(ledger.engine)


def test_file_that_was_cut_off_is_found(tmp_path: Path, step: Step) -> None:
    path = tmp_path / "cut.db"
    ledger = Ledger(open_engine(f"sqlite:///{path}"))
    ledger.append([step(number) for number in range(200)])
    ledger.engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert "can't be read" in ledger.verify([], []).findings[0].message
    with pytest.raises(LedgerDamagedError, match="malformed"):
        Ledger(ledger.engine)
    ledger.engine.dispose()


def test_auditor_does_not_make_a_ledger_where_none_is(database: str, step: Step) -> None:
    engine = open_engine(database)
    with pytest.raises(LedgerDamagedError, match="holds no ledger"):
        Ledger(engine, create=False)
    Ledger(engine).append([step(1)])
    assert numbers(Ledger(engine, create=False)) == [1]
    engine.dispose()


def test_ledger_can_be_read_where_nothing_may_be_written(tmp_path: Path, step: Step) -> None:
    writer = Ledger(open_engine(f"sqlite:///{tmp_path}/ledger.db"))
    writer.append([step(1)])
    reader = Ledger(open_engine(f"sqlite:///file:{tmp_path}/ledger.db?mode=ro&uri=true"), create=False)
    assert reader.verify([], []).entries == 1
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        reader.append([step(2)])
    writer.engine.dispose()
    reader.engine.dispose()
