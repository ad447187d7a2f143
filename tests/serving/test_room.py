"""When copies are shed for want of a processor."""

import pytest

from serving.room import BUSY, CALM, LATE, LEAST, QUEUED, TAKEN, Look, Room

SHORT = Look(late=1.0, busy=1.0)
QUIET = Look()


@pytest.mark.parametrize("look", [Look(late=LATE), Look(busy=BUSY), Look(queued=QUEUED), Look(taken=TAKEN), SHORT])
def test_less_is_taken_at_the_first_sign_of_shortage(look: Look) -> None:
    assert Room().after(look).share == 0.5


def test_everything_is_taken_below_the_limits() -> None:
    assert Room().after(Look(0.9 * LATE, 0.9 * BUSY, 0.9 * QUEUED, 0.9 * TAKEN)).share == 1


def test_sampling_goes_down_before_it_goes_to_zero() -> None:
    room, shares = Room(), []
    while room.share > 0:
        room = room.after(SHORT)
        shares.append(room.share)
    assert shares == [0.5, 0.25, 0.125, 0.0625, LEAST, 0.0]


def test_room_comes_back_step_by_step_after_a_while_without_any_sign() -> None:
    room = Room(0.0, 0)
    for _ in range(CALM - 1):
        room = room.after(QUIET)
        assert room.share == 0
    shares = []
    while room.share < 1:
        room = room.after(QUIET)
        shares.append(room.share)
    assert shares == [LEAST, 0.0625, 0.125, 0.25, 0.5, 1.0]


def test_room_stays_as_it_is_while_it_is_neither_calm_nor_short() -> None:
    room = Room(0.25, CALM)
    for _ in range(10 * CALM):
        room = room.after(Look(busy=0.6 * BUSY))
    assert room == Room(0.25, 0)


def test_calm_must_last() -> None:
    room = Room(0.0, 0)
    for _ in range(3 * CALM):
        for _ in range(CALM - 1):
            room = room.after(QUIET)
        room = room.after(Look(late=0.6 * LATE))
    assert room.share == 0
