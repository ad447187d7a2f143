"""What a replica's loop feels of its processor."""

import asyncio
import time
from pathlib import Path

import pytest

from serving import gauge as module
from serving.gauge import Gauge, machine_ticks, queued_seconds


async def busy(gauge: Gauge) -> None:
    """Hold the loop for 0.25 s and let it look once."""
    await asyncio.sleep(0)
    time.sleep(0.25)  # what a starved or busy loop looks like from inside
    await asyncio.sleep(0.01)


async def test_less_is_taken_while_the_loop_is_held() -> None:
    gauge = Gauge(draw=lambda: 0.6)
    gauge.start()
    assert gauge.open()
    await busy(gauge)
    assert not gauge.open()
    gauge.stop()


async def test_a_loop_that_holds_itself_is_not_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "queued_seconds", lambda: 1.0)
    gauge = Gauge()
    gauge.start()
    begun = time.monotonic()
    await busy(gauge)
    assert gauge.stalled(begun) == 0.0
    gauge.stop()


async def test_a_loop_without_a_processor_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "queued_seconds", time.monotonic)
    gauge = Gauge()
    gauge.start()
    begun = time.monotonic()
    time.sleep(0.25)
    assert gauge.stalled(begun) >= 0.1  # before anybody has looked
    await asyncio.sleep(0.01)
    assert gauge.stalled(begun) >= 0.1
    assert gauge.stalled(time.monotonic() + 60) == 0.0  # since a moment after all stalls, also one of just now
    gauge.stop()
    assert gauge.stalled(begun) == 0.0


async def test_where_the_system_says_nothing_lateness_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "queued_seconds", lambda: 0.0)
    monkeypatch.setattr(module, "machine_ticks", lambda: (0, 0))
    gauge = Gauge()
    gauge.start()
    begun = time.monotonic()
    await busy(gauge)
    assert gauge.stalled(begun) >= 0.1
    gauge.stop()


def test_the_system_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    normal, whole = machine_ticks()
    assert 0 < normal <= whole
    assert queued_seconds() >= 0.0
    for name in ("_THREAD", "_MACHINE"):
        monkeypatch.setattr(module, name, tmp_path / "absent")
    assert machine_ticks() == (0, 0)
    assert queued_seconds() == 0.0
