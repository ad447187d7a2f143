"""Policy documents of AWS: their statements, and what may be said of one without evaluating a call.

Whether a call would be allowed is asked of `policies.access`; here it is asked what a statement says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

WIDE = re.compile(r"^(\*|[a-zA-Z0-9-]+:\*|\*:\*)$")
"""An action that stands for everything, or for everything of a service."""
NARROWING = (
    "aws:sourceaccount", "aws:sourcearn", "aws:sourceowner", "aws:principalaccount", "aws:principalarn",
    "aws:principalorgid", "aws:principalorgpaths", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceorgid", "aws:userid",
    "kms:calleraccount", "s3:dataaccesspointaccount", "aws:vpcsourceip", "aws:sourceip",
)  # fmt: skip
"""Keys of conditions that keep everybody out but those named."""
_POSITIVE = ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "StringEqualsIgnoreCase", "IpAddress")


class DocumentError(ValueError):
    """A text is no policy document."""


@dataclass(frozen=True)
class Statement:
    """One statement, with everything that may be one or several as several."""

    stated: Mapping[str, Any]

    @property
    def allows(self) -> bool:
        """Whether it allows."""
        return self.stated.get("Effect") == "Allow"

    @property
    def sid(self) -> str:
        """Its name, or what to call it."""
        return str(self.stated.get("Sid") or "a statement without Sid")

    @property
    def actions(self) -> Sequence[str]:
        """Its actions; what it does not name counts as `*`."""
        return ("*",) if "NotAction" in self.stated else listed(self.stated.get("Action"))

    @property
    def resources(self) -> Sequence[str]:
        """Its resources; what it does not name counts as `*`."""
        return ("*",) if "NotResource" in self.stated else listed(self.stated.get("Resource"))

    @property
    def everyone(self) -> bool:
        """Whether its principal is everybody."""
        if "NotPrincipal" in self.stated:
            return True
        principal = self.stated.get("Principal")
        if isinstance(principal, Mapping):
            return any("*" in listed(who) for kind, who in principal.items() if kind in ("AWS", "Federated"))
        return principal == "*"

    def principals(self, kind: str) -> Sequence[str]:
        """Return its principals of a kind, such as `Service`."""
        principal = self.stated.get("Principal")
        return listed(principal.get(kind)) if isinstance(principal, Mapping) else ()

    def conditions(self) -> Iterator[tuple[str, str, Sequence[str]]]:
        """Yield operator, key in lower case and values of each condition."""
        for operator, keys in (self.stated.get("Condition") or {}).items():
            for key, values in keys.items():
                yield operator, key.lower(), listed(values)

    @property
    def narrowed(self) -> bool:
        """Whether a condition keeps everybody out but somebody named."""
        return any(
            operator.removeprefix("ForAnyValue:") in _POSITIVE
            and key in NARROWING
            and bool(values)
            and not any(one in ("*", "0.0.0.0/0", "::/0", "arn:aws:iam::*:*") for one in values)
            for operator, key, values in self.conditions()
        )

    def covers(self, action: str) -> bool:
        """Return whether one of its actions is, or stands for, an action."""
        return any(like(one, action, ignore_case=True) for one in self.actions)


def statements(document: str | Mapping[str, Any]) -> list[Statement]:
    """Return the statements of a document.

    Raises:
        DocumentError: it is none.
    """
    try:
        stated = json.loads(document) if isinstance(document, str) else document
        found = stated["Statement"]
        found = [found] if isinstance(found, Mapping) else list(found)
        if not all(isinstance(one, Mapping) and one.get("Effect") in ("Allow", "Deny") for one in found):
            raise DocumentError("a statement has no effect (Allow or Deny)")
        if not all("Action" in one or "NotAction" in one for one in found):
            raise DocumentError("a statement says of no action (Action or NotAction)")
        return [Statement(one) for one in found]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DocumentError(f"it is no policy document: {error!r}") from error


def listed(value: Any) -> Sequence[str]:
    """Return one or several as several, none as none."""
    if value is None:
        return ()
    return tuple(str(one) for one in value) if isinstance(value, list | tuple) else (str(value),)


@cache
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    text = "".join(".*" if one == "*" else "." if one == "?" else re.escape(one) for one in pattern)
    return re.compile(text, re.IGNORECASE if ignore_case else re.NOFLAG)


def like(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    """Return whether a text is what a pattern of IAM (`*` and `?`) stands for."""
    return _pattern(pattern, ignore_case).fullmatch(value) is not None


def denies_plain_transport(document: str | Mapping[str, Any]) -> bool:
    """Return whether a document denies everybody calls without TLS, whatever else the call is.

    Raises:
        DocumentError: it is none.
    """
    return any(
        not one.allows
        and one.everyone
        and "NotPrincipal" not in one.stated
        and [(operator, key) for operator, key, _ in one.conditions()] == [("Bool", "aws:securetransport")]
        and all(value.lower() == "false" for *_, values in one.conditions() for value in values)
        for one in statements(document)
    )
