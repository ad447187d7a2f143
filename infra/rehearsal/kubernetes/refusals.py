"""What the API server refused, as reasons that name the field."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.rehearsal.kubernetes.client import ApiError
from infra.rehearsal.properties import Path, show

_STRICT = re.compile(r"strict decoding error: (?P<problems>.*)$", re.DOTALL)
_EACH = re.compile(r'(?:unknown|duplicate) field "(?P<field>[^"]+)"')


def reasons(error: ApiError, left_out: Sequence[Path] = ()) -> list[str]:
    """Return one reason per thing that is wrong.

    Args:
        error: The refusal.
        left_out: Paths of values that are not known yet and were not sent; what is said of them is no reason.
    """
    strict = _STRICT.search(str(error))
    if strict:
        unknown = [f"{found['field']}: {found[0].split(' ')[0]} field" for found in _EACH.finditer(strict["problems"])]
        if unknown:
            return unknown
    if error.status == 403:
        return [f"refused: {error}"]
    if error.causes:
        return [f"{field or 'the object'}: {message}" for field, message in error.causes if not _is_of(field, left_out)]
    # A value of the wrong type has no causes beside it; whatever was left out cannot be the reason.
    return [str(error)]


def conflict(error: ApiError) -> str:
    """Return what to do about fields that somebody else owns."""
    fields = ", ".join(field for field, _message in error.causes)
    managers = sorted(set(re.findall(r'conflict(?:s)? with "([^"]+)"', str(error) + str(error.causes))))
    return (
        f"{fields or 'fields'} belong to {', '.join(managers) or 'another manager'}, who changed them last. Leave them "
        'out of the program, or take them with the annotation pulumi.com/patchForce: "true"'
    )


def _is_of(field: str, left_out: Sequence[Path]) -> bool:
    """Return whether a field is one that was left out, or above or below one."""
    for path in left_out:
        # The places of a list behind one that was left out have moved.
        cut = next((index for index, part in enumerate(path) if isinstance(part, int)), len(path))
        kept = path if cut < len(path) - 1 else path[:cut]
        name = show(kept).replace('["', "[").replace('"]', "]")
        if field == name or name.startswith((f"{field}.", f"{field}[")) or field.startswith((f"{name}.", f"{name}[")):
            return True
    return False
