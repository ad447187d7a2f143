"""Checkpoints come in time, lie elsewhere, and are never signed over a ledger that does not continue the last one."""

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from policies.ledger.checkpoint import CHECKPOINT_NAMESPACE, due, signed_bytes
from policies.ledger.checkpointer import Checkpointer, DirectoryPlace, LedgerBrokenError, audit
from policies.ledger.events import ReleaseStep, Retraining
from policies.ledger.store import Ledger, open_engine
from policies.releases.signing import public_key

Step = Callable[..., ReleaseStep]
KEY = Ed25519PrivateKey.generate()
KEYS = [public_key(KEY)]
ROUTINE = Retraining(person="scheduler", model="flight-delay", trigger="schedule", reason="Monday")


class Monotonic:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def place(tmp_path: Path) -> DirectoryPlace:
    return DirectoryPlace(tmp_path / "checkpoints")


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def checkpointer(ledger: Ledger, place: DirectoryPlace, clock: Any, monotonic: Monotonic) -> Checkpointer:
    return Checkpointer(ledger, place, KEY, clock=clock, monotonic=monotonic)


@pytest.mark.parametrize(
    ("head", "sealed", "waiting", "release_step", "expected"),
    [
        (0, 0, 0, True, False),
        (5, 5, 99, True, False),
        (6, 5, 0, False, False),
        (6, 5, 0, True, True),
        (6, 5, 5.9, False, False),
        (6, 5, 6, False, True),
    ],
)
def test_checkpoint_is_due(head: int, sealed: int, waiting: float, release_step: bool, expected: bool) -> None:
    assert due(head, sealed, waiting, release_step, tick=2) is expected


@given(written=st.floats(0, 100), phase=st.floats(0, 1), tick=st.floats(0.1, 5))
def test_no_entry_waits_longer_than_the_interval(written: float, phase: float, tick: float) -> None:
    look = written + phase * tick  # the first look that sees the entry
    noticed = look
    while not due(1, 0, look - noticed, release_step=False, tick=tick):
        look += tick
    assert look - written <= 10 + 1e-6


def test_entries_are_sealed_within_ten_seconds(
    checkpointer: Checkpointer, ledger: Ledger, place: DirectoryPlace, monotonic: Monotonic
) -> None:
    checkpointer.seal()
    ledger.append([ROUTINE])
    for _ in range(5):
        checkpointer.look()
        monotonic.now += 2
    assert checkpointer.sealed == ledger.head()
    latest = place.latest()
    assert latest is not None
    assert latest.head == ledger.head()


def test_nothing_is_written_while_nothing_happens(
    checkpointer: Checkpointer, place: DirectoryPlace, monotonic: Monotonic
) -> None:
    checkpointer.seal()
    before = place.read()
    for _ in range(20):
        monotonic.now += 10
        checkpointer.look()
    assert place.read() == before
    assert len(before[0]) == 1


def test_step_of_a_release_is_sealed_at_once(checkpointer: Checkpointer, ledger: Ledger, step: Step) -> None:
    checkpointer.after(ledger.append([ROUTINE]))
    assert checkpointer.sealed.seq == 0
    checkpointer.after(ledger.append([step(1)]))
    assert checkpointer.sealed == ledger.head()


def test_key_is_announced_in_the_ledger_once(ledger: Ledger, place: DirectoryPlace, clock: Any) -> None:
    for key in (KEY, KEY, Ed25519PrivateKey.generate()):
        Checkpointer(ledger, place, key, clock=clock).seal()
    announced = [entry.event() for entry in ledger.entries()]
    assert [event.kind for event in announced] == ["checkpoint", "checkpoint"]


def test_audit_is_clean_and_knows_up_to_where_it_is_sealed(
    checkpointer: Checkpointer, ledger: Ledger, place: DirectoryPlace, step: Step
) -> None:
    for number in range(5):
        checkpointer.after(ledger.append([step(number)]))
    ledger.append([ROUTINE])
    report = audit(ledger, place, KEYS)
    assert report.ok, report.findings
    assert (report.sealed, report.head.seq, report.checkpoints) == (6, 7, 5)
    assert report.unsealed_since == "2026-11-20T09:00:00.000000Z"


def test_checkpointer_goes_on_after_a_restart(
    checkpointer: Checkpointer, ledger: Ledger, place: DirectoryPlace, step: Step, clock: Any
) -> None:
    checkpointer.after(ledger.append([step(1)]))
    again = Checkpointer(ledger, place, KEY, clock=clock)
    assert again.sealed == checkpointer.sealed
    again.after(ledger.append([step(2)]))
    assert [one.previous for one in place.read()[0]] == [0, 2]
    assert audit(ledger, place, KEYS).ok


def test_two_checkpointers_do_no_harm(ledger: Ledger, place: DirectoryPlace, step: Step, clock: Any) -> None:
    both = [Checkpointer(ledger, place, KEY, clock=clock) for _ in range(2)]
    for number in range(6):
        entries = ledger.append([step(number)])
        both[number % 2].after(entries)
        both[1].after(entries)
    report = audit(ledger, place, KEYS)
    assert report.ok, report.findings
    assert report.sealed == ledger.head().seq


def test_latest_is_by_number_when_the_clock_was_put_back(
    checkpointer: Checkpointer, ledger: Ledger, place: DirectoryPlace, step: Step, clock: Any
) -> None:
    checkpointer.after(ledger.append([step(1)]))
    clock.now -= timedelta(days=3)
    checkpointer.after(ledger.append([step(2)]))
    latest = place.latest()
    assert latest is not None
    assert latest.seq == 3
    report = audit(ledger, place, KEYS)
    assert report.ok
    assert report.clock_steps == 1


def test_place_never_replaces_a_checkpoint(checkpointer: Checkpointer, ledger: Ledger, place: DirectoryPlace) -> None:
    checkpointer.seal()
    latest = place.latest()
    assert latest is not None
    place.put(latest.model_copy(update={"hash": "0" * 64}))
    assert place.read() == ([latest], [])


def test_run_seals_until_it_is_stopped(ledger: Ledger, place: DirectoryPlace, step: Step) -> None:
    checkpointer = Checkpointer(ledger, place, KEY, tick=0.01, interval=0.02)
    stop = threading.Event()
    thread = threading.Thread(target=checkpointer.run, args=(stop,))
    thread.start()
    ledger.append([ROUTINE])
    stop.set()
    thread.join(30)
    assert checkpointer.sealed == ledger.head()
    assert checkpointer.error is None


def test_run_says_why_and_goes_on_when_a_checkpoint_can_not_be_kept(
    checkpointer: Checkpointer, ledger: Ledger, place: DirectoryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    stop.set()
    failed = []
    with monkeypatch.context() as patched:
        patched.setattr(place, "put", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        checkpointer.run(stop)
        failed.append(checkpointer.error)
    checkpointer.run(stop)
    failed.append(checkpointer.error)
    assert failed == ["disk full", None]
    assert checkpointer.sealed == ledger.head()


# A ledger that was changed meanwhile


@pytest.fixture
def sealed_file(tmp_path: Path, step: Step) -> tuple[Ledger, Checkpointer, DirectoryPlace, Callable[[str], None]]:
    path = tmp_path / "ledger.db"
    ledger = Ledger(open_engine(f"sqlite:///{path}"))
    place = DirectoryPlace(tmp_path / "checkpoints")
    checkpointer = Checkpointer(ledger, place, KEY)
    checkpointer.after(ledger.append([step(number) for number in range(5)]))

    def tamper(script: str) -> None:
        connection = sqlite3.connect(path)
        connection.executescript(f"DROP TRIGGER ledger_no_UPDATE; DROP TRIGGER ledger_no_DELETE; {script}")
        connection.close()

    return ledger, checkpointer, place, tamper


CUT = (
    "DELETE FROM ledger_entries WHERE seq > 3;"
    "UPDATE ledger_head SET seq = 3, hash = (SELECT hash FROM ledger_entries WHERE seq = 3);"
)


def test_truncation_with_its_head_record_is_found_by_the_checkpoint(sealed_file: Any) -> None:
    ledger, _, place, tamper = sealed_file
    assert audit(ledger, place, KEYS).sealed == 6
    tamper(CUT)
    assert ledger.verify([], []).ok, "without checkpoints nothing shows: that is what they are for"
    report = audit(ledger, place, KEYS)
    assert not report.ok
    assert "entries 4 to 6 are missing" in report.findings[0].message


def test_checkpointer_does_not_vouch_for_a_ledger_that_was_cut_off(sealed_file: Any, step: Step) -> None:
    ledger, checkpointer, place, tamper = sealed_file
    tamper(CUT)
    with pytest.raises(LedgerBrokenError):
        checkpointer.look()
    with pytest.raises(LedgerBrokenError):
        checkpointer.after(ledger.append([step(number) for number in range(9)]))
    assert len(place.read()[0]) == 1
    with pytest.raises(LedgerBrokenError, match="covers entry 6"):
        Checkpointer(ledger, place, KEY)


def test_checkpointer_does_not_vouch_for_entries_that_were_changed(sealed_file: Any, step: Step) -> None:
    ledger, checkpointer, place, tamper = sealed_file
    ledger.append([step(7), step(8)])
    tamper("UPDATE ledger_entries SET person = 'mallory' WHERE seq = 7")
    with pytest.raises(LedgerBrokenError, match="entry 7 was changed"):
        checkpointer.seal()
    assert len(place.read()[0]) == 1


def test_checkpoints_of_another_ledger_are_refused(sealed_file: Any, tmp_path: Path) -> None:
    other = Ledger(open_engine(f"sqlite:///{tmp_path}/other.db"))
    with pytest.raises(LedgerBrokenError, match="holds checkpoints of ledger"):
        Checkpointer(other, sealed_file[2], KEY)
    other.engine.dispose()


def test_unreadable_checkpoint_is_a_finding(sealed_file: Any, tmp_path: Path) -> None:
    ledger, _, place, _ = sealed_file
    path = next((tmp_path / "checkpoints").glob("*/*.json"))
    path.write_text("{}")
    report = audit(ledger, place, KEYS)
    assert str(path) in report.findings[0].message


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_openssh_can_check_a_checkpoint(sealed_file: Any, tmp_path: Path) -> None:
    latest = sealed_file[2].latest()
    (tmp_path / "signers").write_text(f'ledger namespaces="{CHECKPOINT_NAMESPACE}" {KEYS[0].line()}\n')
    (tmp_path / "signature").write_text(latest.signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "ledger", "-n", CHECKPOINT_NAMESPACE]
    subprocess.run([*command, "-s", "signature"], input=signed_bytes(latest), cwd=tmp_path, check=True)
