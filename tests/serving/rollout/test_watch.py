"""What a served version must keep up: each alarm by hand-made counts."""

import pytest

from serving.rollout import watch
from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.analysis.histogram import bucket_of
from serving.rollout.strategy import AfterPromotion, Limits
from serving.rollout.watch import Watch

DAY = 86_400.0
RECORD = ArmCounts(requests=20_000, errors=20, latency={bucket_of(0.01): 20_000}, labelled=2_000, wrong=400)


def armed(record: ArmCounts = RECORD, **settings: float) -> Watch:
    """A watch over a version with 80 % accuracy, 0.1 % failures and 10 ms."""
    return watch.arm("sha256:1", record, Limits(), AfterPromotion.model_validate(settings))


def criteria(state: Watch, *batches: tuple[ArmCounts, float]) -> list[str]:
    """What is found over batches of (counts, seconds)."""
    found = []
    for counts, passed in batches:
        state, findings = watch.observe(state, counts, passed)
        found += [finding.criterion for finding in findings]
    return found


def labels(labelled: int, wrong: int) -> ArmCounts:
    """Labels that came in."""
    return ArmCounts(labelled=labelled, wrong=wrong)


def test_a_burst_of_failures_is_found_at_once_and_told_once() -> None:
    burst = (ArmCounts(requests=20, errors=12), 1.0)
    assert criteria(armed(), burst, burst, burst) == ["failures"]


def test_the_usual_failures_are_no_finding() -> None:
    assert not criteria(armed(), *[(ArmCounts(requests=1_000, errors=1), 60.0)] * 500)


def test_twice_as_slow_is_found_and_a_little_slower_is_not() -> None:
    def slow(seconds: float) -> tuple[ArmCounts, float]:
        return ArmCounts(requests=50, latency={bucket_of(seconds): 50}), 1.0

    assert criteria(armed(), slow(0.04)) == ["latency"]
    assert not criteria(armed(), *[slow(0.015)] * 100)


def test_without_a_known_p99_it_is_learned_first() -> None:
    fast = (ArmCounts(requests=300, latency={bucket_of(0.01): 300}), 1.0)
    slow = (ArmCounts(requests=50, latency={bucket_of(0.1): 50}), 1.0)
    assert criteria(armed(ArmCounts()), fast, slow) == ["latency"]


@pytest.mark.parametrize(("wrong", "found"), [(520, []), (550, ["quality"])])
def test_accuracy_counts_once_it_has_fallen_by_the_configured_share(wrong: int, found: list[str]) -> None:
    # 8 % of 0.80 is 0.064: 0.740 is all right, 0.725 is not.
    assert criteria(armed(), (labels(2_000, wrong), DAY)) == found


def test_a_loss_that_may_be_chance_is_no_finding() -> None:
    assert not criteria(armed(RECORD.but(labelled=200, wrong=40)), (labels(200, 55), DAY))


def test_too_few_labels_conclude_nothing() -> None:
    assert not criteria(armed(), (labels(199, 199), DAY))


def test_losses_leave_the_window_with_time() -> None:
    bad, good, rest = labels(400, 160), labels(2_000, 400), labels(1, 0)
    assert criteria(armed(), (bad, DAY)) == ["quality"]
    assert not criteria(armed(), (good, 0.0), (bad, DAY), (rest, 3 * DAY))
    state = armed()
    for counts, passed in ((good, 0.0), (bad, DAY), (good, 8 * DAY)):
        state, _ = watch.observe(state, counts, passed)
    assert sum(piece.labelled for piece in state.labels) == 2_000


def test_without_labels_before_the_first_that_come_are_the_reference() -> None:
    fresh = armed(RECORD.but(labelled=0, wrong=0))
    assert criteria(fresh, (labels(400, 80), DAY), (labels(1_000, 400), DAY)) == ["quality"]


def test_the_watch_survives_json() -> None:
    state, _ = watch.observe(armed(), ArmCounts(requests=10, errors=1, labelled=5, wrong=1), 5.0)
    assert Watch.model_validate_json(state.model_dump_json()) == state
