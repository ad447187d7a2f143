"""How fast and how often wrongly the tests decide, with fixed seeds (`benchmarks.rollout` has the whole table)."""

import numpy as np
import pytest

from serving.rollout.simulate import CANARY, Behaviour, Decision, Stage, trial

FIRST_STEP = Stage(500, 400)


def decisions(
    count: int, base: float, bad: float, stage: Stage, *, batch: int = 1, history: int = 20_000, seed: int = 11
) -> list[Decision | None]:
    """Trials of a candidate that fails at `bad` beside a stable that fails at `base`."""
    return [
        trial(
            np.random.default_rng([seed, number]),
            Behaviour(errors=base),
            Behaviour(errors=bad),
            [stage],
            history=history,
            batch=batch,
        )
        for number in range(count)
    ]


def requests(found: list[Decision | None]) -> list[int]:
    """Candidate requests until the decision; never is a large number."""
    return [decision.requests if decision else 1_000_000 for decision in found]


@pytest.mark.parametrize(
    ("base", "median", "worst", "share"),
    [
        pytest.param(0.001, 15, 45, 500, marks=pytest.mark.slow),
        (0.005, 15, 45, 500),
        pytest.param(0.02, 20, 80, 500, marks=pytest.mark.slow),
        pytest.param(0.001, 15, 45, 5_000, marks=pytest.mark.slow),
        pytest.param(0.005, 15, 45, 5_000, marks=pytest.mark.slow),
        pytest.param(0.02, 20, 80, 5_000, marks=pytest.mark.slow),
    ],
)
def test_a_candidate_with_20_per_cent_errors_is_found_in_a_few_requests(
    base: float, median: int, worst: int, share: int
) -> None:
    needed = requests(decisions(1_000, base, 0.2, Stage(share, 400)))
    assert np.median(needed) <= median
    assert np.quantile(needed, 0.99) <= worst


@pytest.mark.slow
@pytest.mark.parametrize("share", [500, 1_000, 5_000])
def test_three_times_the_errors_are_found_within_1500_requests(share: int) -> None:
    found = decisions(400, 0.01, 0.03, Stage(share, 1_500))
    # 95 % less two standard errors of 400 trials; the benchmark has more of them.
    assert sum(decision is not None for decision in found) >= 0.928 * len(found)


def test_without_a_record_it_takes_little_longer_beside_a_stable_with_most_of_the_traffic() -> None:
    needed = requests(decisions(400, 0.005, 0.2, FIRST_STEP, history=0))
    assert np.median(needed) <= 20
    assert np.quantile(needed, 0.99) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("batch", [5, 20])
def test_reports_in_batches_cost_at_most_a_batch(batch: int) -> None:
    alone = np.median(requests(decisions(300, 0.005, 0.2, FIRST_STEP)))
    together = np.median(requests(decisions(300, 0.005, 0.2, FIRST_STEP, batch=batch)))
    assert together <= alone + batch


@pytest.mark.parametrize(
    "behaviour", [Behaviour(errors=0.001, latency_seconds=0.012), Behaviour(errors=0.001, spread=1.2)]
)
def test_a_slow_candidate_is_found_within_a_hundred_requests(behaviour: Behaviour) -> None:
    found = [
        trial(np.random.default_rng([5, number]), Behaviour(), behaviour, [Stage(500, 1_000)], batch=5)
        for number in range(100)
    ]
    assert all(decision and decision.verdict.criterion == "latency" for decision in found)
    assert np.median(requests(found)) <= 100


def healthy(count: int, seed: int, **options: float) -> int:
    """How many of so many healthy canaries, of 5,000 requests each, are stopped for any reason."""
    stopped = 0
    for number in range(count):
        random = np.random.default_rng([seed, number])
        version = Behaviour(errors=float(np.exp(random.uniform(np.log(0.001), np.log(0.02)))))
        before = Behaviour(errors=version.errors * options.get("before", 1.0))
        history, batch = int(options.get("history", 20_000)), int(options.get("batch", 1))
        stopped += bool(
            trial(random, version, version, CANARY, history=history, batch=batch, labels=0.2, before=before)
        )
    return stopped


@pytest.mark.slow
def test_hardly_any_healthy_rollout_is_stopped() -> None:
    assert healthy(200, seed=4) <= 2


@pytest.mark.slow
def test_at_most_one_per_cent_of_1000_healthy_rollouts_is_stopped() -> None:
    assert healthy(1_000, seed=1) <= 10


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"history": 0}, {"history": 2_000}, {"batch": 20}])
def test_at_most_one_per_cent_is_stopped_with_short_records_and_large_batches(options: dict[str, float]) -> None:
    assert healthy(500, seed=2, **options) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("before", [0.1, 4.0])
def test_a_base_rate_that_has_moved_since_the_record_was_made_stops_few(before: float) -> None:
    assert healthy(150, seed=3, before=before) <= 3
