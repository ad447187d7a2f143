"""From what the engine and the pack told of one stack to its part of the review: pure, the same each time.

The pack judges what there will be; the steps that lead there are judged here, over the same preview. A pack that told
nothing leaves a stack without an evaluation, and one that asked fewer rules than there are is told of rule by rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from policies.evaluation import Evaluation, Finding, evaluate, not_asked
from policies.facts import FactsError, facts_of
from policies.plan import Plan
from policies.preview import plan_from_preview
from policies.report.cost_change import cost_change
from policies.report.document import PlannedStep, StackReview
from policies.rule import Rule, World
from policies.stateful import STATEFUL
from policies.waivers import Waiver


def stack_review(
    stack: str,
    document: Mapping[str, Any],
    told: Mapping[str, Any] | None,
    rules: Sequence[Rule],
    waivers: Sequence[Waiver],
    now: datetime,
    notes: Sequence[str] = (),
) -> StackReview:
    """Return the review of a stack.

    Args:
        stack: name of the stack.
        document: what the preview printed.
        told: the evaluation that the pack wrote; None where it did not run.
        rules: all rules that are registered.
        waivers: waivers in force or expired.
        now: the time, with its zone.
        notes: what a reader must know of how the plan was made.

    Raises:
        PreviewError: the document is no preview.
    """
    plan = plan_from_preview(document, stack)
    steps = [
        PlannedStep(
            operation=one.operation, urn=one.urn, type=one.type, changed=one.changed, replaces=one.replaces,
            stateful=one.type in STATEFUL,
            place=next((each.place for each in (one.new, one.old) if each is not None), ""),
        )
        for one in plan.steps or ()
        if one.operation not in ("same", "read")
    ]  # fmt: skip
    steps.sort(key=lambda one: (one.operation, one.urn))
    whole = len(plan.steps or ())
    found = StackReview(stack=stack, steps=steps, unchanged=whole - len(steps), notes=tuple(notes))
    try:
        facts = facts_of(plan)
    except FactsError:
        # the pack has found the same, and stops for it
        return replace(found, evaluation=_placed(Evaluation.from_json(told), plan) if told else None)
    cost, unknown = cost_change(plan, facts)
    notes = [*notes, *([unknown] if unknown else [])]
    found = replace(found, environment=facts.environment, cost=cost, notes=notes)
    if told is None:
        return found
    world = World(plan=plan, facts=facts, now=now)
    own = evaluate([rule for rule in rules if rule.scope == "step"], world, waivers)
    both = combined(Evaluation.from_json(told), own)
    missing = not_asked(rules, both, world)
    if missing:
        both = combined(both, Evaluation(findings=missing, counts={"undetermined": len(missing)}, asked=()))
    return replace(found, evaluation=_placed(both, plan))


def combined(one: Evaluation, other: Evaluation) -> Evaluation:
    """Return two evaluations of different rules as one."""
    findings = sorted((*one.findings, *other.findings), key=_order)
    counts = Counter(one.counts) + Counter(other.counts)
    asked = sorted({*one.asked, *other.asked})
    return Evaluation(findings=findings, counts=dict(sorted(counts.items())), asked=asked)


def _order(one: Finding) -> tuple[str, ...]:
    return (one.rule, one.urn, one.path, one.text)


def _placed(evaluation: Evaluation, plan: Plan) -> Evaluation:
    """Return an evaluation whose findings say where their resources are registered: a pack is not told."""
    places = {one.urn: one.place for one in plan.resources} | {
        one.urn: one.old.place for one in plan.steps or () if one.new is None and one.old is not None
    }
    found = [one if one.place else replace(one, place=places.get(one.urn, "")) for one in evaluation.findings]
    return replace(evaluation, findings=found)
