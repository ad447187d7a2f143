"""The review as one comment on a pull request, in GitHub's and GitLab's Markdown.

What a reader must do comes first, what may be left out comes last. The text fits into one comment: parts are cut from
the end, and the comment says which. Names and texts come from the change under review, so that none of them is Markdown
to us: each is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from policies.evaluation import Finding
from policies.plan import name_of
from policies.report.document import (
    OPERATIONS,
    STATUSES,
    Amount,
    CostChange,
    GateChange,
    PlannedStep,
    Review,
    StackReview,
)

MARKER = "<!-- mlops-review -->"
"""First line of the comment, by which it is found again and edited in place."""

LIMIT = 65_536
"""Characters that a comment may have (GitHub; GitLab takes 1,000,000)."""

_SEVERITIES: Mapping[str, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
_VERBS: Mapping[str, str] = {
    "replace": "replaced", "delete": "deleted", "create": "created", "update": "updated", "same": "unchanged",
    "read": "read",
}  # fmt: skip
_SPECIAL = re.compile(r"([\\`*_\[\]#|<>&~@$]|:(?=//|[\w+-]+:))")
_LONGEST_TEXT = 600


def render(review: Review, limit: int = LIMIT) -> str:
    """Return the comment.

    Args:
        review: the review.
        limit: characters that it may have, at least 2,000.
    """
    summary = "\n".join(_summary(review))
    closing = "\n" + _footer(review)
    room = limit - len(closing) - 400  # for the note of what was cut
    if len(summary) > room:
        summary = _cut_lines(summary, room)
    parts = [summary]
    cut: list[str] = []
    room -= len(summary)
    for title, lines in _parts(review):
        text = "\n".join([f"\n### {title}\n", *lines])
        if not cut and len(text) + 1 <= room:
            parts.append(text)
            room -= len(text) + 1
        elif not cut and room > 1_500:
            parts.append(_cut_lines(text, room - 1))
            cut.append(f"the rest of “{title}”")
        else:
            cut.append(f"“{title}”")
    if cut:
        named = ", ".join(cut[:3]) + (f" and {len(cut) - 3} more parts" if len(cut) > 3 else "")
        parts.append(f"\n> **Cut to fit a comment**: {named[:300]}. The review as JSON and SARIF has all of it.")
    return "\n".join(parts) + closing


def text(value: str) -> str:
    """Return a text with nothing left in it that Markdown or HTML would act on, in one line."""
    plain = " ".join(_printable(value).split())
    if len(plain) > _LONGEST_TEXT:
        plain = plain[: _LONGEST_TEXT - 1] + "…"
    # A link needs no brackets where `www.` or `https:` begins it, and a list none where a number and a dot do.
    plain = _SPECIAL.sub(r"\\\1", plain)
    plain = re.sub(r"(?i)\b(www)\.", r"\1\\.", plain)
    return re.sub(r"^(\d*)([.)]|(?<!\d)[+-])", r"\1\\\2", plain)


def code(value: str) -> str:
    """Return a text as a code span, whatever backticks and bars it holds."""
    plain = " ".join(_printable(value).split())
    if len(plain) > _LONGEST_TEXT:
        plain = plain[: _LONGEST_TEXT - 1] + "…"
    if not plain:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    padded = f" {plain} " if plain[0] == "`" or plain[-1] == "`" else plain
    return fence + padded.replace("|", "\\|") + fence


def _printable(value: str) -> str:
    """Return a text without what is not shown: controls, and marks that turn the direction of writing."""
    return "".join(one if one.isprintable() or one.isspace() else "�" for one in value.replace("\x1b", ""))


def _summary(review: Review) -> Iterator[str]:
    yield MARKER
    obstacles = review.obstacles
    yield "## Review: may be merged" if not obstacles else f"## Review: must not be merged ({_many(obstacles)})"
    yield ""
    yield f"{code(_short(review.base))} → {code(_short(review.head))}"
    if review.error:
        yield f"\n**There is no review**: {text(review.error)}"
    if review.stacks:
        yield ""
        yield "| stack | " + " | ".join(STATUSES) + " | plan | expected a month | worst case |"
        yield "|" + "---|" * (len(STATUSES) + 4)
        for one in review.stacks:
            yield _row(one)
    if review.untouched:
        yield f"\nNot touched: {', '.join(code(one) for one in review.untouched)}."
    if obstacles:
        yield "\n### What must change first\n"
        yield from _first(review)


def _row(stack: StackReview) -> str:
    if stack.error or stack.evaluation is None:
        numbers = ["not run", *[""] * (len(STATUSES) - 1)]
    else:
        numbers = [
            f"**{n}**" if n and name in ("failed", "undetermined") else str(n) for name, n in stack.counts.items()
        ]
    does = ", ".join(f"{n} {_VERBS[name]}" for name, n in stack.operations.items() if name != "same") or "nothing"
    expected = worst = "not asked"
    if stack.cost:
        before, after = stack.cost.before, stack.cost.after
        expected = _arrow(before.expected if before else None, after.expected)
        worst = _arrow(before.worst if before else None, after.worst)
        if stack.cost.unpriced:
            expected += f" + {len(stack.cost.unpriced)} unpriced"
    return f"| {code(stack.stack)} | " + " | ".join([*numbers, does, expected, worst]) + " |"


def _first(review: Review) -> Iterator[str]:
    """What stands against a merge, the worst first."""
    if not review.stacks and not review.untouched:
        yield "- no stack was found to review"
    for change in review.gate_changes:
        if change.stops:
            yield f"- **gate weakened**: {_gate(change)}"
    for stack in review.stacks:
        if stack.error:
            yield f"- {code(stack.stack)} has no review: {text(stack.error)}"
        elif stack.evaluation is None:
            yield f"- {code(stack.stack)}: the rules did not run"
        elif not stack.evaluation.asked:
            yield f"- {code(stack.stack)}: no rule was asked"
    stopping = [(stack.stack, one) for stack in review.stacks for one in stack.findings if one.stops]
    stopping.sort(key=lambda pair: (_SEVERITIES.get(pair[1].severity, 0), pair[1].rule, pair[0]))
    for (name, _rule), group in groupby(stopping, key=lambda pair: (pair[0], pair[1].rule)):
        yield from _grouped([one for _, one in group], f"{code(name)} ")


def _parts(review: Review) -> Iterator[tuple[str, list[str]]]:
    """The parts below the summary, those that a reader needs most first."""
    if others := sorted((one for one in review.gate_changes if not one.stops), key=_weight):
        else_ = " else" if len(others) < len(review.gate_changes) else ""
        lines = [f"- {'**weakens** ' if one.weakens else ''}{_gate(one)}" for one in others]
        yield f"What{else_} becomes of the gates", lines
    for stack in review.stacks:
        dangerous = [one for one in stack.steps if one.operation in ("replace", "delete")]
        if dangerous:
            yield f"{code(stack.stack)}: replaced or deleted", _steps(dangerous)
    for stack in review.stacks:
        if waived := [one for one in stack.findings if one.status == "waived"]:
            yield f"{code(stack.stack)}: waived", list(_all_grouped(waived))
    for stack in review.stacks:
        if deferred := [one for one in stack.findings if one.status == "deferred"]:
            title = f"{code(stack.stack)}: for the deploy job to check before its first step"
            yield title, list(_all_grouped(deferred, fix=False))
    for stack in review.stacks:
        if stack.cost:
            yield f"{code(stack.stack)}: cost a month", _cost(stack.cost)
    for stack in review.stacks:
        advisory = [one for one in stack.findings if not one.stops and one.status in ("failed", "undetermined")]
        if advisory:
            yield f"{code(stack.stack)}: advice", list(_all_grouped(advisory))
    for stack in review.stacks:
        rest = [one for one in stack.steps if one.operation not in ("replace", "delete")]
        if rest:
            yield f"{code(stack.stack)}: created or updated", _steps(rest)
    notes = [f"- {text(one)}" for one in review.notes]
    notes += [f"- {code(stack.stack)}: {text(one)}" for stack in review.stacks for one in stack.notes]
    if notes:
        yield "How this was found", notes


def _all_grouped(findings: Sequence[Finding], *, fix: bool = True) -> Iterator[str]:
    order = sorted(findings, key=lambda one: (_SEVERITIES.get(one.severity, 0), one.rule))
    for _rule, group in groupby(order, key=lambda one: one.rule):
        yield from _grouped(list(group), fix=fix)


def _grouped(findings: Sequence[Finding], stack: str = "", *, fix: bool = True) -> Iterator[str]:
    """Yield the findings of one rule: one in a line, several below what is the same for all of them."""
    first = findings[0]
    told = f"- {stack}{text(first.severity)} {_statuses(findings)} {code(first.rule)}"
    mend = f" To mend it: {text(first.fix)}" if fix and first.fix and not first.waiver else ""
    if len(findings) == 1:
        yield f"{told} on {_finding(first)}.{mend}"
        return
    yield f"{told}, {len(findings)} times.{mend}"
    for one in findings:
        yield f"  - {_finding(one)}"


def _statuses(findings: Sequence[Finding]) -> str:
    return ", ".join(f"**{one}**" for one in dict.fromkeys(each.status for each in findings))


def _finding(one: Finding) -> str:
    told = f"{code(name_of(one.urn)) if one.urn else 'the stack'}: {text(one.text)}"
    if where := ", ".join(code(place) for place in (one.path, one.setting, one.place) if place):
        told += f" ({where})"
    return told + (f". Waiver: {text(one.waiver)}" if one.waiver else "")


def _gate(one: GateChange) -> str:
    told = f"{code(one.subject)}: {text(one.text)}"
    if one.before or one.after:
        told += f" ({code(one.before) or 'nothing'} → {code(one.after) or 'nothing'})"
    if one.place and one.place != one.subject:
        told += f", {code(one.place)}"
    return told + (f". Answered for by {text(one.waiver)}" if one.waiver else "")


def _weight(one: GateChange) -> tuple[bool, bool, str, str]:
    return (not one.stops, not one.weakens, one.kind, one.subject)


def _steps(steps: Sequence[PlannedStep]) -> list[str]:
    order = sorted(steps, key=lambda one: (not one.stateful, OPERATIONS.index(one.operation), one.type, one.name))
    lines = []
    for (stateful, operation), group in groupby(order, key=lambda one: (one.stateful, one.operation)):
        for one in group:
            because = f" because of {', '.join(code(path) for path in one.replaces)}" if one.replaces else ""
            changed = f": {', '.join(code(path) for path in one.changed[:8])}" if one.changed and not because else ""
            more = f" and {len(one.changed) - 8} more" if len(one.changed) > 8 and not because else ""
            holds = "**holds data** " if stateful else ""
            lines.append(f"- {holds}{operation} {code(one.name)} ({code(one.type)}){because}{changed}{more}")
    return lines


def _cost(cost: CostChange) -> list[str]:
    budget = f"{_dollars(cost.budget)}" if cost.budget is not None else "none stated"
    lines = [f"Budget {budget}" + (f"; prices: {text(cost.prices)}" if cost.prices else "") + ".", ""]
    if cost.components:
        lines += ["| component | expected | worst case |", "|---|---|---|"]
        order = sorted(cost.components, key=lambda one: (-abs(_change(one.after - one.before)), one.component))
        lines += [
            f"| {text(one.component)} | {_arrow(one.before.expected, one.after.expected)} "
            f"| {_arrow(one.before.worst, one.after.worst)} |"
            for one in order
        ]
    if cost.unpriced:
        lines += ["", f"Unpriced, and not counted above ({len(cost.unpriced)}):"]
        lines += [f"- {text(one)}" for one in cost.unpriced]
    return lines


def _change(amount: Amount) -> float:
    return max(amount.expected, amount.worst, key=abs)


def _arrow(before: float | None, after: float) -> str:
    if before is None:
        return f"? → {_dollars(after)}"
    if round(before, 2) == round(after, 2):
        return _dollars(after)
    return f"{_dollars(before)} → {_dollars(after)}"


def _dollars(amount: float) -> str:
    return f"\\${amount:,.2f}"


def _footer(review: Review) -> str:
    return (
        f"\n<sub>made at {text(review.made_at)}; run <code>./mlops review</code> for the same on your machine</sub>\n"
    )


def _short(commit: str) -> str:
    return re.sub(r"^([0-9a-f]{12})[0-9a-f]{28}", r"\1", commit)


def _many(obstacles: Sequence[str]) -> str:
    return "1 reason" if len(obstacles) == 1 else f"{len(obstacles)} reasons"


def _cut_lines(whole: str, room: int) -> str:
    """Return the lines that fit, whole, so that no escape and no code span is cut in two."""
    kept, used = [], 0
    for line in whole.split("\n"):
        used += len(line) + 1
        if used > room - 60:
            kept.append("- … and more")
            break
        kept.append(line)
    return "\n".join(kept)
