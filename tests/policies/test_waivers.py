"""The file of waivers: what it may say, and what each waiver covers."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from policies.rule import Rule, plan_rule
from policies.waivers import Waiver, WaiverError, problems_of, read_waivers

GOOD = """\
waivers:
  - rule: cost.a
    stack: prod
    resource: data
    owner: ann
    reason: it is needed until the move
    expires: 2026-12-01
"""


def rule(name: str, *, waivable: bool = True) -> Rule:
    return plan_rule(id=name, title="x", severity="low", why="w", fix="f", waivable=waivable)(lambda world: iter(()))


def waiver(**changes: Any) -> Waiver:
    stated = {"rule": "cost.a", "stack": "prod", "resource": "data", "owner": "ann", "reason": "needed for now"}
    return Waiver.model_validate({"expires": date(2026, 12, 1), **stated, **changes})


def read(tmp_path: Path, text: str | bytes) -> tuple[Waiver, ...]:
    file = tmp_path / "waivers.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_waivers(file)


def test_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == (waiver(reason="it is needed until the move"),)


def test_no_file_and_an_empty_one_are_no_waivers(tmp_path: Path) -> None:
    assert read_waivers(tmp_path / "absent.yaml") == ()
    assert read(tmp_path, "# none yet\n") == ()
    assert read(tmp_path, "waivers: []\n") == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("waivers: [", "cannot be read"),
        (b"\xff\xfe\xfa", "cannot be read"),
        ("- rule: x\n", "one key"),
        ("waivers: []\nmore: 1\n", "one key"),
        ("waivers:\n", "one key"),
        ("waivers: [1]\n", r"waivers\[0\]"),
        (GOOD.replace("2026-12-01", "soon"), r"waivers\[0\]\.expires"),
        (GOOD.replace("    expires: 2026-12-01\n", ""), r"waivers\[0\]\.expires"),
        (GOOD.replace("    owner: ann\n", ""), r"waivers\[0\]\.owner"),
        (GOOD.replace("it is needed until the move", "because"), r"waivers\[0\]\.reason"),
        (GOOD + "    forever: true\n", r"waivers\[0\]\.forever"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(WaiverError, match=told):
        read(tmp_path, text)


URN = "urn:pulumi:prod::mlops::mlops:storage:Bucket$aws:s3/bucket:Bucket::data"


@pytest.mark.parametrize(
    ("changes", "covers"),
    [
        ({}, True),
        ({"resource": "aws:s3/bucket:Bucket::data"}, True),
        ({"resource": "mlops:storage:Bucket::data"}, False),
        ({"resource": "dat"}, False),
        ({"resource": "stack"}, False),
        ({"rule": "cost.b"}, False),
        ({"stack": "staging"}, False),
    ],
)
def test_waiver_covers_one_rule_over_one_resource_of_one_stack(changes: dict[str, str], covers: bool) -> None:
    assert waiver(**changes).covers("cost.a", "prod", URN) is covers


def test_finding_about_the_stack_is_covered_by_that_word_alone() -> None:
    assert waiver(resource="stack").covers("cost.a", "prod", "")
    assert not waiver().covers("cost.a", "prod", "")


def test_rule_that_does_not_exist_or_cannot_be_waived_is_told() -> None:
    rules = [rule("cost.a"), rule("cost.b", waivable=False)]
    assert problems_of([waiver()], rules) == []
    assert ["there is no rule 'cost.c'" in one for one in problems_of([waiver(rule="cost.c")], rules)] == [True]
    assert ["cannot be waived" in one for one in problems_of([waiver(rule="cost.b")], rules)] == [True]
