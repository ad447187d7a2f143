"""The gate as a whole: a plan in, its verdict out, with everything fail-closed that is not the rules themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from policies.evaluation import Evaluation, Finding, evaluate
from policies.facts import FactsError, facts_of
from policies.plan import Plan
from policies.rule import Rule, World
from policies.waivers import FILE, WaiverError, problems_of, read_waivers


def judge(plan: Plan, rules: Sequence[Rule], project: Path, now: datetime) -> Evaluation:
    """Judge a plan by rules and the waivers of a project.

    Args:
        plan: the plan.
        rules: the rules.
        project: the project's folder.
        now: the time, with its zone.
    """
    try:
        facts = facts_of(plan)
    except FactsError as error:
        return _stopped("gate.facts", str(error), "register the stack through infra/, whose program makes its gate")
    try:
        waivers = read_waivers(project / FILE)
        problems = problems_of(waivers, rules)
    except WaiverError as error:
        waivers, problems = (), [str(error)]
    found = evaluate(rules, World(plan=plan, facts=facts, now=now), waivers)
    broken = [_open("gate.waivers", text, f"mend {FILE}") for text in problems]
    counts = Counter(found.counts) + Counter(undetermined=len(broken))
    return Evaluation(findings=[*broken, *found.findings], counts=dict(sorted(counts.items())), asked=found.asked)


def _stopped(rule: str, text: str, fix: str) -> Evaluation:
    return Evaluation(findings=[_open(rule, text, fix)], counts={"undetermined": 1}, asked=[])


def _open(rule: str, text: str, fix: str) -> Finding:
    return Finding(rule=rule, status="undetermined", level="mandatory", severity="critical", text=text, fix=fix)
