"""Whose fault a late answer is: a table, and a machine that is made up."""

import numpy as np
import pytest

from serving.lateness import KEPT, PART, Stalls, excused


@pytest.mark.parametrize(
    ("stalled", "given", "says"),
    [(0.0, 1.0, False), (PART * 0.99, 1.0, False), (PART, 1.0, True), (1.0, 1.0, True), (PART, 10.0, False)],
)
def test_a_late_call_says_nothing_when_its_caller_could_not_go_on_either(
    stalled: float, given: float, says: bool
) -> None:
    assert excused(stalled, given) is says


def test_only_stalls_since_the_call_count() -> None:
    stalls = Stalls()
    stalls.note(10.0, 0.4)
    stalls.note(11.0, 0.0)
    stalls.note(12.0, 0.3)
    assert stalls.since(9.0) == pytest.approx(0.7)
    assert stalls.since(9.8) == pytest.approx(0.5)  # of the first one a half
    assert stalls.since(11.9) == pytest.approx(0.1)
    assert stalls.since(12.0) == 0.0
    stalls.note(12.0 + KEPT + 1, 0.1)
    assert stalls.since(0.0) == pytest.approx(0.1)


GIVEN, LOOK = 1.0, 0.1


def calls(random: np.random.Generator, work: float, pause: float, number: int = 4_000) -> tuple[int, int]:
    """Let a candidate answer on a machine; returns how many calls were late, and how many of those were excused.

    Each time a process wants to go on it waits for a processor, exponentially with mean `pause`; a call takes four such
    turns (two processes, there and back) and `work` seconds. The caller's loop wants to go on every 0.1 s as well.
    """
    late = forgiven = 0
    for _ in range(number):
        took = work + random.exponential(pause, 4).sum()
        if took > GIVEN:
            late += 1
            stalls, at = Stalls(), 0.0
            while at < GIVEN:
                waited = random.exponential(pause)
                at += LOOK + waited
                stalls.note(at, waited)
            forgiven += excused(stalls.since(0.0), GIVEN)
    return late, forgiven


@pytest.mark.parametrize("pause", [0.05, 0.1, 0.2, 0.4])
def test_a_healthy_candidate_is_not_blamed_for_a_starved_machine(pause: float) -> None:
    late, forgiven = calls(np.random.default_rng(1), work=0.002, pause=pause)
    assert (late - forgiven) / 4_000 <= 0.002  # what is left is far below the failures that a rollout is stopped for


@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.002, 0.005])
def test_a_slow_candidate_is_blamed_on_a_machine_that_is_only_busy(pause: float) -> None:
    late, forgiven = calls(np.random.default_rng(2), work=1.5, pause=pause)
    assert late == 4_000
    assert forgiven <= 0.01 * late
