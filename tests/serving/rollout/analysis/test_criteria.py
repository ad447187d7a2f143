"""Each criterion by hand-made counts: what stops a candidate, what must not."""

import pytest

from serving.rollout.analysis.counts import Analysis, ArmCounts
from serving.rollout.analysis.histogram import bucket_of
from serving.rollout.analysis.judge import judge
from serving.rollout.analysis.ratio import log_e_value
from serving.rollout.analysis.verdict import Verdict
from serving.rollout.strategy import Limits, Strategy

RECORD = ArmCounts(requests=20_000, errors=100)
NO_RECORD = ArmCounts()


def found(
    *strata: tuple[int, ArmCounts, ArmCounts], record: ArmCounts = RECORD, limits: Limits | None = None
) -> dict[str, Verdict]:
    """Judge strata of (weight, candidate, stable)."""
    analysis = Analysis(history=record)
    for generation, (weight, candidate, stable) in enumerate(strata):
        analysis = analysis.opened(generation, weight)
        analysis = analysis.observed(generation, stable, candidate=False).observed(
            generation, candidate, candidate=True
        )
    _, verdicts = judge(analysis, Strategy(kind="canary", limits=limits or Limits()))
    return {verdict.criterion: verdict for verdict in verdicts}


def arm(requests: int, errors: int = 0, invalid: int = 0, milliseconds: float | None = None) -> ArmCounts:
    """Counts of an arm, all requests equally slow."""
    latency = {bucket_of(milliseconds / 1000): requests} if milliseconds else {}
    return ArmCounts(requests=requests, errors=errors, invalid=invalid, latency=latency)


def test_three_failures_in_fourteen_stop_a_candidate_beside_a_good_stable() -> None:
    verdict = found((500, arm(14, errors=3), arm(270, errors=1)))["failures"]
    assert verdict.action == "rollback"
    assert "3 of 14 (21.4 %)" in verdict.reason
    assert verdict.probability <= verdict.level


def test_errors_and_invalid_outputs_count_together() -> None:
    assert "failures" in found((500, arm(14, errors=1, invalid=2), arm(270, errors=1)))


def test_one_failure_stops_nobody() -> None:
    assert not found((500, arm(1, errors=1), arm(20)), record=ArmCounts(requests=10**6))


def test_a_candidate_below_the_tolerated_rate_is_left_alone_beside_a_perfect_stable() -> None:
    perfect = ArmCounts(requests=10**7)
    counts = (500, arm(10_000, errors=9), arm(190_000))
    assert not found(counts, record=perfect)
    assert "failures" in found(counts, record=perfect, limits=Limits(tolerated_rate=0.0001))


def test_an_incident_that_hits_both_arms_is_not_held_against_the_candidate() -> None:
    verdicts = found((500, arm(100, errors=20), arm(1_900, errors=380)), limits=Limits(failure_rate=0.5))
    assert not verdicts


def test_an_incident_while_the_candidate_has_more_traffic_than_before_is_not_held_against_it() -> None:
    quiet = (500, arm(500, errors=2), arm(9_500, errors=40))
    incident = (5_000, arm(400, errors=80), arm(400, errors=78))
    assert not found(quiet, incident, limits=Limits(failure_rate=0.5))


def test_the_record_may_not_contradict_what_stable_does_at_the_same_time() -> None:
    # Against the record three in fourteen are damning; beside a stable that has one too they prove little.
    assert not found((5_000, arm(14, errors=3), arm(14, errors=1)))
    assert "failures" in found((5_000, arm(14, errors=3), arm(14)))


def test_few_failures_beside_little_of_stable_must_come_faster_than_any_usual_rate_explains() -> None:
    assert not found((5_000, arm(60, errors=3), arm(60)))
    assert "failures" in found((500, arm(60, errors=3), arm(1_140)))


def test_what_begins_late_must_differ_more_from_stable() -> None:
    # Four against one: enough in the first dozens of requests; twelve against seven are not after hundreds.
    sharp = RECORD.but(errors=0)
    assert "failures" in found((5_000, arm(20, errors=4), arm(20, errors=1)), record=sharp)
    assert not found((5_000, arm(300, errors=12), arm(300, errors=7)), record=sharp)


def test_the_record_says_nothing_while_stable_does_worse() -> None:
    assert not found((5_000, arm(30, errors=7), arm(30, errors=3)))
    assert "failures" in found((5_000, arm(30, errors=7), arm(30, errors=1)))


def test_the_record_counts_again_when_what_stable_did_proves_to_be_chance() -> None:
    unlucky = Analysis(history=RECORD).opened(0, 500)
    unlucky = unlucky.observed(0, arm(20, errors=2), candidate=False).observed(0, arm(3, errors=2), candidate=True)
    unlucky, verdicts = judge(unlucky, Strategy(kind="canary"))
    assert not verdicts
    later = unlucky.observed(0, arm(900), candidate=False).observed(0, arm(40, errors=3), candidate=True)
    reasons = [verdict.reason for verdict in judge(later, Strategy(kind="canary"))[1]]
    assert any(reason.endswith("stable 102 of 20,920 (0.488 %)") for reason in reasons), reasons


def test_without_a_record_the_arms_are_compared_with_each_other() -> None:
    assert "failures" in found((500, arm(20, errors=4), arm(380, errors=1)), record=NO_RECORD)


def test_without_stable_beside_it_the_record_is_the_reference() -> None:
    assert "failures" in found((10_000, arm(14, errors=3), arm(0)))
    assert "failures" not in found((10_000, arm(14, errors=3), arm(0)), record=NO_RECORD)


def test_the_fixed_limit_holds_without_any_stable() -> None:
    assert found((10_000, arm(50, errors=15), arm(0)), record=NO_RECORD)["failure-rate"].action == "rollback"


def test_the_fixed_limit_only_pauses_when_stable_breaks_it_too() -> None:
    verdicts = found((5_000, arm(1_000, errors=200), arm(1_000, errors=200)))
    assert verdicts["failure-rate"].action == "pause"
    assert "stable is above it too" in verdicts["failure-rate"].reason


def test_the_fixed_limit_pauses_when_stable_breaks_it_now_though_not_over_its_long_quiet_past() -> None:
    quiet, incident = (500, arm(500), arm(9_500)), (5_000, arm(400, errors=90), arm(400, errors=88))
    assert found(quiet, incident)["failure-rate"].action == "pause"
    assert found(quiet, (5_000, arm(400, errors=90), arm(400)))["failure-rate"].action == "rollback"


def test_a_slow_candidate_is_stopped_after_a_few_requests() -> None:
    verdicts = found((500, arm(6, milliseconds=40), arm(400, milliseconds=8)))
    assert "40 of" not in verdicts["latency"].reason
    assert "6 of 6" in verdicts["latency"].reason


def test_a_candidate_within_the_tolerated_ratio_is_not_slow() -> None:
    assert not found((500, arm(5_000, milliseconds=10), arm(90_000, milliseconds=9)))


def test_a_slow_network_slows_both_and_stops_nobody() -> None:
    fast = RECORD.but(latency={bucket_of(0.008): 20_000})
    assert "latency" not in found((5_000, arm(300, milliseconds=40), arm(300, milliseconds=40)), record=fast)
    assert "latency" in found((5_000, arm(300, milliseconds=40), arm(300, milliseconds=8)), record=fast)


def test_the_fixed_latency_limit_means_what_it_says() -> None:
    counts = (5_000, arm(300, milliseconds=40), arm(300, milliseconds=40))
    assert "latency-seconds" in found(counts, limits=Limits(latency_seconds=0.02))
    assert "latency-seconds" not in found(counts, limits=Limits(latency_seconds=0.05))


def test_a_candidate_that_is_wrong_more_often_is_stopped() -> None:
    def labelled(labels: int, wrong: int) -> ArmCounts:
        return ArmCounts(requests=labels, labelled=labels, wrong=wrong)

    assert "quality" in found((5_000, labelled(1_000, 380), labelled(1_000, 200)))
    assert "quality" not in found((5_000, labelled(1_000, 220), labelled(1_000, 200)))


def test_disagreement_is_judged_only_where_a_limit_is_set() -> None:
    counts = (0, ArmCounts(requests=500, compared=500, disagreed=100), arm(500))
    assert not found(counts)
    assert "disagreement" in found(counts, limits=Limits(disagreement=0.1))


@pytest.mark.parametrize(("candidate", "stops"), [(5_080, False), (5_500, True), (4_400, True)])
def test_assignments_off_the_wanted_share_pause(candidate: int, stops: bool) -> None:
    verdicts = found((5_000, ArmCounts(assigned=candidate), ArmCounts(assigned=10_000 - candidate)))
    assert ("sample-ratio" in verdicts) is stops
    if stops:
        assert verdicts["sample-ratio"].action == "pause"


def test_the_evidence_against_a_share_has_mean_one_under_that_share() -> None:
    from math import comb, exp

    share, total = 0.2, 40
    mean = sum(
        comb(total, own) * share**own * (1 - share) ** (total - own) * exp(log_e_value(own, total - own, share))
        for own in range(total + 1)
    )
    assert mean == pytest.approx(1)


def test_a_look_is_taken_once() -> None:
    analysis = Analysis(history=RECORD).opened(0, 500)
    analysis = analysis.observed(0, arm(270, errors=1), candidate=False).observed(0, arm(30, errors=2), candidate=True)
    once, _ = judge(analysis, Strategy(kind="canary"))
    again, verdicts = judge(once, Strategy(kind="canary"))
    assert again == once
    assert not verdicts


def test_counts_of_an_unknown_split_are_dropped() -> None:
    analysis = Analysis().opened(4, 500)
    assert analysis.observed(3, arm(5, errors=5), candidate=True) == analysis


def test_late_counts_go_to_the_split_they_arose_under() -> None:
    analysis = Analysis().opened(1, 500).opened(2, 5_000).observed(1, arm(7), candidate=True)
    assert [stratum.candidate.requests for stratum in analysis.strata] == [7, 0]
