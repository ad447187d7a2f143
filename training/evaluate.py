"""The evaluation of a trained artifact: every number from the exported model in the serving runtime, on held-out rows.

It decides pass or fail against the spec's limits and says why. What could not be measured fails.
"""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from policies.releases.evaluation import (
    Baseline,
    Check,
    Evaluation,
    Fairness,
    HeldOut,
    Latency,
    Metric,
    Perturbation,
    Sample,
    check,
    verdict,
)
from serving.runtime.model import Model, load
from training import export, measures, perturb
from training.dataset import Dataset
from training.errors import TrainingError
from training.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

_NOISE, _MISSING, _UNSEEN = 0.1, 0.1, 0.1
# Enough rows to tell a loss of 0.01 in rocAuc; the perturbations of a large held-out set take seconds otherwise.
_ROBUSTNESS_ROWS = 20_000
_EXTREME_ROWS = 200
_WARM_UP, _ROUND, _ROUNDS = 100, 300, 5


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated: the artifact and the fit that it came from."""

    digest: str
    data_digest: str
    seed: int
    directory: Path
    pipeline: Any


def evaluate(spec: ModelSpec, data: Dataset, subject: Subject, now: datetime, sample: Sample | None) -> Evaluation:
    """Evaluate an exported model.

    Args:
        spec: the model.
        data: its rows; the held-out ones were never fitted on.
        subject: the artifact.
        now: the time of the evaluation.
        sample: the held-out rows that are kept beside the model, if any.
    """
    model = load(subject.directory)
    held_out = data.held_out
    rows = export.columns(spec, held_out)
    truth = held_out[spec.target].to_numpy()
    label, probability = export.predict(model, rows)
    metrics = measures.quality(truth, label, probability)
    baseline = _baseline(spec, data, subject.seed)
    groups = [
        measures.fairness(
            name,
            held_out[name].to_numpy(),
            truth,
            label,
            spec.positive,
            used_as_feature=name in spec.feature_names,
            group_rows=spec.limits.group_rows,
        )
        for name in spec.protected
    ]
    robustness, surviving = _robustness(spec, model, held_out, subject.seed)
    latency = measure_latency(model, rows)
    checks = judge(
        spec,
        metrics=metrics,
        baseline=baseline,
        fairness=groups,
        robustness=robustness,
        surviving=surviving,
        latency=latency,
        parity=export.parity(spec, subject.pipeline, model, held_out),
    )
    passed, reasons = verdict(checks)
    return Evaluation(
        model=spec.name,
        digest=subject.digest,
        data_digest=subject.data_digest,
        seed=subject.seed,
        evaluated_at=now,
        architecture=platform.machine(),
        held_out=_held_out(spec, data),
        metrics=metrics,
        baseline=baseline,
        fairness=tuple(groups),
        robustness=tuple(robustness),
        latency=latency,
        sample=sample,
        checks=tuple(checks),
        passed=passed,
        reasons=reasons,
    )


def judge(
    spec: ModelSpec,
    *,
    metrics: Mapping[str, Metric],
    baseline: Baseline,
    fairness: list[Fairness],
    robustness: list[Perturbation],
    surviving: float,
    latency: Latency,
    parity: tuple[float, float],
) -> list[Check]:
    """Hold the numbers of an evaluation against the limits of a spec.

    Args:
        spec: the model with its limits.
        metrics: on the held-out rows.
        baseline: the simple model on the same rows.
        fairness: by protected attribute.
        robustness: losses under worse inputs.
        surviving: share of extreme inputs that gave a valid probability.
        latency: in the serving runtime.
        parity: largest difference of a probability, and share of other labels, between exported and fitted model.
    """
    limits = spec.limits
    checks = []
    for name, limit in limits.at_least.items():
        checks.append(check("quality", name, _value(metrics, name), "at-least", limit, _no_metric(metrics)))
    for name, limit in limits.at_most.items():
        checks.append(check("quality", name, _value(metrics, name), "at-most", limit, _no_metric(metrics)))
    mine, simple = _value(metrics, "rocAuc"), _value(baseline.metrics, "rocAuc")
    gain = None if mine is None or simple is None else mine - simple
    checks.append(check("baseline", f"gain over {baseline.name}", gain, "at-least", limits.gain_over_baseline))
    if limits.fairness and not fairness:
        raise TrainingError(f"model {spec.name}: limits on fairness, but no protected columns to judge it by")
    for one in fairness:
        small = [group.name for group in one.groups if group.rows < limits.group_rows]
        absent = f"groups {', '.join(small)} have fewer than {limits.group_rows} rows" if small else "no such gap"
        for name, limit in limits.fairness.items():
            comparison: Any = "at-least" if name == "selectionRatio" else "at-most"
            title = f"{name} by {one.attribute}"
            checks.append(check("fairness", title, one.gaps.get(name), comparison, limit, absent))
    checks += [
        check("robustness", f"loss by {loss.name}", loss.loss, "at-most", limits.robustness_loss) for loss in robustness
    ]
    checks.append(check("robustness", "extreme inputs answered", surviving, "at-least", 1.0))
    checks.append(check("latency", "p99 milliseconds a row", latency.p99_ms, "at-most", limits.latency_p99_ms))
    difference, other = parity
    checks.append(check("parity", "exported against fitted probability", difference, "at-most", limits.parity))
    checks.append(check("parity", "share of other labels", other, "at-most", 0.001))
    return checks


def measure_latency(model: Model, rows: Mapping[str, NDArray[Any]]) -> Latency:
    """Time single-row predictions, round after round, and keep the best round: others only add to a time."""
    count = len(next(iter(rows.values())))
    singles = [{name: values[i % count : i % count + 1] for name, values in rows.items()} for i in range(_ROUND)]
    for single in singles[:_WARM_UP]:
        model.predict(single)
    best: tuple[float, float] | None = None
    for _ in range(_ROUNDS):
        times = np.empty(_ROUND)
        for i, single in enumerate(singles):
            start = time.perf_counter()
            model.predict(single)
            times[i] = time.perf_counter() - start
        p50, p99 = (float(value) * 1000 for value in np.percentile(times, [50, 99]))
        if best is None or p99 < best[1]:
            best = (p50, p99)
    assert best is not None
    return Latency(runtime="onnxruntime", predictions=_ROUND, rounds=_ROUNDS, p50_ms=best[0], p99_ms=best[1])


def _baseline(spec: ModelSpec, data: Dataset, seed: int) -> Baseline:
    pipeline = spec.baseline.pipeline(seed)
    pipeline.fit(export.inputs(spec, data.training), data.training[spec.target].to_numpy())
    rows = export.inputs(spec, data.held_out)
    truth = data.held_out[spec.target].to_numpy()
    metrics = measures.quality(truth, pipeline.predict(rows), pipeline.predict_proba(rows)[:, 1])
    return Baseline(name=spec.baseline.name, description=spec.baseline.description, metrics=metrics)


def _robustness(spec: ModelSpec, model: Model, held_out: "pd.DataFrame", seed: int) -> tuple[list[Perturbation], float]:
    """Return the losses under worse inputs, and the share of extreme inputs that gave a valid probability."""
    part = held_out
    if len(part) > _ROBUSTNESS_ROWS:
        chosen = np.random.default_rng(seed).choice(len(part), _ROBUSTNESS_ROWS, replace=False)
        part = part.iloc[np.sort(chosen)]
    rows, truth = export.columns(spec, part), part[spec.target].to_numpy()
    clean = _auc(model, rows, truth)
    variants = [
        ("noise", f"{_NOISE:.0%} noise on numbers", perturb.noise(rows, spec.features, _NOISE, seed)),
        ("unseen categories", f"{_UNSEEN:.0%} of categories", perturb.unseen(rows, spec.features, _UNSEEN, seed)),
    ]
    if model.contract.nan:
        # A model whose contract refuses NaN never sees it: serving answers such requests with an error.
        absent = perturb.missing(rows, spec.features, _MISSING, seed)
        variants.append(("missing values", f"{_MISSING:.0%} of numbers", absent))
    losses = []
    for name, description, variant in variants:
        perturbed = _auc(model, variant, truth)
        losses.append(
            Perturbation(
                name=name,
                description=description,
                metric="rocAuc",
                clean=clean,
                perturbed=perturbed,
                loss=clean - perturbed,
            )
        )
    few = {name: values[:_EXTREME_ROWS] for name, values in rows.items()}
    outcomes = [_survives(model, variant) for _, variant in perturb.extremes(few, spec.features)]
    return losses, sum(outcomes) / len(outcomes)


def _survives(model: Model, rows: Mapping[str, NDArray[Any]]) -> bool:
    """Say whether the model answers every row with a probability. The runtime has no common error: any counts."""
    try:
        _, probability = export.predict(model, rows)
    except Exception:  # noqa: BLE001
        return False
    return bool(np.isfinite(probability).all() and (probability >= 0).all() and (probability <= 1).all())


def _auc(model: Model, rows: Mapping[str, NDArray[Any]], truth: NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, export.predict(model, rows)[1]))


def _held_out(spec: ModelSpec, data: Dataset) -> HeldOut:
    held_out = data.held_out
    times = held_out[spec.time] if spec.time else None
    by_time = spec.hold_out.kind == "time"
    return HeldOut(
        kind=spec.hold_out.kind,
        rows=len(held_out),
        training_rows=len(data.training),
        positives=int(held_out[spec.target].sum()),
        start=None if times is None else times.min().to_pydatetime(),
        end=None if times is None else times.max().to_pydatetime(),
        description=(
            f"all rows from {spec.hold_out.start:%Y-%m-%d} on"
            if by_time
            else f"{spec.hold_out.share:.0%} of the rows, drawn within each class"
        ),
    )


def _value(metrics: Mapping[str, Metric], name: str) -> float | None:
    return metrics[name].value if name in metrics else None


def _no_metric(metrics: Mapping[str, Metric]) -> str:
    return f"there is no such metric; there are {', '.join(sorted(metrics))}"
