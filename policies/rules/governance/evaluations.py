"""What is known of a model before it is released: evaluated, good enough, fair, no worse, and where it comes from.

Each rule reads its own part of the manifest. A manifest that is missing or malformed as a whole is refused by
`governance.release-approved`, which no waiver covers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from policies.manifests import RELEASE, Candidate, candidates, previous
from policies.plan import Resource
from policies.releases.evaluation import Check, Evaluation
from policies.rule import EVERYWHERE_ON_AWS, GATED, Answer, Deferred, Problem, World, resource_rule

ERRORS: Final = 2.0
"""Standard errors by which a metric may lie below the serving version's: 95 % of equal models lie within."""
SHARE: Final = 0.02
"""The same where no standard error is known: a share of the serving version's value."""
_FAMILIES: Final = ("quality", "baseline", "robustness", "latency")
"""Families of checks without which an evaluation says too little."""
_DIGEST: Final = r"sha256:[0-9a-f]{64}"
_LINEAGE: Final[Mapping[str, str]] = {
    "run": r"\S.{0,63}",
    "commit": r"[0-9a-f]{40}|[0-9a-f]{64}",
    "dataDigest": _DIGEST,
    "lockDigest": _DIGEST,
    "trainedBy": r"\S+",
    "trainedAt": r".+",
}
_EMPTY: Final = re.compile(r"(sha256:)?0+")
"""A digest that stands for none."""


@resource_rule(
    id="governance.release-evaluated",
    title="What is released has an evaluation report in which every check passed",
    severity="critical",
    why="Without it nobody knows what the model does to the people and the processes that it decides over.",
    fix="train and evaluate it, and propose the version that passed: `./mlops release propose MODEL`",
    references=(
        "EU AI Act Art. 15", "EU AI Act Art. 9", "NIST AI RMF MEASURE 2.3", "NIST AI RMF MEASURE 2.5", "SR 26-2",
        "ISO/IEC 42001 A.6.2.4",
    ),
    types=(RELEASE,),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)  # fmt: skip
def release_evaluated(release: Resource, _: World) -> Iterator[Answer]:
    """Read the report; that its verdict is what its checks say is part of its schema."""
    for one in candidates(release):
        if one.stated is None:
            continue
        path = f"{one.path}.evaluation"
        report = _report(one.stated)
        if not isinstance(report, Evaluation):
            yield Problem(f"version {one.version}: {report}", path=path)
            continue
        for each in report.checks:
            if not each.passed and each.family != "fairness":  # that is for release-fair to say
                yield Problem(f"version {one.version}: the evaluation failed: {each.reason}", path=path)
        for family in _FAMILIES:
            if not any(each.family == family for each in report.checks):
                yield Problem(f"version {one.version}: the evaluation has no check of {family}", path=f"{path}.checks")
        for name, stated in (("digest", report.digest), ("dataDigest", report.data_digest)):
            if stated != one.stated.get(name):
                yield Problem(
                    f"version {one.version}: the evaluation is of {name} {stated}, the manifest of "
                    f"{one.stated.get(name)}",
                    path=f"{path}.{name}",
                )


@resource_rule(
    id="governance.release-no-worse",
    title="What is released is no worse than what is served, and is held to no laxer limits",
    severity="high",
    why="A limit says what is good enough for a first version; each later one is measured by what people have now.",
    fix="release a better version, or let a named person answer for the loss by a waiver",
    references=("NIST AI RMF MEASURE 2.3", "NIST AI RMF MANAGE 4.2", "SR 26-2", "EU AI Act Art. 15"),
    types=(RELEASE,),
    levels=GATED,
)
def release_no_worse(release: Resource, world: World) -> Iterator[Answer]:
    """Compare the checks of quality and fairness with those of the version before."""
    stated = release.value("manifest")
    report = _report(stated)
    if not isinstance(report, Evaluation):
        return  # release-approved and release-evaluated say so
    before = previous(world.plan, release)
    old = None if before.stated is None else _report(before.stated)
    if isinstance(old, str):
        yield Problem(f"the version before cannot be compared with: {old}", path="previous.evaluation")
    if not before.certain:
        compared = None if before.stated is None else before.stated.get("digest")
        yield Deferred(
            f"that {release.value('model')} serves nothing yet"
            + (f", or the version compared with ({compared})" if compared else ""),
            check="serving-version",
            arguments={"model": release.value("model"), "digest": stated.get("digest"), "previous": compared},
        )
    if isinstance(old, Evaluation):
        yield from (Problem(text, path="manifest.evaluation.checks") for text in _worse(report, old))


def _worse(new: Evaluation, old: Evaluation) -> Iterator[str]:
    """Yield in which way an evaluation is worse than an earlier one."""
    found = {(one.family, one.name): one for one in new.checks}
    for before in old.checks:
        after = found.get((before.family, before.name))
        if after is None:
            if before.family in ("quality", "fairness"):
                yield f"the check of {before.name} ({before.family}), which the version before passed, is gone"
            continue
        sign = 1 if before.comparison == "at-least" else -1
        if after.comparison != before.comparison or sign * (before.limit - after.limit) > 0:
            yield (f"the limit of {before.name} is {_words(after)}; the version before was held to {_words(before)}")
        if before.family != "quality" or before.value is None or after.value is None:
            continue
        lost, room = sign * (before.value - after.value), _room(before.name, before.value, new, old)
        if lost > room:
            yield (
                f"{before.name} is {after.value:.4g}, of the version before {before.value:.4g}: worse by {lost:.3g}, "
                f"allowed is {room:.3g}"
            )


def _room(name: str, value: float, new: Evaluation, old: Evaluation) -> float:
    """Return by how much a metric may be worse before it counts: the difference of two estimates has their errors."""
    one, other = _error(name, new), _error(name, old)
    return SHARE * abs(value) if one is None or other is None else ERRORS * math.hypot(one, other)


def _error(name: str, report: Evaluation) -> float | None:
    metric = report.metrics.get(name)
    return None if metric is None else metric.standard_error


def _words(check: Check) -> str:
    return f"{check.comparison.replace('-', ' ')} {check.limit:.4g}"


@resource_rule(
    id="governance.release-fair",
    title="A model of high risk is judged by its fairness, and every model keeps the limits it has",
    severity="critical",
    why="A model that is good on the whole can be wrong for one group of people every time.",
    fix="state `protected` columns and limits of fairness in the model's specification, and train it within them",
    references=(
        "EU AI Act Art. 10", "EU AI Act Art. 9", "NIST AI RMF MEASURE 2.11", "ISO/IEC 42001 A.5.4",
    ),
    types=(RELEASE,),
    levels=EVERYWHERE_ON_AWS,
)  # fmt: skip
def release_fair(release: Resource, _: World) -> Iterator[Answer]:
    """Look for the checks of fairness, and at what they say."""
    for one in candidates(release):
        report, tier = _report(one.stated), (one.stated or {}).get("riskTier")
        if not isinstance(report, Evaluation):
            continue  # release-approved and release-evaluated say so
        path = f"{one.path}.evaluation"
        judged = [each for each in report.checks if each.family == "fairness"]
        if tier == "high" and not judged:
            yield Problem(f"version {one.version} is of high risk and has no check of fairness", path=f"{path}.checks")
        if judged and not report.fairness:
            yield Problem(f"version {one.version}: the checks of fairness name no groups", path=f"{path}.fairness")
        for each in judged:
            if not each.passed:
                yield Problem(f"version {one.version}: {each.reason}", path=f"{path}.checks")


@resource_rule(
    id="governance.release-lineage",
    title="What is released says where it comes from: run, commit, data and locked dependencies",
    severity="high",
    why="A model that cannot be made again cannot be explained, corrected or defended.",
    fix="train it from a clean checkout by the platform's own jobs, which record all of it",
    references=(
        "EU AI Act Art. 10", "EU AI Act Art. 12", "SR 26-2", "ISO/IEC 42001 A.7.5",
    ),
    types=(RELEASE,),
    levels=EVERYWHERE_ON_AWS,
)  # fmt: skip
def release_lineage(release: Resource, _: World) -> Iterator[Answer]:
    """Look for each part, and at its form."""
    for one in candidates(release):
        yield from _lineage(one)


def _lineage(one: Candidate) -> Iterator[Answer]:
    for name, pattern in _LINEAGE.items() if one.stated is not None else ():
        found = (one.stated or {}).get(name)
        text = "" if found is None else str(found)
        if not text.strip():
            yield Problem(f"version {one.version}: {name} is missing", path=f"{one.path}.{name}")
        elif not re.fullmatch(pattern, text) or _EMPTY.fullmatch(text):
            yield Problem(f"version {one.version}: {name} is {text!r}, which names nothing", path=f"{one.path}.{name}")


def _report(stated: Mapping[str, Any] | None) -> Evaluation | str:
    """Return the evaluation of a manifest, or what is wrong with it."""
    if stated is None or stated.get("evaluation") is None:
        return "it has no evaluation report"
    try:
        return Evaluation.model_validate(stated["evaluation"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("evaluation", *first["loc"])))
        return f"the evaluation report is not well formed: {where}: {first['msg'].removeprefix('Value error, ')}"
