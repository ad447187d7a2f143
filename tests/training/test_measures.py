"""The numbers of an evaluation, against values worked out by hand."""

import math

import numpy as np
import pytest

from training.measures import auc_standard_error, fairness, quality

TRUTH = np.array([0, 0, 1, 1])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.9])
LABEL = np.array([0, 1, 0, 1])


def test_quality_is_what_its_definitions_say() -> None:
    metrics = quality(TRUTH, LABEL, PROBABILITY)
    assert metrics["rocAuc"].value == pytest.approx(3 / 4)
    assert metrics["accuracy"].value == pytest.approx(1 / 2)
    assert metrics["f1"].value == pytest.approx(1 / 2)
    assert metrics["brier"].value == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert metrics["logLoss"].value == pytest.approx(-(2 * math.log(0.9) + 2 * math.log(0.4)) / 4)


def test_standard_error_of_a_perfect_ranking_is_zero() -> None:
    assert auc_standard_error(1.0, 50, 50) == pytest.approx(0.0, abs=1e-9)


def test_standard_error_is_that_of_the_published_formula() -> None:
    # Hanley and McNeil 1982: area 0.85, 50 and 50 cases: Q1 = 0.7391, Q2 = 0.7811.
    expected = math.sqrt((0.85 * 0.15 + 49 * (0.7391304 - 0.7225) + 49 * (0.7810811 - 0.7225)) / 2500)
    assert auc_standard_error(0.85, 50, 50) == pytest.approx(expected, rel=1e-5)


GROUPS = ["a"] * 4 + ["b"] * 4
GROUP_TRUTH = np.array([1, 1, 0, 0, 1, 1, 1, 0])
GROUP_LABEL = np.array([1, 1, 1, 0, 1, 0, 0, 0])


def test_fairness_compares_the_groups() -> None:
    one = fairness("g", GROUPS, GROUP_TRUTH, GROUP_LABEL, "yes", used_as_feature=False, group_rows=4)
    assert [(group.name, group.rows, group.selection_rate) for group in one.groups] == [("a", 4, 0.75), ("b", 4, 0.25)]
    assert one.gaps["selectionRatio"] == pytest.approx(1 / 3)
    assert one.gaps["selectionDifference"] == pytest.approx(0.5)
    assert one.gaps["truePositiveDifference"] == pytest.approx(2 / 3)
    assert one.gaps["falsePositiveDifference"] == pytest.approx(0.5)
    assert one.gaps["equalizedOddsDifference"] == pytest.approx(2 / 3)


def test_gaps_are_unknown_when_a_group_is_too_small() -> None:
    one = fairness("g", GROUPS, GROUP_TRUTH, GROUP_LABEL, "yes", used_as_feature=False, group_rows=5)
    assert set(one.gaps.values()) == {None}


def test_gaps_are_unknown_when_there_is_one_group_only() -> None:
    one = fairness("g", ["a"] * 8, GROUP_TRUTH, GROUP_LABEL, "yes", used_as_feature=False, group_rows=1)
    assert set(one.gaps.values()) == {None}


def test_gap_is_unknown_when_a_group_has_no_row_of_that_kind() -> None:
    truth = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    one = fairness("g", GROUPS, truth, GROUP_LABEL, "yes", used_as_feature=False, group_rows=1)
    assert one.groups[1].true_positive_rate is None
    assert one.gaps["truePositiveDifference"] is None
    assert one.gaps["selectionRatio"] is not None


def test_ratio_is_unknown_when_nobody_is_selected() -> None:
    nobody = np.zeros(8, dtype=int)
    one = fairness("g", GROUPS, GROUP_TRUTH, nobody, "yes", used_as_feature=False, group_rows=1)
    assert one.gaps["selectionRatio"] is None
