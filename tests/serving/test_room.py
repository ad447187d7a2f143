"""When copies are shed for want of a processor."""

import pytest

from serving.room import BUSY, CALM, LATE, Room


@pytest.mark.parametrize(("late", "busy"), [(LATE, 0.0), (0.0, BUSY), (1.0, 1.0)])
def test_room_is_gone_at_the_first_sign_of_shortage(late: float, busy: float) -> None:
    assert not Room().after(late, busy).open


def test_room_stays_below_the_limits() -> None:
    assert Room().after(0.9 * LATE, 0.9 * BUSY).open


def test_room_comes_back_after_a_while_without_any_sign() -> None:
    room = Room().after(1.0, 1.0)
    for _ in range(CALM - 1):
        room = room.after(0.0, 0.1)
        assert not room.open
    assert room.after(0.0, 0.1).open


def test_room_stays_gone_while_it_is_neither_calm_nor_short() -> None:
    room = Room().after(1.0, 1.0)
    for _ in range(10 * CALM):
        room = room.after(0.0, 0.6 * BUSY)
    assert not room.open


def test_calm_must_last() -> None:
    room = Room().after(1.0, 1.0)
    for _ in range(3 * CALM):
        for _ in range(CALM - 1):
            room = room.after(0.0, 0.0)
        room = room.after(0.6 * LATE, 0.0)
    assert not room.open
