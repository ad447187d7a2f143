"""Asks every rule about a plan, and counts what came of it, so that "no finding" differs from "not run".

Verdicts: passed, failed, undetermined (stops a mandatory rule), deferred to the deploy job, waived, not applicable. A
rule that raises is undetermined; so is one that is registered but was not asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from policies.plan import Resource, Step, UndeterminedError, matches
from policies.rule import Answer, Deferred, Level, Problem, Rule, World
from policies.waivers import Waiver

Status = Literal["passed", "failed", "undetermined", "deferred", "waived", "not applicable"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule has to say of one subject, unless it passed.

    Attributes:
        rule: id of the rule.
        status: failed, undetermined, deferred or waived.
        level: how the rule counts in this environment.
        severity: how bad it is.
        text: what is wrong, or what is not known.
        urn: the resource; empty where the whole stack is meant.
        path: input that is meant.
        setting: key of the stack's settings where it is to be mended.
        place: line of the program that registers the resource.
        fix: what to do.
        waiver: who waived it, until when, and why; of an expired waiver that it has expired.
        check: of a deferred one, the name of the check and its arguments.
    """

    rule: str
    status: Status
    level: Level
    severity: str
    text: str
    urn: str = ""
    path: str = ""
    setting: str = ""
    place: str = ""
    fix: str = ""
    waiver: str = ""
    check: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether it stops the gate."""
        return self.level == "mandatory" and self.status in ("failed", "undetermined")

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, without what is empty."""
        return {name: value for name, value in vars(self).items() if value not in ("", {})}

    @staticmethod
    def from_json(stated: Mapping[str, Any]) -> Finding:
        """Return what `to_json` wrote."""
        return Finding(**stated)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of asking.

    Attributes:
        findings: everything but passes, in a fixed order.
        counts: subjects by status.
        asked: ids of the rules that were asked or do not apply here, in order.
    """

    findings: Sequence[Finding]
    counts: Mapping[str, int]
    asked: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether nothing stops the gate."""
        return not any(one.stops for one in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "findings": [one.to_json() for one in self.findings],
            "counts": dict(self.counts),
            "asked": list(self.asked),
        }

    @staticmethod
    def from_json(stated: Mapping[str, Any]) -> Evaluation:
        """Return what `to_json` wrote."""
        findings = [Finding.from_json(one) for one in stated["findings"]]
        return Evaluation(findings=findings, counts=dict(stated["counts"]), asked=list(stated["asked"]))


def evaluate(rules: Sequence[Rule], world: World, waivers: Sequence[Waiver] = ()) -> Evaluation:
    """Ask rules about a plan.

    Rules about steps are asked only where the plan holds steps; elsewhere they do not count as asked.

    Args:
        rules: the rules.
        world: what they look at.
        waivers: waivers in force or expired.
    """
    counts: Counter[str] = Counter()
    findings: list[Finding] = []
    asked = []
    for rule in rules:
        if rule.scope == "step" and world.plan.steps is None:
            continue
        asked.append(rule.id)
        level = rule.level(world.facts.environment)
        subjects = [] if level == "off" else list(_subjects(rule, world))
        if not subjects:
            counts["not applicable"] += 1
        for urn, arguments in subjects:
            found = _ask(rule, level, urn, arguments, world, waivers)
            findings += found
            counts.update([one.status for one in found] or ["passed"])
    said_twice = _said_twice(rules, findings)
    findings = [one for one in findings if one not in said_twice]
    counts.subtract([one.status for one in said_twice])
    findings.sort(key=lambda one: (one.rule, one.urn, one.path, one.text))
    return Evaluation(findings=findings, counts=dict(sorted((+counts).items())), asked=asked)


def _said_twice(rules: Sequence[Rule], findings: Sequence[Finding]) -> list[Finding]:
    """Return the failures that a rule to which theirs yields has found at the same input.

    One that stops yields only to one that stops too, or that somebody has waived who could have waived it itself: what
    is said better must not be said more softly. One that names no input yields to what stops anywhere at its resource,
    and to no waiver: whoever answers for one input does not answer for the whole.
    """
    known = {rule.id: rule for rule in rules}
    said = {(one.rule, one.urn, one.path): one for one in findings if one.status in ("failed", "waived")}
    stopped = {(one.rule, one.urn) for one in findings if one.status == "failed" and one.stops}

    def is_said(one: Finding) -> bool:
        rule = known[one.rule]
        if not one.path and any((name, one.urn) in stopped for name in rule.yields_to):
            return True
        better = [found for name in rule.yields_to if (found := said.get((name, one.urn, one.path)))]
        if not one.stops:
            return bool(better)
        return any(found.stops or (found.status == "waived" and rule.waivable) for found in better)

    return [one for one in findings if one.status in ("failed", "waived") and is_said(one)]


def not_asked(rules: Sequence[Rule], evaluation: Evaluation, world: World) -> list[Finding]:
    """Return a finding for each rule that should have been asked and was not."""
    asked = set(evaluation.asked)
    return [
        Finding(
            rule=rule.id, status="undetermined", level=rule.level(world.facts.environment), severity=rule.severity,
            text="the rule was not run", fix="run the policies again; a pack that ends early is a defect",
        )
        for rule in rules
        if rule.id not in asked and rule.level(world.facts.environment) != "off"
    ]  # fmt: skip


def _subjects(rule: Rule, world: World) -> Iterable[tuple[str, tuple[Any, ...]]]:
    plan = world.plan
    if rule.scope == "resource":
        return [(one.urn, (one,)) for one in plan.of(*rule.types)]
    if rule.scope == "step":
        wanted = [one for one in plan.steps or () if matches(one.type, rule.types)]
        return [(one.urn, (one,)) for one in wanted]
    return [("", ())] if not rule.types or plan.of(*rule.types) else []


def _ask(
    rule: Rule,
    level: Level,
    urn: str,
    arguments: tuple[Resource | Step, ...],
    world: World,
    waivers: Sequence[Waiver],
) -> list[Finding]:
    """Ask once; what it says before it fails to go on is kept, since that is wrong in any case.

    A waiver covers what a rule finds, and not that the rule is broken: nobody knows what it would have found.
    """
    answers: list[Answer] = []
    shared: dict[str, Any] = {"rule": rule.id, "level": level, "severity": rule.severity, "fix": rule.fix}
    open_question: list[Finding] = []
    broken: list[Finding] = []
    try:
        for one in rule.judge(*arguments, world):
            answers.append(_answer(one))  # noqa: PERF401 - what was said before it fails is kept
    except UndeterminedError as error:
        open_question = [_found(world, urn, status="undetermined", text=str(error), path=error.path, **shared)]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a rule trips over, it did not pass
        text = f"the rule failed: {type(error).__name__}: {error}"
        broken = [_found(world, urn, status="undetermined", text=text, **shared)]
    found = [_answered(one, urn, world, shared) for one in answers] + open_question
    return [_waived(one, waivers, rule, world) for one in found] + broken


def _answer(said: object) -> Answer:
    if isinstance(said, Problem | Deferred):
        return said
    raise TypeError(f"it said {said!r}, which is neither a Problem nor Deferred")


def _answered(answer: Answer, urn: str, world: World, shared: Mapping[str, Any]) -> Finding:
    match answer:
        case Problem():
            path, setting = answer.path, answer.setting
            return _found(
                world, answer.urn or urn, status="failed", text=answer.text, path=path, setting=setting, **shared
            )
        case Deferred():
            check = {"name": answer.check, **answer.arguments}
            return _found(world, answer.urn or urn, status="deferred", text=answer.text, check=check, **shared)


def _found(world: World, urn: str, **rest: Any) -> Finding:
    resource = world.plan.by_urn.get(urn)
    return Finding(urn=urn, place=resource.place if resource else "", **rest)


def _waived(finding: Finding, waivers: Sequence[Waiver], rule: Rule, world: World) -> Finding:
    if finding.status not in ("failed", "undetermined") or not rule.waivable:
        return finding
    for one in waivers:
        if not one.covers(rule.id, world.facts.stack, finding.urn):
            continue
        told = f"{one.owner}, until {one.expires}: {one.reason}"
        if world.now.date() > one.expires:
            return Finding(**{**vars(finding), "waiver": f"expired: {told}"})
        return Finding(**{**vars(finding), "status": "waived", "waiver": told})
    return finding
