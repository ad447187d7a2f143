"""Binomial tails against scipy, which the controller does without."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom  # type: ignore[import-untyped]

from serving.rollout.analysis.tails import binomial_tail, sum_tail


def exact(successes: int, parts: Sequence[tuple[int, float]]) -> float:
    """Upper tail by convolution of whole distributions."""
    masses = np.array([1.0])
    for trials, probability in parts:
        masses = np.convolve(masses, binom.pmf(np.arange(trials + 1), trials, probability))
    return float(masses[successes:].sum())


@pytest.mark.parametrize("trials", [3, 40, 5_000])
@pytest.mark.parametrize("probability", [0.0005, 0.05, 0.5, 0.99])
def test_binomial_tail_is_exact_above_the_mean(trials: int, probability: float) -> None:
    for successes in {2, int(trials * probability) + 1, int(trials * probability * 1.5) + 2, trials}:
        if trials * probability < successes <= trials:
            assert binomial_tail(successes, trials, probability) == pytest.approx(
                float(binom.sf(successes - 1, trials, probability)), rel=1e-6
            )


def test_binomial_tail_is_one_up_to_the_mean_and_zero_beyond_the_trials() -> None:
    assert binomial_tail(5, 100, 0.05) == 1.0
    assert binomial_tail(0, 0, 0.5) == 1.0
    assert binomial_tail(4, 3, 0.5) == 0.0
    assert binomial_tail(1, 3, 0.0) == 0.0


PARTS = (
    [(500, 0.05), (900, 0.25)],
    [(4, 0.05), (6, 0.5)],
    [(1_000, 0.05), (300, 0.5)],
    [(40, 0.3), (70, 0.01), (9, 0.5)],
)


@pytest.mark.parametrize("parts", PARTS)
def test_sum_tail_is_right_to_a_hundredth(parts: list[tuple[int, float]]) -> None:
    mean = sum(trials * probability for trials, probability in parts)
    spread = sum(trials * probability * (1 - probability) for trials, probability in parts) ** 0.5
    compared = 0
    for width in (1, 2, 3, 4, 5):
        successes = int(mean + width * spread) + 1
        truth = exact(successes, parts)
        if truth > 1e-10:
            assert sum_tail(successes, parts) == pytest.approx(truth, rel=0.01)
            compared += 1
    assert compared


def test_sum_tail_is_safe_near_the_mean() -> None:
    for parts in PARTS:
        mean = sum(trials * probability for trials, probability in parts)
        for successes in range(int(mean) + 1, int(mean) + 4):
            assert sum_tail(successes, parts) >= exact(successes, parts) * 0.999


def test_sum_tail_without_control_says_nothing() -> None:
    assert sum_tail(7, [(7, 1.0)]) == 1.0
    assert sum_tail(3, [(3, 1.0), (0, 0.5)]) == 1.0


def test_sum_tail_of_everything_is_the_product() -> None:
    assert sum_tail(100, [(60, 0.5), (40, 0.25)]) == pytest.approx(0.5**60 * 0.25**40, rel=0.05)
