"""What is served is watched for as long as it is served: failures, latency and quality, each against its own record.

The record is what the version did until it was promoted and what its predecessor did before. Failures and slow requests
go into CUSUM alarms; accuracy is taken over a window of days, because labels come late and drift is slow.
"""

import math

from pydantic import Field

from serving.rollout.analysis.counts import ArmCounts
from serving.rollout.analysis.cusum import limit, updated, upper_rate
from serving.rollout.analysis.histogram import EDGES, above, bucket_of, quantile
from serving.rollout.analysis.latency import SLOW_SHARE
from serving.rollout.analysis.verdict import rate
from serving.rollout.record import Value
from serving.rollout.strategy import AfterPromotion, Limits

SLOTS_PER_WINDOW = 28
"""Pieces that the quality window moves on by: six hours of a week."""
SIGNIFICANCE = 3.3
"""Standard errors by which a loss of accuracy must differ from none, beside being as large as configured."""


class Labels(Value):
    """Labels that arrived in one piece of the quality window."""

    slot: int
    labelled: int
    wrong: int


class Watch(Value):
    """Where the alarms about one served version stand."""

    digest: str
    settings: AfterPromotion
    failure_rate: float
    """Rate of failures that is all right."""
    latency_bucket: int | None
    """Above this bucket's edge a request counts as slow; None as long as the p99 is unknown."""
    latency_is_limit: bool = False
    """Whether that edge is the fixed limit that was configured, rather than what was usual before."""
    record: ArmCounts = Field(default_factory=ArmCounts)
    """Until the p99 is known: latencies so far. The labels of it are the reference for quality."""
    failing: tuple[float, ...] = ()
    slowing: tuple[float, ...] = ()
    labels: tuple[Labels, ...] = ()
    elapsed: float = 0.0
    """Seconds by the wall clock, as far as it went forward: labels come in by the day, whether anybody asks or not."""
    raised: tuple[str, ...] = ()
    """Alarms raised already; each is raised once."""


class Finding(Value):
    """Something that the served version does not keep up."""

    criterion: str
    reason: str
    figures: dict[str, float] = Field(default_factory=dict)
    """What it was concluded from, for the ledger."""
    evidence: bool = True
    """Whether it speaks against the version. Slower than before, with no other version beside it to compare with, may
    as well be more traffic or a busy machine: people are told, and nothing is taken back."""


def arm(digest: str, record: ArmCounts, limits: Limits, settings: AfterPromotion) -> Watch:
    """Begin to watch a version.

    Args:
        digest: the version.
        record: its counts until now with those of its predecessor; its labels, if any, are the quality reference,
            otherwise the first labels that come are.
        limits: what was tolerated in the rollout.
        settings: what is tolerated from now on.
    """
    usual = upper_rate(record.failures, record.requests) if record.requests >= 100 else limits.failure_rate
    allowed = min(max(limits.tolerated_rate, usual * settings.failure_ratio), 0.5)
    return Watch(
        digest=digest,
        settings=settings,
        failure_rate=allowed,
        latency_bucket=_border(record, settings)
        if limits.latency_seconds is None
        else bucket_of(limits.latency_seconds),
        latency_is_limit=limits.latency_seconds is not None,
        record=record if record.labelled >= settings.quality_labels else record.but(labelled=0, wrong=0),
    )


def observe(watch: Watch, counts: ArmCounts, passed: float) -> tuple[Watch, tuple[Finding, ...]]:
    """Take in counts of the watched version.

    Args:
        watch: where the alarms stand.
        counts: what the version did since.
        passed: seconds since, by the wall clock.
    """
    watch = watch.but(elapsed=watch.elapsed + passed)
    found: list[Finding] = []
    if counts.requests:
        watch, failing = _failures(watch, counts)
        watch, slow = _latency(watch, counts)
        found += [finding for finding in (failing, slow) if finding]
    if counts.labelled:
        watch, worse = _quality(watch, counts)
        found += [worse] if worse else []
    new = tuple(finding for finding in found if finding.criterion not in watch.raised)
    return watch.but(raised=(*watch.raised, *(finding.criterion for finding in new))) if new else watch, new


def _failures(watch: Watch, counts: ArmCounts) -> tuple[Watch, Finding | None]:
    scores = updated(watch.failing, counts.failures, counts.requests, watch.failure_rate)
    watch = watch.but(failing=scores)
    if max(scores, default=0.0) < _alarm(watch, scores):
        return watch, None
    return watch, Finding(
        criterion="failures",
        reason=f"more requests fail than before: {rate(counts.failures, counts.requests)} just now, "
        f"all right would be {100 * watch.failure_rate:.3g} %",
        figures={"requests": counts.requests, "failures": counts.failures, "allowedRate": watch.failure_rate},
    )


def _latency(watch: Watch, counts: ArmCounts) -> tuple[Watch, Finding | None]:
    border = watch.latency_bucket
    if border is None:
        record = watch.record.but(latency=watch.record.plus(counts).latency)
        return watch.but(record=record, latency_bucket=_border(record, watch.settings)), None
    slow = above(counts.latency, border)
    scores = updated(watch.slowing, slow, sum(counts.latency.values()), SLOW_SHARE)
    watch = watch.but(slowing=scores)
    if max(scores, default=0.0) < _alarm(watch, scores):
        return watch, None
    than = "the limit" if watch.latency_is_limit else "before"
    return watch, Finding(
        criterion="latency",
        reason=f"slower than {than}: {rate(slow, counts.requests)} requests just now took longer than "
        f"{1000 * EDGES[border]:.3g} ms, all right would be {100 * SLOW_SHARE:g} %",
        figures={"requests": counts.requests, "slow": slow, "limitSeconds": EDGES[border]},
        evidence=watch.latency_is_limit,
    )


def _quality(watch: Watch, counts: ArmCounts) -> tuple[Watch, Finding | None]:
    settings, record = watch.settings, watch.record
    if record.labelled < settings.quality_labels:
        record = record.but(labelled=record.labelled + counts.labelled, wrong=record.wrong + counts.wrong)
        return watch.but(record=record), None
    length = settings.quality_days * 86_400 / SLOTS_PER_WINDOW
    slot = int(watch.elapsed / length)
    labels = [piece for piece in watch.labels if piece.slot > slot - SLOTS_PER_WINDOW]
    if labels and labels[-1].slot == slot:
        last = labels.pop()
        labels.append(Labels(slot=slot, labelled=last.labelled + counts.labelled, wrong=last.wrong + counts.wrong))
    else:
        labels.append(Labels(slot=slot, labelled=counts.labelled, wrong=counts.wrong))
    watch = watch.but(labels=tuple(labels))
    labelled, wrong = sum(piece.labelled for piece in labels), sum(piece.wrong for piece in labels)
    if labelled < settings.quality_labels:
        return watch, None
    before, now = 1 - record.wrong / record.labelled, 1 - wrong / labelled
    pooled = (record.wrong + wrong) / (record.labelled + labelled)
    error = math.sqrt(pooled * (1 - pooled) * (1 / record.labelled + 1 / labelled))
    if now > before * (1 - settings.quality_drop) or before - now < SIGNIFICANCE * error:
        return watch, None
    return watch, Finding(
        criterion="quality",
        reason=f"accuracy fell from {before:.3f} to {now:.3f} ({100 * (1 - now / before):.1f} %, "
        f"{100 * settings.quality_drop:g} % allowed) over {settings.quality_days:g} days, {labelled:,} labels",
        figures={
            "accuracyBefore": before, "labelsBefore": record.labelled, "accuracy": now, "labels": labelled,
            "wrong": wrong, "allowedDrop": settings.quality_drop, "days": settings.quality_days,
        },
    )  # fmt: skip


def _border(record: ArmCounts, settings: AfterPromotion) -> int | None:
    if sum(record.latency.values()) < 200:
        return None
    p99 = quantile(record.latency, 1 - SLOW_SHARE)
    return None if p99 is None or math.isinf(p99) else bucket_of(p99 * settings.latency_ratio)


def _alarm(watch: Watch, scores: tuple[float, ...]) -> float:
    return limit(watch.settings.alarm_every, 2 * max(1, len(scores)))
