"""Would a call be allowed: IAM policies evaluated as the IAM user guide says ("Policy evaluation logic").

For rehearsals and rules, where no account is there to ask. Of the conditions those operators are known that policies of
this project use; any other, and any key that the caller does not state, makes a statement undetermined. An undetermined
Allow allows nothing, an undetermined Deny may deny: neither is ever read as a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from policies.documents import Statement, like, listed, statements

Outcome = Literal["allowed", "denied", "undetermined"]
_Match = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Call:
    """A call: action such as `s3:GetObject`, ARN of the resource, and what is known of its context."""

    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a call, and the conditions that could not be evaluated."""

    outcome: Outcome
    reason: str
    unevaluated: tuple[str, ...] = ()


def evaluate(policies: Iterable[str | Mapping[str, Any]], call: Call) -> Verdict:
    """Whether the policies of one identity allow a call.

    Args:
        policies: identity policies, as JSON text or as data.
        call: the call.

    Raises:
        DocumentError: a policy is none.
    """
    unknown: list[str] = []
    allowed = may_allow = may_deny = False
    for statement in (one for policy in policies for one in statements(policy)):
        if not _covers(statement.stated, call):
            continue
        match, unevaluated = _conditions(statement, call.context)
        unknown += unevaluated
        denies = not statement.allows
        if match == "yes" and denies:
            return Verdict("denied", f"denied by {statement.sid}", tuple(unknown))
        allowed |= match == "yes" and not denies
        may_deny |= match == "unknown" and denies
        may_allow |= match == "unknown" and not denies
    if may_deny or (may_allow and not allowed):
        return Verdict(
            "undetermined", f"conditions that are not known: {', '.join(sorted(set(unknown)))}", tuple(unknown)
        )
    if allowed:
        return Verdict("allowed", "", tuple(unknown))
    return Verdict("denied", f"no statement allows {call.action} on {call.resource}", tuple(unknown))


def _covers(stated: Mapping[str, Any], call: Call) -> bool:
    if "Action" in stated:
        acts = any(like(pattern, call.action, ignore_case=True) for pattern in listed(stated["Action"]))
    else:
        acts = not any(like(pattern, call.action, ignore_case=True) for pattern in listed(stated.get("NotAction")))
    if "Resource" in stated:
        return acts and any(like(pattern, call.resource) for pattern in listed(stated["Resource"]))
    if "NotResource" in stated:
        return acts and not any(like(pattern, call.resource) for pattern in listed(stated["NotResource"]))
    return acts


def _conditions(statement: Statement, context: Mapping[str, str | Sequence[str]]) -> tuple[_Match, list[str]]:
    known = {key.lower(): listed(value) for key, value in context.items()}
    unknown: list[str] = []
    for operator, key, wanted in statement.conditions():
        plain, values = operator.removesuffix("IfExists"), known.get(key)
        if plain not in _OPERATORS or values is None:
            unknown.append(f"{operator} {key}")
        elif not _OPERATORS[plain](wanted, values):
            return "no", unknown
    return ("unknown" if unknown else "yes"), unknown


def _equals(wanted: Sequence[str], values: Sequence[str]) -> bool:
    return any(value in wanted for value in values)


def _matches(wanted: Sequence[str], values: Sequence[str]) -> bool:
    return any(like(pattern, value) for pattern in wanted for value in values)


def _same_case(wanted: Sequence[str], values: Sequence[str]) -> bool:
    return any(value.lower() == one.lower() for value in values for one in wanted)


_OPERATORS = {
    "StringEquals": _equals,
    "StringNotEquals": lambda wanted, values: not _equals(wanted, values),
    "StringLike": _matches,
    "ForAnyValue:StringEquals": _equals,
    "ForAnyValue:StringLike": _matches,
    "StringNotLike": lambda wanted, values: not _matches(wanted, values),
    "ArnEquals": _matches,
    "ArnLike": _matches,
    "ArnNotEquals": lambda wanted, values: not _matches(wanted, values),
    "ArnNotLike": lambda wanted, values: not _matches(wanted, values),
    "Bool": _same_case,
}
