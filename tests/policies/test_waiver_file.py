"""Writing a waiver: what is refused, and that an edit leaves the rest of the file as it is."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from policies.rule import Rule, plan_rule
from policies.waiver_file import checked, with_waiver
from policies.waivers import Waiver, WaiverError, read_waivers

TODAY = date(2026, 11, 20)
STATED = {
    "rule": "cost.budget", "stack": "prod", "resource": "gpu", "owner": "dora@acme.example",
    "reason": "agreed: a trial until the spring", "expires": "2026-12-01",
}  # fmt: skip


def _rule(name: str, *, waivable: bool = True) -> Rule:
    return plan_rule(id=name, title="t", severity="low", why="w", fix="mend it", waivable=waivable)(lambda _: [])


RULES = (_rule("cost.budget"), _rule("security.public", waivable=False))


def check(**changed: Any) -> Waiver:
    return checked({**STATED, **changed}, RULES, ["dev", "prod"], TODAY)


def test_a_waiver_that_says_everything_is_taken() -> None:
    assert check() == Waiver.model_validate(STATED)


@pytest.mark.parametrize("day", ["2026-11-20", "2027-05-19"])
def test_the_first_and_the_last_day_that_are_allowed_are(day: str) -> None:
    assert check(expires=day).expires == date.fromisoformat(day)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rule": "cost.budgt"}, "did you mean cost.budget?"),
        ({"rule": "nothing.like"}, "there is no rule 'nothing.like'"),
        ({"rule": "security.public"}, "cannot be waived: mend it"),
        ({"stack": "production"}, "there are: dev, prod"),
        ({"stack": "every"}, "there is no stack 'every'"),
        ({"expires": "2026-11-19"}, "2026-11-19 is past"),
        ({"expires": "2027-05-20"}, "180 days, to 2027-05-19, at most"),
        ({"expires": "soon"}, "expires: "),
        ({"owner": ""}, "owner: "),
        ({"reason": "because"}, "reason: "),
        ({"resource": ""}, "resource: "),
    ],
)
def test_what_would_not_count_or_should_not_be_decided_so_is_refused(changed: dict[str, str], told: str) -> None:
    with pytest.raises(WaiverError) as error:
        check(**changed)
    assert told in str(error.value)


def test_a_change_of_the_gates_may_be_waived_for_every_stack() -> None:
    assert check(rule="gate.rule-weakened", stack="every", resource="cost.budget").stack == "every"


# --- the edit ------------------------------------------------------------------------------------------------------

ENTRY = """\
  - rule: cost.budget
    stack: prod
    resource: gpu
    owner: dora@acme.example
    reason: 'agreed: a trial until the spring'
    expires: 2026-12-01
"""
OTHER = """\
  # why this one is here
  - rule: cost.other
    stack: dev
    resource: x   # a comment
    owner: emil
    reason: >-
      said in
      two lines
    expires: 2026-12-24
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "waivers:\n" + ENTRY),
        ("# kept\nwaivers: []\n", "# kept\nwaivers:\n" + ENTRY),
        ("waivers: []  # kept\n", "waivers:  # kept\n" + ENTRY),
        ("waivers:\n", "waivers:\n" + ENTRY),
        ("waivers:\n" + OTHER, "waivers:\n" + OTHER + ENTRY),
        ("waivers:\n" + OTHER.rstrip("\n"), "waivers:\n" + OTHER + ENTRY),
        ("waivers:\n" + OTHER + "\n# the end\n", "waivers:\n" + OTHER + ENTRY + "\n# the end\n"),
    ],
)
def test_the_waiver_is_added_at_the_end_and_all_else_stays(before: str, after: str) -> None:
    assert with_waiver(before, check()) == after


def test_a_list_without_indentation_is_kept_so() -> None:
    flat = "waivers:\n" + "".join(line[2:] + "\n" for line in OTHER.splitlines())
    assert with_waiver(flat, check()) == flat + "".join(line[2:] + "\n" for line in ENTRY.splitlines())


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "waivers.yaml"
    odd = check(reason="a: b # c - 'd' \"e\" é", owner="- x", resource="a::b")
    file.write_text(with_waiver(with_waiver("", check()), odd), "utf-8")
    assert read_waivers(file) == (check(), odd)


def test_a_second_of_the_same_is_refused_with_its_line() -> None:
    with pytest.raises(WaiverError, match=r"stacks/waivers.yaml:11 is a waiver of the same"):
        with_waiver("waivers:\n" + OTHER + ENTRY, check(reason="another reason"))


def test_a_second_person_may_answer_for_the_same() -> None:
    assert with_waiver("waivers:\n" + ENTRY, check(owner="emil")).count("rule: cost.budget") == 2


@pytest.mark.parametrize("text", ["waivers: [", "waivers: {a: 1}\n", "- x\n", "other: []\n", "waivers: [{rule: x}]\n"])
def test_a_file_that_is_not_as_it_should_be_is_not_edited(text: str) -> None:
    with pytest.raises(WaiverError, match=r"stacks/waivers\.yaml"):
        with_waiver(text, check())


def test_the_shipped_file_takes_a_waiver() -> None:
    shipped = (Path(__file__).parents[2] / "stacks" / "waivers.yaml").read_text()
    assert with_waiver(shipped, check()).endswith("\nwaivers:\n" + ENTRY)
