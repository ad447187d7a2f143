"""The verdict: which number against which limit, and the reason when it fails."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.releases.evaluation import Baseline, Check, Fairness, Group, Latency, Metric, Perturbation, verdict
from training.errors import TrainingError
from training.evaluate import judge
from training.spec import Limits, ModelSpec, load_model

LIMITS = Limits(
    at_least={"rocAuc": 0.75},
    at_most={"brier": 0.2},
    gain_over_baseline=0.05,
    fairness={"selectionRatio": 0.8, "truePositiveDifference": 0.1},
    group_rows=100,
    robustness_loss=0.05,
    latency_p99_ms=5.0,
    parity=1e-4,
)
GOOD: dict[str, Any] = {
    "metrics": {"rocAuc": Metric(value=0.8), "brier": Metric(value=0.1)},
    "baseline": Baseline(name="simple", description="", metrics={"rocAuc": Metric(value=0.7)}),
    "robustness": [Perturbation(name="noise", description="", metric="rocAuc", clean=0.8, perturbed=0.79, loss=0.01)],
    "surviving": 1.0,
    "latency": Latency(runtime="onnxruntime", predictions=1, rounds=1, p50_ms=0.1, p99_ms=0.2),
    "parity": (1e-6, 0.0),
}


def groups(rows: int = 200, **gaps: float | None) -> Fairness:
    group = Group(
        name="a", rows=rows, selection_rate=0.5, true_positive_rate=0.5, false_positive_rate=0.5, accuracy=0.5
    )
    found = {"selectionRatio": 0.9, "truePositiveDifference": 0.05, **gaps}
    return Fairness(attribute="g", positive="yes", used_as_feature=False, groups=(group,), gaps=found)


@pytest.fixture
def spec(third_model: Path) -> ModelSpec:
    return replace(load_model(third_model), limits=LIMITS)


def judged(spec: ModelSpec, **changes: Any) -> list[Check]:
    return judge(spec, **{"fairness": [groups()], **GOOD, **changes})


def test_model_passes_when_every_limit_holds(spec: ModelSpec) -> None:
    checks = judged(spec)
    assert verdict(checks) == (True, ())
    assert {one.family for one in checks} == {"quality", "baseline", "fairness", "robustness", "latency", "parity"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metrics": {"rocAuc": Metric(value=0.76), "brier": Metric(value=0.3)}}, "brier is 0.3, must be at most 0.2"),
        ({"metrics": {"rocAuc": Metric(value=0.74), "brier": Metric(value=0.1)}}, "rocAuc is 0.74, must be at least"),
        ({"metrics": {"rocAuc": Metric(value=0.8)}}, "brier: there is no such metric; there are rocAuc"),
        (
            {"baseline": Baseline(name="simple", description="", metrics={"rocAuc": Metric(value=0.79)})},
            "gain over simple is 0.01, must be at least 0.05",
        ),
        ({"fairness": [groups(selectionRatio=0.79)]}, "selectionRatio by g is 0.79, must be at least 0.8"),
        ({"fairness": [groups(truePositiveDifference=0.2)]}, "truePositiveDifference by g is 0.2, must be at most 0.1"),
        ({"fairness": [groups(rows=99, selectionRatio=None)]}, "groups a have fewer than 100 rows"),
        ({"surviving": 0.99}, "extreme inputs answered is 0.99"),
        (
            {"latency": Latency(runtime="onnxruntime", predictions=1, rounds=1, p50_ms=0.1, p99_ms=5.1)},
            "p99 milliseconds a row is 5.1, must be at most 5",
        ),
        ({"parity": (0.01, 0.0)}, "exported against fitted probability is 0.01"),
        ({"parity": (1e-6, 0.01)}, "share of other labels is 0.01"),
        (
            {
                "robustness": [
                    Perturbation(name="noise", description="", metric="a", clean=0.8, perturbed=0.7, loss=0.1)
                ]
            },
            "loss by noise is 0.1, must be at most 0.05",
        ),
    ],
)
def test_model_fails_with_the_reason_when_a_limit_is_broken(spec: ModelSpec, change: Any, reason: str) -> None:
    passed, reasons = verdict(judged(spec, **change))
    assert not passed
    assert any(reason in one for one in reasons)


def test_limits_on_fairness_without_protected_columns_are_an_error(spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="no protected columns"):
        judged(spec, fairness=[])
