"""Asking rules: every status, and that whatever goes wrong is not a pass."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from policies.evaluation import Evaluation, Finding, evaluate, not_asked
from policies.plan import Resource
from policies.rule import Answer, Deferred, Problem, Rule, World, plan_rule, resource_rule, step_rule
from policies.testing import component, resource, step, unknown, world
from policies.waivers import Waiver

META: dict[str, Any] = {"title": "x", "severity": "low", "why": "w", "fix": "mend it"}
ONE = resource("t:m:T", "one", a=1, place="components/x.py:7")


def rule(name: str = "cost.a", **meta: Any) -> Rule:
    """A rule that does what its resource's input `do` says."""

    def judge(one: Resource, world: World) -> Iterator[Answer]:
        match one.value("do"):
            case "fail":
                yield Problem("wrong", path="a", setting="k")
            case "fail twice":
                yield Problem("b")
                yield Problem("a")
            case "defer":
                yield Deferred("later", "quota", {"gpu": 8})
            case "fail, then look":
                yield Problem("wrong")
                one.value("dark")
            case "fail, then raise":
                yield Problem("wrong")
                raise KeyError("oops")
            case "leave":
                raise SystemExit(3)
            case "nonsense":
                yield "nonsense"  # type: ignore[misc]

    return resource_rule(id=name, types=["t:*"], **{**META, **meta})(judge)


def thing(do: object, name: str = "one") -> Resource:
    return resource("t:m:T", name, do=do, dark=unknown(), place="components/x.py:7")


def ask(*things: Resource, waivers: tuple[Waiver, ...] = (), environment: str = "prod", **meta: Any) -> Evaluation:
    return evaluate([rule(**meta)], world(*things, environment=environment), waivers)


def waiver(**changes: Any) -> Waiver:
    stated = {"rule": "cost.a", "stack": "prod", "resource": "one", "owner": "ann", "reason": "needed for now"}
    return Waiver.model_validate({"expires": date(2026, 11, 20), **stated, **changes})


def test_pass_is_counted_and_leaves_no_finding() -> None:
    found = ask(thing("nothing"))
    assert (found.findings, found.counts, found.asked, found.passed) == ([], {"passed": 1}, ["cost.a"], True)


def test_failure_carries_what_a_person_needs() -> None:
    found = ask(thing("fail"))
    assert found.findings == [
        Finding(
            rule="cost.a", status="failed", level="mandatory", severity="low", text="wrong", urn=thing("fail").urn,
            path="a", setting="k", place="components/x.py:7", fix="mend it",
        )
    ]  # fmt: skip
    assert found.counts == {"failed": 1}
    assert not found.passed


def test_unknown_value_is_undetermined_and_stops() -> None:
    found = ask(thing(unknown()))
    assert [(one.status, one.path, one.stops) for one in found.findings] == [("undetermined", "do", True)]
    assert found.counts == {"undetermined": 1}
    assert not found.passed


def test_deferred_is_counted_apart_and_does_not_stop() -> None:
    found = ask(thing("defer"))
    assert [(one.status, one.check, one.stops) for one in found.findings] == [
        ("deferred", {"name": "quota", "gpu": 8}, False)
    ]
    assert found.counts == {"deferred": 1}
    assert found.passed


def test_rule_of_nothing_here_is_not_applicable_but_was_asked() -> None:
    found = ask(resource("u:m:U", "one"))
    assert (found.counts, found.asked) == ({"not applicable": 1}, ["cost.a"])


@pytest.mark.parametrize("how", ["fail, then raise", "fail, then look"])
def test_what_a_rule_said_before_it_could_not_go_on_is_kept(how: str) -> None:
    found = ask(thing(how))
    assert sorted(one.status for one in found.findings) == ["failed", "undetermined"]


@pytest.mark.parametrize(
    ("how", "text"), [("fail, then raise", "KeyError: 'oops'"), ("leave", "SystemExit: 3"), ("nonsense", "'nonsense'")]
)
def test_rule_that_trips_is_undetermined_and_says_over_what(how: str, text: str) -> None:
    found = ask(thing(how))
    assert any(one.status == "undetermined" and text in one.text for one in found.findings)
    assert not found.passed


def test_rule_that_returns_nothing_to_iterate_is_undetermined() -> None:
    broken = plan_rule(id="cost.none", **META)(lambda world: None)  # type: ignore[type-var]
    assert [one.status for one in evaluate([broken], world()).findings] == ["undetermined"]


def test_findings_stand_in_a_fixed_order() -> None:
    found = ask(thing("fail twice", "b"), thing("fail twice", "a"))
    assert [(one.urn[-1], one.text) for one in found.findings] == [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]
    assert found == ask(thing("fail twice", "a"), thing("fail twice", "b"))


@pytest.mark.parametrize(
    ("environment", "counts", "stops"),
    [
        ("prod", "failed", True),
        ("staging", "failed", True),
        ("dev", "failed", False),
        ("local", "not applicable", False),
    ],
)
def test_how_a_rule_counts_depends_on_the_environment(environment: str, counts: str, stops: bool) -> None:
    found = ask(thing("fail"), environment=environment)
    assert found.counts == {counts: 1}
    assert found.passed is not stops


def test_rule_over_the_plan_is_asked_once_and_only_with_its_types() -> None:
    def judge(world: World) -> Iterator[Answer]:
        yield Problem("wrong", urn=world.plan.of("t:*")[0].urn)

    asked = plan_rule(id="cost.p", types=["t:*"], **META)(judge)
    assert evaluate([asked], world(component("u:m:U", "x"))).counts == {"not applicable": 1}
    assert [one.urn for one in evaluate([asked], world(ONE, thing("x", "two"))).findings] == [ONE.urn]
    without = plan_rule(id="cost.p", **META)(lambda world: [Problem("none")])
    assert [one.urn for one in evaluate([without], world()).findings] == [""]


def test_rule_over_steps_is_asked_only_where_there_are_steps_and_counts_as_asked_only_there() -> None:
    asked = step_rule(id="rollback.s", types=["t:*"], **META)(
        lambda one, world: [Problem(one.operation)] if one.operation == "delete" else []
    )
    inside = world(ONE)
    assert evaluate([asked], inside).asked == []
    assert [one.text for one in not_asked([asked], evaluate([asked], inside), inside)] == ["the rule was not run"]
    seen = world(step("delete", old=ONE))
    assert [(one.text, one.urn) for one in evaluate([asked], seen).findings] == [("delete", ONE.urn)]
    assert not_asked([asked], evaluate([asked], seen), seen) == []
    assert evaluate([asked], world(step("delete", old=component("u:m:U", "x")))).counts == {"not applicable": 1}


def test_rule_that_was_not_asked_stops_unless_it_is_off() -> None:
    ran = Evaluation(findings=[], counts={}, asked=["cost.a"])
    there = world()
    assert not_asked([rule()], ran, there) == []
    (finding,) = not_asked([rule(), rule("cost.b")], ran, there)
    assert (finding.rule, finding.status, finding.stops) == ("cost.b", "undetermined", True)
    assert not_asked([rule("cost.b")], ran, world(environment="local")) == []


def test_waiver_covers_a_finding_and_is_told() -> None:
    found = ask(thing("fail"), waivers=(waiver(),))
    assert [(one.status, one.stops, one.waiver) for one in found.findings] == [
        ("waived", False, "ann, until 2026-11-20: needed for now")
    ]
    assert found.counts == {"waived": 1}
    assert found.passed


def test_expired_waiver_covers_nothing_and_is_told() -> None:
    found = ask(thing("fail"), waivers=(waiver(expires=date(2026, 11, 19)),))
    assert [(one.status, one.stops) for one in found.findings] == [("failed", True)]
    assert found.findings[0].waiver.startswith("expired: ann")


def test_waiver_covers_what_cannot_be_told_but_not_a_rule_that_trips() -> None:
    assert ask(thing(unknown()), waivers=(waiver(),)).passed
    assert not ask(thing("fail, then raise"), waivers=(waiver(),)).passed


def test_waiver_covers_no_unwaivable_rule_no_other_resource_and_no_deferred_check() -> None:
    assert not ask(thing("fail"), waivers=(waiver(),), waivable=False).passed
    assert not ask(thing("fail"), waivers=(waiver(resource="two"),)).passed
    assert ask(thing("defer"), waivers=(waiver(),)).counts == {"deferred": 1}


def test_evaluation_comes_back_from_json_as_it_was() -> None:
    found = ask(thing("fail"), thing("defer", "two"), thing(unknown(), "three"), waivers=(waiver(),))
    assert Evaluation.from_json(found.to_json()) == found
    assert "waiver" not in found.to_json()["findings"][-1]


def test_what_a_better_rule_says_of_the_same_input_is_not_said_twice() -> None:
    better, other = rule("cost.better"), rule("cost.zother", yields_to=["cost.better"])
    there = world(thing("fail"))
    both = evaluate([better, other], there)
    assert ([one.rule for one in both.findings], both.counts) == (["cost.better"], {"failed": 1})
    assert [one.rule for one in evaluate([other], there).findings] == ["cost.zother"]
    waived = evaluate([better, other], there, [waiver(rule="cost.better")])
    assert ([one.rule for one in waived.findings], waived.passed) == (["cost.better"], True)
    elsewhere = rule("cost.elsewhere", yields_to=["cost.absent"])
    assert len(evaluate([better, elsewhere], there).findings) == 2


def test_a_rule_does_not_yield_to_one_that_says_it_more_softly() -> None:
    there = world(thing("fail"))
    advice = dict.fromkeys(("local", "dev", "staging", "prod"), "advisory")
    soft, hard = rule("cost.better", levels=advice), rule("cost.zother", yields_to=["cost.better"])
    assert not evaluate([soft, hard], there).passed
    better, never = rule("cost.better"), rule("cost.zother", yields_to=["cost.better"], waivable=False)
    waived = evaluate([better, never], there, [waiver(rule="cost.better")])
    assert [(one.rule, one.status) for one in waived.findings] == [("cost.better", "waived"), ("cost.zother", "failed")]


def test_finding_about_a_resource_as_a_whole_yields_to_one_about_an_input_of_it_unless_that_is_waived() -> None:
    def judge(one: Resource, world: World) -> Iterator[Answer]:
        yield Problem("as a whole")

    whole = resource_rule(id="cost.whole", types=["t:*"], yields_to=["cost.better"], **META)(judge)
    better, there = rule("cost.better"), world(thing("fail"))
    assert [one.rule for one in evaluate([better, whole], there).findings] == ["cost.better"]
    waived = evaluate([better, whole], there, [waiver(rule="cost.better")])
    assert [(one.rule, one.status) for one in waived.findings] == [("cost.better", "waived"), ("cost.whole", "failed")]


def test_rule_that_cannot_tell_yields_to_none() -> None:
    better, other = rule("cost.better"), rule("cost.zother", yields_to=["cost.better"])
    found = evaluate([better, other], world(thing(unknown())))
    assert [one.rule for one in found.findings] == ["cost.better", "cost.zother"]
