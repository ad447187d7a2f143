"""The budget of a test is what it says, by exact calculation."""

import numpy as np
import pytest
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.stats import poisson  # type: ignore[import-untyped]

from serving.rollout.analysis.spending import FAILURES, OVERLAP, SHARES, level, look_at


def crossing(budget: float) -> float:
    """Probability that a Poisson process of known rate ever has a look's failures before the look's limit."""
    alive, now = np.array([1.0]), 0.0
    for look, failures in enumerate(FAILURES[:50]):

        def excess(time: float, failures: int = failures, look: int = look) -> float:
            return float(poisson.sf(failures - 1, time)) - level(look, budget)

        limit = brentq(excess, 1e-9, failures)
        if limit > now:
            alive = np.convolve(alive, poisson.pmf(np.arange(failures + 1), limit - now))
            now = limit
        # Who has fewer failures than the look asks for when its limit passes lives on.
        alive = alive[:failures]
    return 1 - float(alive.sum())


@pytest.mark.parametrize("budget", [0.0005, 0.001, 0.004, 0.01])
def test_a_healthy_candidate_is_stopped_at_most_as_often_as_the_budget_says(budget: float) -> None:
    spent = crossing(budget)
    assert spent <= budget
    assert spent > 0.6 * budget  # what is not spent is paid for in slower decisions


def test_shares_add_up_and_looks_go_up() -> None:
    assert sum(SHARES) == pytest.approx(1)
    assert list(FAILURES) == sorted(set(FAILURES))
    assert FAILURES[0] == 2


def test_one_failure_spends_nothing() -> None:
    assert look_at(1) == -1
    assert level(look_at(1), 0.01) == 0.0


def test_a_look_is_the_last_that_the_failures_reach() -> None:
    assert [FAILURES[look_at(failures)] for failures in (2, 3, 10, 15, 16)] == [2, 3, 10, 14, 16]
    assert level(0, 0.01) == pytest.approx(OVERLAP * 0.01 * SHARES[0])
