"""The whole gate: facts, waivers and rules, and that it stops where one of them is missing."""

from pathlib import Path

import pytest

from policies.judge import judge
from policies.plan import Plan, Resource
from policies.rule import Problem, Rule, plan_rule
from policies.testing import NOW, gate, resource, unknown
from policies.waivers import FILE

FAILS = plan_rule(id="cost.a", title="x", severity="low", why="w", fix="f")(lambda world: [Problem("wrong")])
PASSES = plan_rule(id="cost.b", title="x", severity="low", why="w", fix="f")(lambda world: [])
WAIVER = "waivers: [{rule: RULE, stack: prod, resource: stack, owner: ann, reason: for the move, expires: 2027-01-01}]"


def ask(project: Path, *rules: Rule, gates: tuple[Resource, ...] | None = None, waivers: str = "") -> list[str]:
    (project / "stacks").mkdir(exist_ok=True)
    (project / FILE).write_text(waivers)
    plan = Plan(stack="prod", resources=(gate(),) if gates is None else gates)
    found = judge(plan, rules, project, NOW)
    assert found.passed is not any(one.stops for one in found.findings)
    assert sum(found.counts.values()) >= len(found.findings), "what is found is counted"
    return [f"{one.rule} {one.status}" for one in found.findings]


def test_plan_is_judged_by_the_rules(tmp_path: Path) -> None:
    assert ask(tmp_path, FAILS, PASSES) == ["cost.a failed"]
    assert ask(tmp_path, PASSES) == []


def test_waivers_of_the_project_count(tmp_path: Path) -> None:
    assert ask(tmp_path, FAILS, waivers=WAIVER.replace("RULE", "cost.a")) == ["cost.a waived"]


@pytest.mark.parametrize("waivers", ["waivers: [", WAIVER.replace("RULE", "cost.typo"), "waivers: [{}]"])
def test_broken_waivers_stop_and_cover_nothing(tmp_path: Path, waivers: str) -> None:
    assert ask(tmp_path, FAILS, waivers=waivers) == ["gate.waivers undetermined", "cost.a failed"]


@pytest.mark.parametrize(
    "gates",
    [
        (),
        (gate(), resource("blueprint:index:Gate", "second", gate().inputs)),
        (gate(environment="production"),),
        (gate(environment=unknown()),),
        (gate(settings=unknown()),),
        (gate(target="moon"),),
        (gate(stack=None),),
        (gate(settings="none"),),
    ],
    ids=["none", "two", "environment", "unknown", "settings-unknown", "target", "stack", "settings"],
)
def test_plan_that_does_not_say_what_it_is_of_stops(tmp_path: Path, gates: tuple[Resource, ...]) -> None:
    assert ask(tmp_path, PASSES, gates=gates) == ["gate.facts undetermined"]
