"""The alarm after promotion: quick when the rate rises, quiet while it does not."""

import numpy as np
import pytest
from scipy.stats import poisson  # type: ignore[import-untyped]

from serving.rollout.analysis.cusum import alternatives, limit, updated, upper_rate

ALLOWED = 0.002


def requests_to_alarm(rate: float, seed: int, most: int) -> int | None:
    """Requests, one at a time, until the alarm for one in 100 million."""
    random = np.random.default_rng(seed)
    scores: tuple[float, ...] = ()
    for number in range(1, most + 1):
        scores = updated(scores, int(random.random() < rate), 1, ALLOWED)
        if max(scores) >= limit(1e8, len(scores)):
            return number
    return None


def test_a_version_that_breaks_is_found_within_fifty_requests_in_the_median() -> None:
    times = [requests_to_alarm(0.2, seed, 1_000) or 1_000 for seed in range(100)]
    assert np.median(times) <= 50
    assert max(times) < 300


def test_a_long_good_past_does_not_slow_it_down() -> None:
    scores = updated((), 100, 100_000, ALLOWED)
    assert updated(scores, 0, 10**6, ALLOWED) == (0.0,) * len(scores)


@pytest.mark.slow
def test_it_is_quiet_at_the_allowed_rate() -> None:
    assert all(requests_to_alarm(ALLOWED, seed, 20_000) is None for seed in range(5))


def test_the_alternatives_lie_above_what_is_allowed() -> None:
    for allowed in (0.0005, 0.01, 0.3):
        assert all(rate > allowed for rate in alternatives(allowed))


@pytest.mark.parametrize(("failures", "requests"), [(0, 1_000), (10, 10_000), (200, 10_000)])
def test_the_upper_rate_leaves_room_for_chance(failures: int, requests: int) -> None:
    assert poisson.cdf(failures, upper_rate(failures, requests) * requests) <= 0.06
    assert upper_rate(failures, requests) < (failures + 5 + 3 * failures**0.5) / requests
