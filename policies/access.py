"""Would a call be allowed: IAM policies evaluated as the IAM user guide says ("Policy evaluation logic").

For rehearsals and rules, where no account is there to ask. Of the conditions those operators are known that policies of
this project use; any other, and any key that the caller does not state, makes a statement undetermined. An undetermined
Allow allows nothing, an undetermined Deny may deny: neither is ever read as a pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

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
        ValueError: a policy is none.
    """
    unknown: list[str] = []
    allowed = may_allow = may_deny = False
    for statement in _statements(policies):
        if not _covers(statement, call):
            continue
        match, unevaluated = _conditions(statement.get("Condition", {}), call.context)
        unknown += unevaluated
        denies = statement["Effect"] == "Deny"
        if match == "yes" and denies:
            return Verdict("denied", f"denied by statement {statement.get('Sid', '')!r}", tuple(unknown))
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


def _statements(policies: Iterable[str | Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for policy in policies:
        try:
            document = json.loads(policy) if isinstance(policy, str) else policy
            found = document["Statement"]
            for statement in [found] if isinstance(found, Mapping) else found:
                if statement["Effect"] not in ("Allow", "Deny"):
                    raise ValueError(f"Effect is {statement['Effect']!r}")
                yield statement
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no policy: {error!r}") from error


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def _covers(statement: Mapping[str, Any], call: Call) -> bool:
    if "Action" in statement:
        acts = any(like(pattern, call.action, ignore_case=True) for pattern in _listed(statement["Action"]))
    else:
        acts = not any(like(pattern, call.action, ignore_case=True) for pattern in _listed(statement["NotAction"]))
    if "Resource" in statement:
        return acts and any(like(pattern, call.resource) for pattern in _listed(statement["Resource"]))
    if "NotResource" in statement:
        return acts and not any(like(pattern, call.resource) for pattern in _listed(statement["NotResource"]))
    return acts


@cache
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    text = "".join(".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.compile(text, re.IGNORECASE if ignore_case else 0)


def like(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Return whether a text is what a pattern of IAM (`*` and `?`) stands for."""
    return _pattern(pattern, ignore_case).fullmatch(value) is not None


def _conditions(
    conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str | Sequence[str]]
) -> tuple[_Match, list[str]]:
    known = {key.lower(): _listed(value) for key, value in context.items()}
    unknown: list[str] = []
    for operator, keys in conditions.items():
        plain = operator.removesuffix("IfExists")
        for key, wanted in keys.items():
            values = known.get(key.lower())
            if plain not in _OPERATORS or values is None:
                unknown.append(f"{operator} {key}")
            elif not _OPERATORS[plain](_listed(wanted), values):
                return "no", unknown
    return ("unknown" if unknown else "yes"), unknown


def _equals(wanted: list[str], values: list[str]) -> bool:
    return any(value in wanted for value in values)


def _matches(wanted: list[str], values: list[str]) -> bool:
    return any(like(pattern, value) for pattern in wanted for value in values)


def _same_case(wanted: list[str], values: list[str]) -> bool:
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
