"""What a change does to the gates: each weakening is named, and stops unless somebody answers for it in the change."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from policies.report.document import GateChange
from policies.report.gate_diff import gate_changes
from policies.report.gate_state import GateState
from policies.waivers import Waiver

TODAY = date(2026, 11, 20)
LEVELS = {"local": "off", "dev": "advisory", "staging": "mandatory", "prod": "mandatory"}


def described(**changed: Any) -> dict[str, Any]:
    good = {
        "id": "cost.budget", "severity": "high", "levels": LEVELS, "waivable": True, "types": ["a", "b"],
        "scope": "resource", "code": "sha256:aaaa", "yieldsTo": [],
    }  # fmt: skip
    return {**good, **changed}


def state(*rules: dict[str, Any], **changed: Any) -> GateState:
    return GateState(rules={one["id"]: one for one in rules}, **changed)


def waiver(**changed: Any) -> Waiver:
    stated = {
        "rule": "gate.rule-weakened", "stack": "every", "resource": "cost.budget", "owner": "dora",
        "reason": "agreed with finance", "expires": date(2026, 12, 1),
    }  # fmt: skip
    return Waiver.model_validate({**stated, **changed})


def changes(base: GateState, head: GateState) -> list[GateChange]:
    return gate_changes(base, head, TODAY)


def one(base: GateState, head: GateState) -> GateChange:
    (found,) = changes(base, head)
    return found


def test_nothing_is_found_when_nothing_changes() -> None:
    same = state(described(), waivers=(waiver(),), settings={"prod": {"aws.governance.budgetUsd": 1}}, files={"a": "x"})
    assert changes(same, same) == []


# --- rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"severity": "low"}, "severity"),
        ({"severity": "none at all"}, "severity"),
        ({"levels": {**LEVELS, "prod": "advisory"}}, "level"),
        ({"levels": {**LEVELS, "staging": "off"}}, "level"),
        ({"levels": {**LEVELS, "dev": "off"}}, "level"),
        ({"types": ["a"]}, "rule"),
        ({"yieldsTo": ["cost.other"]}, "rule"),
        ({"code": "sha256:bbbb"}, "code"),
        ({"scope": "plan"}, "code"),
    ],
)
def test_a_rule_made_weaker_stops(changed: dict[str, Any], kind: str) -> None:
    found = one(state(described()), state(described(**changed)))
    assert (found.kind, found.stops) == (kind, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"severity": "critical"},
        {"levels": {**LEVELS, "dev": "mandatory"}},
        {"waivable": False},
        {"types": ["a", "b", "c"]},
    ],
)
def test_a_rule_made_stricter_is_shown_and_does_not_stop(changed: dict[str, Any]) -> None:
    found = one(state(described()), state(described(**changed)))
    assert not found.weakens


def test_a_rule_that_can_be_waived_now_is_weaker() -> None:
    assert one(state(described(waivable=False)), state(described())).stops


def test_a_rule_that_is_gone_stops_and_a_new_one_does_not() -> None:
    assert one(state(described()), state()).stops
    assert not one(state(), state(described())).stops


def test_a_level_names_the_environment_that_it_no_longer_stops() -> None:
    found = one(state(described()), state(described(levels={**LEVELS, "prod": "advisory"})))
    assert (found.before, found.after, found.text) == ("mandatory", "advisory", "it no longer stops prod")


def test_a_plan_rule_that_gets_types_is_narrower() -> None:
    assert one(state(described(scope="plan", types=[])), state(described(scope="plan", types=["a"]))).stops


# --- who answers ---------------------------------------------------------------------------------------------------


def _weakened(*waivers: Waiver, base: tuple[Waiver, ...] = (), **before: Any) -> GateChange:
    found = changes(state(described(**before), waivers=base), state(waivers=waivers))
    return next(each for each in found if each.kind == "rule")


def test_a_waiver_in_the_same_change_answers_for_it() -> None:
    found = _weakened(waiver())
    assert found.weakens
    assert not found.stops
    assert found.waiver == "dora, until 2026-12-01: agreed with finance"


@pytest.mark.parametrize(
    "other",
    [
        {"resource": "cost.other"},
        {"stack": "prod"},
        {"rule": "gate.setting-weakened"},
        {"rule": "cost.budget"},
        {"expires": date(2026, 11, 19)},
        {"expires": date(2027, 11, 19)},
    ],
)
def test_a_waiver_of_something_else_or_out_of_time_answers_for_nothing(other: dict[str, Any]) -> None:
    assert _weakened(waiver(**other)).stops


def test_a_waiver_that_was_there_before_answers_for_nothing_new() -> None:
    assert _weakened(waiver(), base=(waiver(),)).stops


def test_weakening_what_no_waiver_may_cover_takes_two_people() -> None:
    assert _weakened(waiver(), waivable=False).stops
    assert _weakened(waiver(), waiver(reason="said twice by the same"), waivable=False).stops
    assert not _weakened(waiver(), waiver(owner="emil"), waivable=False).stops


def test_one_waiver_may_answer_for_all_code_of_a_change() -> None:
    base = state(described(), files={"policies/plan.py": "1", ".github/workflows/review.yml": "1"})
    head = state(
        described(code="sha256:b"), files={"policies/plan.py": "2", ".github/workflows/review.yml": "2"},
        waivers=(waiver(rule="gate.code-changed", resource="code"),),
    )  # fmt: skip
    found = changes(base, head)
    assert {each.kind for each in found} == {"code", "pack", "workflow", "waiver"}
    assert not any(each.stops for each in found)


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "before", "after", "stops"),
    [
        ("aws.governance.budgetUsd", 9000, 9001, True),
        ("aws.governance.budgetUsd", 9000, 8999, False),
        ("aws.governance.budgetUsd", 9000, "many", True),
        ("aws.governance.auditDays", 2557, 90, True),
        ("aws.governance.auditDays", 2557, 4000, False),
        ("aws.governance.auditDays", 2557, None, True),
        ("aws.governance.dataClass", "confidential", "internal", True),
        ("aws.governance.dataClass", "confidential", "restricted", False),
        ("aws.inference.approval", "signatures", "rule", True),
        ("environment", "prod", "dev", True),
        ("baseline", "prod", "staging", True),
        ("gates.kind", None, "dev", True),
        ("gates.kind", None, "prod", False),
        ("gates.allowedSigners", "a", "b", True),
        ("gates.whatever", 1, 2, True),
        ("gates.regions.restricted", ["eu-central-1"], ["eu-central-1", "us-east-1"], True),
        ("gates.regions.restricted", None, ["*"], True),
        ("gates.regions.restricted", ["a", "b"], ["b"], False),
        ("gates.quarantined", ["sha256:a"], [], True),
        ("gates.quarantined", ["sha256:a"], None, True),
        ("gates.quarantined", None, ["sha256:a"], False),
    ],
)
def test_a_yardstick_that_gives_way_stops(key: str, before: Any, after: Any, stops: bool) -> None:
    base, head = ({key: value} if value is not None else {} for value in (before, after))
    found = one(state(settings={"prod": base}), state(settings={"prod": head}))
    assert (found.kind, found.subject, found.stops) == ("setting", f"prod: {key}", stops)


def test_a_setting_that_no_rule_measures_by_is_no_change_of_the_gates() -> None:
    head = state(settings={"prod": {"aws.network.cidr": "b"}})
    assert changes(state(settings={"prod": {"aws.network.cidr": "a"}}), head) == []


def test_a_setting_is_answered_for_by_stack_and_key() -> None:
    answer = waiver(rule="gate.setting-weakened", stack="prod", resource="aws.governance.budgetUsd")
    base = state(settings={name: {"aws.governance.budgetUsd": 1} for name in ("prod", "staging")})
    head = state(settings={name: {"aws.governance.budgetUsd": 2} for name in ("prod", "staging")}, waivers=(answer,))
    assert [each.subject for each in changes(base, head) if each.stops] == ["staging: aws.governance.budgetUsd"]


def test_a_setting_leads_to_the_line_that_states_it() -> None:
    text = "config:\n  mlops:aws:\n    governance:\n      budgetUsd: 2\n"
    base = state(settings={"prod": {"aws.governance.budgetUsd": 1}})
    head = state(settings={"prod": {"aws.governance.budgetUsd": 2}}, texts={"stacks/Pulumi.prod.yaml": text})
    assert one(base, head).place == "stacks/Pulumi.prod.yaml:4"


def test_a_stack_that_is_gone_stops_and_a_new_one_does_not() -> None:
    assert one(state(settings={"prod": {}}), state()).stops
    assert not one(state(), state(settings={"prod": {}})).stops


# --- waivers -------------------------------------------------------------------------------------------------------


def test_a_new_waiver_is_shown_with_who_answers_for_it() -> None:
    found = one(state(), state(waivers=(waiver(rule="cost.budget", stack="prod", resource="x"),)))
    assert (found.kind, found.weakens, found.stops) == ("waiver", True, False)
    assert found.subject == "cost.budget on prod: x"
    assert found.waiver == "dora: agreed with finance"


@pytest.mark.parametrize("before", [(), (waiver(),)])
def test_a_waiver_that_reaches_too_far_stops(before: tuple[Waiver, ...]) -> None:
    found = one(state(waivers=before), state(waivers=(waiver(expires=date(2027, 6, 1)),)))
    assert found.stops
    assert "beyond 2027-05-19 (180 days)" in found.text


def test_a_waiver_leads_to_its_line() -> None:
    two = (waiver(), waiver(owner="emil"))
    text = "waivers:\n  - rule: a\n    stack: b\n  # emil's\n  - rule: a\n"
    found = changes(state(waivers=two[:1]), state(waivers=two, texts={"stacks/waivers.yaml": text}))
    assert [each.place for each in found] == ["stacks/waivers.yaml:5"]


def test_an_extended_waiver_is_shown_as_such_and_a_shortened_or_removed_one_weakens_nothing() -> None:
    longer = waiver(expires=date(2026, 12, 31))
    assert one(state(waivers=(waiver(),)), state(waivers=(longer,))).text == "a waiver reaches further"
    assert not one(state(waivers=(longer,)), state(waivers=(waiver(),))).weakens
    assert not one(state(waivers=(waiver(),)), state()).weakens


# --- files, and what cannot be had ---------------------------------------------------------------------------------


def test_a_changed_or_removed_file_of_the_gate_stops_and_a_new_one_does_not() -> None:
    before = state(files={"policies/judge.py": "1"})
    assert one(before, state(files={"policies/judge.py": "2"})).stops
    assert one(before, state()).stops
    assert not one(state(), before).stops


def test_a_workflow_is_told_as_a_workflow() -> None:
    found = one(state(files={".github/workflows/review.yml": "1"}), state())
    assert (found.kind, found.text) == ("workflow", "a workflow is gone")


def test_what_cannot_be_had_stops_and_no_waiver_covers_it() -> None:
    base = GateState(rules=None, problems=["the rules cannot be described: SyntaxError"])
    found = one(base, state(described()))
    assert (found.kind, found.subject, found.stops) == ("unknown", "base", True)


def test_what_stops_comes_first() -> None:
    base = state(described(), described(id="security.z"), waivers=(waiver(rule="cost.x"),))
    head = state(described(severity="critical"), described(id="security.z", severity="low"))
    assert [each.subject for each in changes(base, head)] == [
        "security.z",
        "cost.budget",
        "cost.x on every: cost.budget",
    ]


# --- a base of before there were gates -----------------------------------------------------------------------------


def test_gates_that_a_change_introduces_are_told_as_such_and_weaken_nothing() -> None:
    base = state(gateless=True, settings={"prod": {}}, files={"infra/git.py": "1"})
    head = state(
        described(), described(id="cost.worst"), files={"infra/git.py": "2", "policies/judge.py": "1"},
        settings={"prod": {"aws.governance.budgetUsd": 9000, "gates.kind": "prod"}},
    )  # fmt: skip
    found = changes(base, head)
    assert not any(each.weakens or each.stops for each in found)
    (told,) = (each for each in found if each.kind == "rule")
    assert told.text == "the base has no gates: this change introduces them, with 2 rules"
    assert {each.text for each in found if each.kind == "setting"} == {
        "a setting that rules measure by is stated first"
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"settings": {"prod": {"aws.inference.approval": "signatures"}}},
         {"settings": {"prod": {"aws.inference.approval": "rule"}}}),
        ({"files": {".github/workflows/deploy.yml": "1"}}, {"files": {".github/workflows/deploy.yml": "2"}}),
        ({"files": {"stacks/trust/prod.signers": "1"}}, {"files": {"stacks/trust/prod.signers": "2"}}),
    ],
)  # fmt: skip
def test_what_guarded_before_there_were_gates_is_still_compared(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = changes(state(gateless=True, **before), state(described(), **after))
    assert [each.stops for each in found] == [True, False]


def test_a_head_that_has_no_gates_has_lost_them() -> None:
    assert one(state(described()), state(gateless=True)).stops
