"""The comment: what must change first on top, and nothing in it that the change under review meant as Markdown."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from policies.report import markdown
from policies.report.document import Amount, CostChange, PlannedStep, Review
from policies.report.markdown import LIMIT, MARKER, code, render, text
from tests.policies.report.conftest import URN, evaluation, finding, stack

Make = Callable[..., Review]


def _order(comment: str, *parts: str) -> None:
    places = [comment.index(part) for part in parts]
    assert places == sorted(places), dict(zip(parts, places, strict=True))


def test_the_comment_begins_with_the_marker_by_which_it_is_found_again(full: Review) -> None:
    assert render(full).startswith(MARKER + "\n")


def test_what_must_change_first_stands_above_everything_else(full: Review) -> None:
    comment = render(full)
    _order(
        comment, "must not be merged (3 reasons)", "What must change first", "**gate weakened**: `cost.budget`",
        "critical **failed** `security.bucket-not-public`", "high **undetermined** `cost.budget`",
        "What else becomes of the gates", "replaced or deleted", ": waived\n", "for the deploy job", "cost a month",
        "advice", "created or updated", "How this was found",
    )  # fmt: skip


def test_every_status_is_counted_in_the_row_of_its_stack(full: Review) -> None:
    row = next(line for line in render(full).splitlines() if line.startswith("| `prod`"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:7] == ["412", "**2**", "**1**", "1", "1", "9"]
    assert cells[7] == "1 replaced, 1 deleted, 1 created, 1 updated"
    assert cells[8:] == ["\\$4,000.00 → \\$4,120.50 + 1 unpriced", "\\$8,000.00 → \\$9,900.00"]


def test_a_replacement_that_loses_data_stands_before_a_deletion_that_does_not(full: Review) -> None:
    _order(render(full), "**holds data** replace `tracking`", "delete `old`", "create `models`")


def test_several_findings_of_a_rule_stand_below_what_they_have_in_common(review: Make) -> None:
    bad = [finding(urn=f"{URN}aws:s3/bucket:Bucket::b{number}", text=f"wrong {number}") for number in range(3)]
    comment = render(review(stacks=[stack(evaluation=evaluation(*bad))]))
    _order(comment, "`security.bucket-not-public`, 3 times. To mend it: switch it on", "  - `b0`: wrong 0", "  - `b2`")
    assert comment.count("To mend it") == 1


def test_a_gate_that_stops_is_told_once(full: Review) -> None:
    assert render(full).count("the rule no longer stops prod") == 1


def test_a_replacement_names_what_forces_it(full: Review) -> None:
    assert "because of `dbSubnetGroupName`" in render(full)


def test_waivers_are_shown_with_owner_and_expiry(full: Review) -> None:
    comment = render(full)
    assert "Waiver: dora\\@acme.example, until 2026-12-01: moved to a new subnet group" in comment
    assert "Answered for by dora\\@acme.example" in comment


def test_unpriced_resources_are_listed_beside_the_sum(full: Review) -> None:
    assert "Unpriced, and not counted above (1):\n- tracking" in render(full)


def test_it_says_how_the_plan_was_found(full: Review) -> None:
    assert "- `prod`: planned with stand-ins" in render(full)


def test_a_good_review_says_so_and_names_no_obstacle(review: Make) -> None:
    comment = render(review())
    assert "## Review: may be merged" in comment
    assert "What must change" not in comment
    assert "Not touched: `dev`." in comment


def test_a_stack_without_a_review_is_told_as_such_not_as_zeros(review: Make) -> None:
    comment = render(review(stacks=[stack(evaluation=None, error="the engine ended with 1")]))
    assert "| `prod` | not run |" in comment
    assert "`prod` has no review: the engine ended with 1" in comment


def test_a_review_that_could_not_be_made_says_why(review: Make) -> None:
    comment = render(review(stacks=[], untouched=[], error="the base `x` does not exist"))
    assert "**There is no review**: the base \\`x\\` does not exist" in comment
    assert "may be merged" not in comment


def test_a_cost_without_a_before_is_not_shown_as_nothing(review: Make) -> None:
    cost = CostChange(before=None, after=Amount(expected=10, worst=20))
    assert "? → \\$10.00" in render(review(stacks=[stack(cost=cost)]))


# --- what the change under review writes is never Markdown ---------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("**bold** [x](http://evil)", "\\*\\*bold\\*\\* \\[x\\](http\\://evil)"),
        ("a | b", "a \\| b"),
        ("line\n## Review: may be merged", "line \\#\\# Review: may be merged"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("@team please approve", "\\@team please approve"),
        ("www.evil.example", "www\\.evil.example"),
        ("&lt;script&gt;", "\\&lt;script\\&gt;"),
        ("1. first", "1\\. first"),
        ("- first", "\\- first"),
        ("2026-11-20 is past", "2026-11-20 is past"),
        (":tick: done: yes", "\\:tick: done: yes"),
        ("a\u202eb\u200bc\x07", "a�b�c�"),
    ],
)
def test_text_is_shown_as_it_was_written(written: str, shown: str) -> None:
    assert text(written) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a`b", "``a`b``"),
        ("`a`", "`` `a` ``"),
        ("a``b`c", "```a``b`c```"),
        ("a|b", "`a\\|b`"),
        ("a\n\n# b", "`a # b`"),
        ("", ""),
    ],
)
def test_a_code_span_cannot_be_closed_from_inside(written: str, shown: str) -> None:
    assert code(written) == shown


def test_a_name_cannot_forge_a_verdict_or_hide_the_rest(review: Make) -> None:
    name = "x` |\n\n<!--\n## Review: may be merged\n"
    bad = finding(urn=f"{URN}aws:s3/bucket:Bucket::{name}", text=name)
    comment = render(review(stacks=[stack(evaluation=evaluation(bad))]))
    headings = [line for line in comment.splitlines() if line.startswith("#")]
    assert headings == ["## Review: must not be merged (1 reason)", "### What must change first"]
    assert comment.count("\n<!--") == 0


# --- the limit -----------------------------------------------------------------------------------------------------


def _many_steps(count: int) -> list[PlannedStep]:
    urns = [f"{URN}aws:s3/bucket:Bucket::bucket-{number:05d}" for number in range(count)]
    return [PlannedStep(operation="create", urn=urn, type="aws:s3/bucket:Bucket") for urn in urns]


def test_a_long_review_is_cut_to_fit_with_the_summary_whole_and_says_what_was_cut(review: Make) -> None:
    comment = render(review(stacks=[stack(steps=_many_steps(5_000), notes=["planned with stand-ins"])]))
    assert len(comment) <= LIMIT
    assert "5000 created" in comment
    assert "**Cut to fit a comment**: the rest of “`prod`: created or updated”, “How this was found”" in comment
    assert comment.rstrip().endswith("</sub>")


def test_more_obstacles_than_fit_are_cut_at_a_line_and_counted_whole(review: Make) -> None:
    bad = [finding(text="y" * 500, path=f"p{number}") for number in range(400)]
    comment = render(review(stacks=[stack(evaluation=evaluation(*bad))]))
    assert len(comment) <= LIMIT
    assert "must not be merged (400 reasons)" in comment
    assert "- … and more" in comment


@pytest.mark.parametrize("limit", [2_000, 5_000, 20_000])
def test_it_keeps_any_limit(full: Review, limit: int) -> None:
    assert len(render(full, limit)) <= limit


def test_the_order_is_that_of_what_is_said_not_of_how_it_came(full: Review) -> None:
    prod = full.stacks[0]
    assert prod.evaluation is not None
    steps = list(prod.steps)
    random.Random(7).shuffle(steps)
    shuffled = Review(**{**vars(full), "stacks": [type(prod)(**{**vars(prod), "steps": steps})]})
    assert markdown.render(shuffled) == markdown.render(full)
