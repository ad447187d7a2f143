"""What a change does to the gates themselves: base against head.

Weakened is a gate through which something may pass now that did not pass before. Where that cannot be told (the code of
a rule has changed, the gate's own files, a workflow) it counts as weakened: somebody answers for it by a waiver that
stands in the same change, or it stops. Such a waiver counts in the change that adds it and in no other.

A base of before there were any gates has none that could be weakened: the change introduces them, and is told so. What
guarded something without them (signers, workflows, settings that were stated) is compared all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final, Literal

from policies.report.document import GateChange, GateKind
from policies.report.gate_state import GateState, is_gate_file, is_workflow
from policies.report.places import setting_places, waiver_lines
from policies.waivers import (
    CODE_CHANGED,
    EVERY_STACK,
    LONGEST_DAYS,
    RULE_WEAKENED,
    SETTING_WEAKENED,
    Waiver,
)
from policies.waivers import FILE as WAIVERS

_SEVERITIES = ("low", "medium", "high", "critical")
_LEVELS = ("off", "advisory", "mandatory")
_CLASSES = ("public", "internal", "confidential", "restricted")
_KINDS = ("local", "dev", "staging", "prod")

Direction = Literal["more", "less", "added", "removed", "any"]

YARDSTICKS: Final[Mapping[str, Direction | Sequence[str]]] = {
    "aws.governance.budgetUsd": "more",
    "aws.governance.worstCaseUsd": "more",
    "aws.governance.instanceFamilies": "any",
    "aws.governance.gpus": "more",
    "aws.governance.maxReplicas": "more",
    "aws.governance.auditDays": "less",
    "aws.governance.auditMode": ("governance", "compliance"),
    "aws.governance.dataClass": _CLASSES,
    "aws.inference.approval": ("rule", "signatures"),
    "aws.inference.allowedSigners": "any",
    "environment": _KINDS,
    "target": ("local", "aws"),
    "baseline": _KINDS,
    "gates.kind": _KINDS,
    "aws.usage.*": "less",
    "gates.quarantined": "removed",
    "gates.regions.*": "added",
    "gates.*": "any",
}
"""Settings that rules measure by, and what weakens: `more`, `less`, an entry `added` to a list or `removed` from it, a
step down in an order, or any change."""


def gate_changes(base: GateState, head: GateState, today: date) -> list[GateChange]:
    """Return what a change does to the gates, in a fixed order; whoever answers for a change is named in it.

    Args:
        base: the gates before.
        head: the gates after.
        today: the day of the review.
    """
    answers = _Answers(base.waivers or (), head.waivers or (), today)
    found = [
        GateChange(kind="unknown", subject=which, weakens=True, text=text)
        for which, state in (("base", base), ("head", head))
        for text in state.problems
    ]
    if base.gateless and head.rules:
        text = f"the base has no gates: this change introduces them, with {len(head.rules)} rules"
        found.append(GateChange(kind="rule", subject="gates", after="introduced", text=text))
    elif base.rules is not None and head.rules is not None:
        found += _rules(base.rules, head.rules, answers)
    found += _settings(base, head, answers)
    if base.waivers is not None and head.waivers is not None:
        found += _waivers(base.waivers, head.waivers, today, waiver_lines(head.texts.get(WAIVERS, "")))
    files = {path: digest for path, digest in base.files.items() if not (base.gateless and is_gate_file(path))}
    found += _files(files, head.files, answers)
    return sorted(found, key=lambda one: (not one.stops, not one.weakens, one.kind, one.subject, one.text))


class _Answers:
    """The waivers that a change adds for what it does to gates."""

    def __init__(self, base: Sequence[Waiver], head: Sequence[Waiver], today: date) -> None:
        self._new = [
            one for one in head if one not in base and today <= one.expires <= today + timedelta(days=LONGEST_DAYS)
        ]

    def to(self, rule: str, stack: str, resources: Sequence[str], people: int = 1) -> str:
        """Return who answers, or an empty text where fewer than `people` different ones do."""
        named = {
            one.owner: f"{one.owner}, until {one.expires}: {one.reason}"
            for one in self._new
            if one.rule == rule and one.stack == stack and one.resource in resources
        }
        return "; ".join(named[owner] for owner in sorted(named)) if len(named) >= people else ""


# --- rules ---------------------------------------------------------------------------------------------------------


def _rules(
    base: Mapping[str, Mapping[str, Any]], head: Mapping[str, Mapping[str, Any]], answers: _Answers
) -> Iterator[GateChange]:
    for name in sorted({*base, *head}):
        before, after = base.get(name), head.get(name)
        if before is None:
            assert after is not None
            yield GateChange(kind="rule", subject=name, after=after["severity"], text="a new rule")
            continue
        # What no waiver may cover needs two people to weaken it.
        people = 1 if before["waivable"] else 2
        for change in [_removed(name, before)] if after is None else _changed(name, before, after):
            rule = CODE_CHANGED if change.kind == "code" else RULE_WEAKENED
            names = (name, "code") if change.kind == "code" else (name,)
            yield _answered(change, answers.to(rule, EVERY_STACK, names, people))


def _removed(name: str, before: Mapping[str, Any]) -> GateChange:
    return GateChange(kind="rule", subject=name, before=before["severity"], weakens=True, text="the rule is gone")


def _changed(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[GateChange]:
    def change(kind: GateKind, old: Any, new: Any, text: str, *, weakens: bool) -> GateChange:
        return GateChange(kind=kind, subject=name, before=str(old), after=str(new), text=text, weakens=weakens)

    if before["severity"] != after["severity"]:
        lower = _below(after["severity"], before["severity"], _SEVERITIES)
        text = f"its severity is {'lower' if lower else 'higher'}"
        yield change("severity", before["severity"], after["severity"], text, weakens=lower)
    for kind in sorted({*before["levels"], *after["levels"]}, key=_rank(_KINDS), reverse=True):
        old, new = (one["levels"].get(kind, "mandatory") for one in (before, after))
        if old != new:
            lower = _below(new, old, _LEVELS)
            text = f"it no longer stops {kind}" if old == "mandatory" else f"how it counts in {kind} has changed"
            yield change("level", old, new, text, weakens=lower)
    if before["waivable"] != after["waivable"]:
        text = "it can be waived now" if after["waivable"] else "it can no longer be waived"
        yield change("waivable", before["waivable"], after["waivable"], text, weakens=after["waivable"])
    if gone := sorted(set(before["types"]) - set(after["types"])):
        yield change("rule", ", ".join(gone), "", "types of resources that it no longer judges", weakens=True)
    if added := sorted(set(after["types"]) - set(before["types"])):
        # A rule about the whole plan is asked only where one of its types is there; without types it is always asked.
        narrower = after["scope"] == "plan" and not before["types"]
        yield change("rule", "", ", ".join(added), "types of resources that it judges now", weakens=narrower)
    if added := sorted(set(after["yieldsTo"]) - set(before.get("yieldsTo", ()))):
        yield change("rule", "", ", ".join(added), "it is silent now where these rules speak", weakens=True)
    if (before["scope"], before["code"]) != (after["scope"], after["code"]):
        text = "its code has changed: read it, and run `./mlops policies test`"
        yield change("code", before["code"][:19], after["code"][:19], text, weakens=True)


# --- settings ------------------------------------------------------------------------------------------------------


def _settings(base_state: GateState, head_state: GateState, answers: _Answers) -> Iterator[GateChange]:
    base, head = base_state.settings, head_state.settings
    for stack in sorted({*base, *head}):
        if stack not in head:
            text = "the stack's file is gone; what it made is reviewed no more"
            change = GateChange(kind="setting", subject=stack, before="reviewed", weakens=True, text=text)
            yield _answered(change, answers.to(SETTING_WEAKENED, stack, ("stack",)))
            continue
        if stack not in base:
            yield GateChange(kind="setting", subject=stack, after="reviewed", text="a new stack")
            continue
        for key in sorted({*base[stack], *head[stack]}):
            old, new = base[stack].get(key), head[stack].get(key)
            if (by := _yardstick(key)) is None or old == new:
                continue
            first = base_state.gateless and old is None
            weakens = not first and _weakens(old, new, by)
            text = "a setting that rules measure by " + ("is stated first" if first else "has changed")
            text += ", which weakens them" if weakens else ""
            change = GateChange(
                kind="setting", subject=f"{stack}: {key}", before=_shown(old), after=_shown(new), weakens=weakens,
                text=text, place=str(setting_places(stack, [key], head_state.texts)[key]),
            )  # fmt: skip
            yield _answered(change, answers.to(SETTING_WEAKENED, stack, (key,)))


def _yardstick(key: str) -> Direction | Sequence[str] | None:
    if key in YARDSTICKS:
        return YARDSTICKS[key]
    wider = next((one for one in YARDSTICKS if one.endswith(".*") and key.startswith(one.removesuffix("*"))), None)
    return YARDSTICKS[wider] if wider else None


def _weakens(old: Any, new: Any, by: Direction | Sequence[str]) -> bool:
    if not isinstance(by, str) and new == by[-1]:
        return False
    if by in ("added", "removed"):
        before, after = ({str(each) for each in one} if isinstance(one, list) else set() for one in (old, new))
        return bool(after - before) if by == "added" else bool(before - after)
    if by == "any" or old is None or new is None:
        return True
    if by in ("more", "less"):
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (old, new)):
            return True
        return bool(new > old) if by == "more" else bool(new < old)
    return _below(str(new), str(old), by)


# --- waivers -------------------------------------------------------------------------------------------------------


def _waivers(base: Sequence[Waiver], head: Sequence[Waiver], today: date, lines: Sequence[int]) -> Iterator[GateChange]:
    """Compare waivers. Each is answered for by its owner, but none may reach further than `LONGEST_DAYS`."""
    before = {_key(one): one for one in base}
    after = {_key(one): one for one in head}
    places = {_key(one): f"{WAIVERS}:{line}" for one, line in zip(head, lines, strict=False)}
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        subject = "{} on {}: {}".format(*key[:3])
        if new is None:
            yield GateChange(kind="waiver", subject=subject, before=f"until {old and old.expires}", text="is gone")
        elif old is None or new.expires > old.expires:
            farthest = today + timedelta(days=LONGEST_DAYS)
            text = "a new waiver" if old is None else "a waiver reaches further"
            allowed = new.expires <= farthest
            yield GateChange(
                kind="waiver", subject=subject, before=f"until {old.expires}" if old else "",
                after=f"until {new.expires}", weakens=True, place=places.get(key, WAIVERS),
                text=text if allowed else f"{text}, beyond {farthest} ({LONGEST_DAYS} days)",
                waiver=f"{new.owner}: {new.reason}" if allowed else "",
            )  # fmt: skip
        elif new != old:
            yield GateChange(
                kind="waiver", subject=subject, before=_told(old), after=_told(new), text="a waiver has changed",
                place=places.get(key, WAIVERS),
            )  # fmt: skip


def _key(one: Waiver) -> tuple[str, str, str, str]:
    return (one.rule, one.stack, one.resource, one.owner)


def _told(one: Waiver) -> str:
    return f"{one.owner}, until {one.expires}: {one.reason}"


# --- files ---------------------------------------------------------------------------------------------------------


def _files(base: Mapping[str, str], head: Mapping[str, str], answers: _Answers) -> Iterator[GateChange]:
    for path in sorted({*base, *head}):
        old, new = base.get(path), head.get(path)
        if old == new:
            continue
        kind: GateKind = "workflow" if is_workflow(path) else "pack"
        what = "a workflow" if kind == "workflow" else "a file of the gate itself"
        how = "is new" if old is None else "is gone" if new is None else "has changed: read it"
        change = GateChange(
            kind=kind, subject=path, before=(old or "")[:19], after=(new or "")[:19], weakens=old is not None,
            text=f"{what} {how}", place=path if new else "",
        )  # fmt: skip
        yield _answered(change, answers.to(CODE_CHANGED, EVERY_STACK, (path, "code")))


def _answered(change: GateChange, waiver: str) -> GateChange:
    return GateChange(**{**vars(change), "waiver": waiver if change.weakens else ""})


def _below(one: str, other: str, order: Sequence[str]) -> bool:
    """Return whether one stands below the other; what is in no order counts as below."""
    if one not in order or other not in order:
        return True
    return order.index(one) < order.index(other)


def _rank(order: Sequence[str]) -> Any:
    return lambda one: (order.index(one) if one in order else len(order), one)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
