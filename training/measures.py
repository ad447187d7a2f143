"""The numbers of an evaluation: pure functions of labels, probabilities and groups."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.releases.evaluation import Fairness, Group, Metric

Labels = NDArray[Any]
Numbers = NDArray[Any]

# Metrics by the direction in which they are better; limits on others are refused.
HIGHER_IS_BETTER = ("rocAuc", "averagePrecision", "accuracy", "f1")
LOWER_IS_BETTER = ("logLoss", "brier")


def quality(truth: Labels, predicted: Labels, probability: Numbers) -> dict[str, Metric]:
    """Return the metrics of a binary classifier on rows that it has not seen.

    Args:
        truth: 0 and 1, both of them there.
        predicted: the label that the model gives.
        probability: of 1, from 0 to 1.
    """
    from sklearn import metrics

    auc = float(metrics.roc_auc_score(truth, probability))
    positives = int(np.sum(truth))
    rows = len(truth)
    accuracy = float(np.mean(truth == predicted))
    squares = (np.asarray(probability, dtype=float) - truth) ** 2
    return {
        "rocAuc": Metric(value=auc, standard_error=auc_standard_error(auc, positives, rows - positives)),
        "averagePrecision": Metric(value=float(metrics.average_precision_score(truth, probability))),
        "accuracy": Metric(value=accuracy, standard_error=math.sqrt(accuracy * (1 - accuracy) / rows)),
        "f1": Metric(value=float(metrics.f1_score(truth, predicted, zero_division=0.0))),
        "logLoss": Metric(value=float(metrics.log_loss(truth, probability, labels=[0, 1]))),
        "brier": Metric(value=float(squares.mean()), standard_error=float(squares.std(ddof=1) / math.sqrt(rows))),
    }


def auc_standard_error(auc: float, positives: int, negatives: int) -> float:
    """Return the standard error of an area under the ROC curve (Hanley and McNeil, Radiology 143, 1982)."""
    both = auc / (2 - auc)
    twice = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (both - auc * auc) + (negatives - 1) * (twice - auc * auc)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def fairness(
    attribute: str,
    groups: Sequence[Any] | NDArray[Any],
    truth: Labels,
    predicted: Labels,
    positive: str,
    *,
    used_as_feature: bool,
    group_rows: int,
) -> Fairness:
    """Compare how a model treats the groups of a protected attribute.

    A gap is None where it cannot be judged: with a single group, or with a group of fewer than `group_rows` rows.

    Args:
        attribute: the protected column.
        groups: its value for each row.
        truth: 0 and 1.
        predicted: the label that the model gives; 1 is the favourable or selected one.
        positive: what 1 means.
        used_as_feature: whether the model sees the attribute.
        group_rows: the fewest rows that a group is judged by.
    """
    from fairlearn import metrics as fair

    names = np.asarray(groups, dtype=str)
    by_group = fair.MetricFrame(
        metrics={
            "rows": fair.count,
            "selection_rate": fair.selection_rate,
            "true_positive_rate": fair.true_positive_rate,
            "false_positive_rate": fair.false_positive_rate,
            "accuracy": _accuracy,
        },
        y_true=truth,
        y_pred=predicted,
        sensitive_features=names,
    ).by_group
    judged = [
        Group(
            name=str(name),
            rows=int(row["rows"]),
            selection_rate=float(row["selection_rate"]),
            # fairlearn gives 0 where a group has no row of that kind; that is no rate.
            true_positive_rate=float(row["true_positive_rate"]) if _has(truth, names, str(name), 1) else None,
            false_positive_rate=float(row["false_positive_rate"]) if _has(truth, names, str(name), 0) else None,
            accuracy=float(row["accuracy"]),
        )
        for name, row in by_group.sort_index().iterrows()
    ]
    enough = len(judged) > 1 and all(group.rows >= group_rows for group in judged)
    return Fairness(
        attribute=attribute,
        positive=positive,
        used_as_feature=used_as_feature,
        groups=tuple(judged),
        gaps=_gaps(judged) if enough else dict.fromkeys(_gaps(judged)),
    )


def _gaps(groups: Sequence[Group]) -> Mapping[str, float | None]:
    selection = [group.selection_rate for group in groups]
    true_positive = _spread([group.true_positive_rate for group in groups])
    false_positive = _spread([group.false_positive_rate for group in groups])
    known = [rate for rate in selection if rate is not None]
    odds = None if true_positive is None or false_positive is None else max(true_positive, false_positive)
    return {
        "selectionRatio": min(known) / max(known) if known and max(known) > 0 else None,
        "selectionDifference": _spread(selection),
        "truePositiveDifference": true_positive,
        "falsePositiveDifference": false_positive,
        "equalizedOddsDifference": odds,
    }


def _spread(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return max(known) - min(known) if known and len(known) == len(rates) else None


def _has(truth: Labels, names: NDArray[Any], name: str, value: int) -> bool:
    return bool(np.any(truth[names == name] == value))


def _accuracy(truth: Labels, predicted: Labels) -> float:
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))
