"""Validation of resource inputs by declared fields: types, allowed values, defaults, what is secret.

Every resource declares its inputs once as a `Fields` table. `check` gives back inputs with defaults filled in and
secrets marked, and one reason per thing that is wrong. Unknown values of a preview pass. A reason never holds a
secret.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from infra.provider.codec import UNKNOWN, Properties, Secret, plain

Rule = Callable[[Any], str | None]
"""Takes a plain value, returns what is allowed instead, or None when the value is fine."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input: exactly one of `rule` (a value), `fields` (an object), `each` (a map's values) and `items` (a list's).

    `secret` marks the value, or each value of a map, as secret however it came in. `keys` restricts the keys of a map.
    """

    rule: Rule | None = None
    fields: "Fields | None" = None
    each: "Input | None" = None
    items: "Input | None" = None
    keys: Rule | None = None
    required: bool = False
    default: Any = None
    secret: bool = False


Fields = Mapping[str, Input]


def check(fields: Fields, given: Properties) -> tuple[Properties, list[str]]:
    """Return the inputs to use and what is wrong with those given."""
    problems: list[str] = []
    return _object(fields, given, "", problems), problems


def unknown(fields: Collection[str], given: Iterable[str], path: str) -> list[str]:
    """Return what is wrong with the names of properties, each with the nearest known one; the engine's own are left."""
    found = []
    for name in given:
        if name not in fields and not name.startswith("__"):
            near = get_close_matches(name, fields, 1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known are {', '.join(sorted(fields))}"
            found.append(f"`{path}{name}` is not known{hint}")
    return found


def _object(fields: Fields, given: Properties, path: str, problems: list[str], hide: bool = False) -> Properties:
    result: Properties = {}
    problems += unknown(fields, given, path)
    for name, field in fields.items():
        value = given.get(name)
        if value is None:
            if field.required:
                problems.append(f"`{path}{name}` is missing")
            elif field.default is not None:
                result[name] = field.default
            continue
        result[name] = _value(field, value, path + name, problems, hide)
    return result


def _value(field: Input, value: Any, path: str, problems: list[str], hide: bool) -> Any:
    """Validate one value; inside of a secret `hide` keeps values out of the reasons."""
    if isinstance(value, Secret):
        return Secret(plain(_value(field, value.value, path, problems, hide=True)))
    if value is UNKNOWN:
        return Secret(UNKNOWN) if field.secret else UNKNOWN
    if field.fields is not None or field.each is not None:
        if not isinstance(value, dict):
            problems.append(f"`{path}` must be an object, not {_kind(value)}")
            return value
        if field.fields is not None:
            return _object(field.fields, value, f"{path}.", problems, hide)
        return _map(field, value, path, problems, hide)
    if field.items is not None:
        if not isinstance(value, list):
            problems.append(f"`{path}` must be a list, not {_kind(value)}")
            return value
        return [_value(field.items, item, f"{path}[{index}]", problems, hide) for index, item in enumerate(value)]
    allowed = field.rule(plain(value)) if field.rule is not None else None
    if allowed is not None:
        shown = "a secret that does not fit" if hide or field.secret else repr(plain(value))
        problems.append(f"`{path}` is {shown}: {allowed}")
    return Secret(value) if field.secret else value


def _map(field: Input, value: Properties, path: str, problems: list[str], hide: bool) -> Properties:
    assert field.each is not None
    result: Properties = {}
    for key, item in value.items():
        if field.keys is not None and (allowed := field.keys(key)) is not None:
            problems.append(f"`{path}` has the key {'(secret)' if hide else repr(key)}: {allowed}")
        result[key] = _value(field.each, item, f"{path}.{key}", problems, hide)
    return result


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


# --- rules ---------------------------------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """Any text without a null character."""
    return None if isinstance(value, str) and "\0" not in value else "must be text"


def filled_text(value: Any) -> str | None:
    """Text that is not empty."""
    return None if text(value) is None and value else "must be text that is not empty"


def matching(pattern: str, allowed: str) -> Rule:
    """Text that matches the whole of `pattern`; `allowed` says so in words."""
    compiled = re.compile(pattern)
    return lambda value: None if isinstance(value, str) and compiled.fullmatch(value) else allowed


def between(low: float, high: float, *, whole: bool = True) -> Rule:
    """A number from `low` to `high`, both included."""

    def rule(value: Any) -> str | None:
        right_type = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        kind = "a whole number" if whole else "a number"
        return None if right_type and low <= value <= high else f"must be {kind} from {low:g} to {high:g}"

    return rule


def flag(value: Any) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else "must be true or false"


def one_of(*choices: str) -> Rule:
    """One of the given texts."""
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"


def any_object(value: Any) -> str | None:
    """Any object."""
    return None if isinstance(value, dict) else "must be an object"


def http_address(value: Any) -> str | None:
    """An absolute http or https address without a user in it."""
    ok = isinstance(value, str) and re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value)
    return None if ok else "must be an address like http://127.0.0.1:5000/health"


def absolute_path(value: Any) -> str | None:
    """An absolute path that can stand in the supervisor's files."""
    ok = isinstance(value, str) and re.fullmatch(r"/[^\0\n\r;\"']*", value)
    return None if ok else "must be an absolute path without quotes, semicolons and line breaks"


name = matching(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "allowed are 1 to 63 of a-z, 0-9 and - inside")
file_name = matching(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", "allowed are letters, digits, dot, underscore and hyphen")
variable = matching(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name has letters, digits and underscores only")
