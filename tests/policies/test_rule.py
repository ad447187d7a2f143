"""What a rule must say of itself."""

from collections.abc import Iterator
from typing import Any

import pytest

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, PRODUCTION_ONLY, Answer, Rule, World, plan_rule, resource_rule, step_rule
from policies.rules import all_rules

META: dict[str, Any] = {"id": "security.x", "title": "x", "severity": "low", "why": "w", "fix": "f"}


def nothing(resource: Resource, world: World) -> Iterator[Answer]:
    yield from ()


def test_family_is_that_of_the_id() -> None:
    assert resource_rule(**META, types=["t"])(nothing).family == "security"


def test_id_without_a_family_is_refused() -> None:
    with pytest.raises(ValueError, match="governance, cost, rollback, security, reliability"):
        resource_rule(**{**META, "id": "safety.x"}, types=["t"])(nothing)


@pytest.mark.parametrize("make", [resource_rule, step_rule])
def test_rule_that_would_be_asked_of_nothing_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="asked of nothing"):
        make(**META)(nothing)


def test_rule_over_the_plan_needs_no_types() -> None:
    rule = plan_rule(**META)(lambda world: iter(()))
    assert (rule.scope, rule.types) == ("plan", ())


def test_levels_stand_as_documented() -> None:
    def levels(rule: Rule) -> list[str]:
        return [rule.level(kind) for kind in ("local", "dev", "staging", "prod")]

    assert levels(plan_rule(**META)(lambda world: iter(()))) == ["off", "advisory", "mandatory", "mandatory"]
    assert levels(plan_rule(**META, levels=EVERYWHERE_ON_AWS)(lambda world: iter(()))) == [
        "off", "mandatory", "mandatory", "mandatory",
    ]  # fmt: skip
    assert levels(plan_rule(**META, levels=PRODUCTION_ONLY)(lambda world: iter(()))) == [
        "off", "off", "advisory", "mandatory",
    ]  # fmt: skip
    assert levels(plan_rule(**META, levels={})(lambda world: iter(()))) == ["mandatory"] * 4


def test_all_rules_are_found_once_and_in_order() -> None:
    ids = [rule.id for rule in all_rules()]
    assert ids == sorted(set(ids))
    assert "security.bucket-not-public" in ids


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_rule_says_what_a_person_needs(rule: Rule) -> None:
    assert rule.severity in ("critical", "high", "medium", "low")
    assert len(rule.title) > 10
    assert rule.title[0].isupper()
    assert not rule.title.endswith("."), "a title is a sentence without its full stop"
    assert len(rule.why) > 20
    assert rule.fix
    assert set(rule.levels.values()) <= {"mandatory", "advisory", "off"}
    levels = (rule.level("dev"), rule.level("staging"), rule.level("prod"))
    assert "mandatory" in levels, "a rule that nothing must keep is none"
    assert rule.judge.__doc__, "the judge says how it judges"
    assert len(set(rule.references)) == len(rule.references)
