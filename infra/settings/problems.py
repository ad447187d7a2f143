"""What is wrong with the settings, said for the person who wrote them.

A `Problem` names the key, the value, what is allowed, and the file that the value came from. The pydantic errors of
one reading become problems here, all of them at once, so that a file is mended in one go.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

Path = tuple[str | int, ...]
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    Attributes:
        path: dotted key, such as `ports.registry`; empty for a problem of the whole file.
        reason: what is wrong and what is allowed.
        file: file that holds the value, relative to the project.
        value: the refused value as text; None for a secret, a missing key and a whole section.
    """

    path: str
    reason: str
    file: str
    value: str | None = None

    def __str__(self) -> str:
        subject = f"{self.path} = {self.value}" if self.value is not None else self.path
        return f"{subject}: {self.reason} (in {self.file})" if subject else f"{self.reason} (in {self.file})"


class SettingsError(Exception):
    """The settings of a stack cannot be used; `problems` holds each reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        title = "1 problem in the settings:" if count == 1 else f"{count} problems in the settings:"
        super().__init__("\n".join([title, *(f"  {problem}" for problem in self.problems)]))


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    file_of: Callable[[Path], str],
    secret: Callable[[Path], bool],
) -> list[Problem]:
    """The problems behind a validation error.

    Args:
        error: what pydantic refused.
        model: the model that was validated.
        file_of: the file that a key's value came from.
        secret: whether a key's value must not be shown.
    """
    schema = model.model_json_schema(by_alias=True)
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        location, node = _locate(detail["loc"], schema)
        dotted = ".".join(str(part) for part in location)
        if dotted in found:  # a union reports each of its members; one message says what is allowed
            continue
        kind = detail["type"]
        if kind == "extra_forbidden":
            parent = _locate(location[:-1], schema)[1]
            known = sorted(parent.get("properties", {}))
            found[dotted] = Problem(dotted, _unknown(str(location[-1]), known), file_of(location))
        elif kind == "missing":
            found[dotted] = Problem(dotted, f"is missing; it must be {allowed(node)}", file_of(location))
        else:
            reason = (
                detail["msg"].removeprefix("Value error, ") if kind == "value_error" else f"must be {allowed(node)}"
            )
            if detail["loc"][-1:] == ("[key]",):
                reason = f"is not a name that is allowed here; it must match {detail['ctx']['pattern']}"
                found[dotted] = Problem(dotted, reason, file_of(location))
                continue
            value = None if secret(location) else _shown(detail["input"])
            found[dotted] = Problem(dotted, reason, file_of(location), value)
    return list(found.values())


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1, cutoff=0.5)
    if near:
        nearest = next(name for name in known if name.lower() == near[0])
        return f'unknown key; did you mean "{nearest}"?'
    return f"unknown key; known are {', '.join(known)}" if known else "unknown key; none is known here"


def _shown(value: object) -> str | None:
    if isinstance(value, dict | BaseModel):
        return None
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _locate(loc: Path, schema: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
    """The keys of a location without pydantic's markers for keys and union members, and the schema of its value."""
    node = _resolve(schema, schema)
    path: list[str | int] = []
    for part in loc:
        if part == "[key]":
            break
        if isinstance(part, int):
            path.append(part)
            node = _resolve(node.get("items", {}), schema)
        elif part in node.get("properties", {}):
            path.append(part)
            node = _resolve(node["properties"][part], schema)
        elif isinstance(node.get("additionalProperties"), dict):
            path.append(part)
            node = _resolve(node["additionalProperties"], schema)
        elif "patternProperties" in node:
            path.append(part)
            node = _resolve(next(iter(node["patternProperties"].values())), schema)
        elif "properties" in node or not node:
            path.append(part)
            node = {}
    return tuple(path), node


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in node:
        target: Mapping[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    sections = [member for member in node.get("anyOf", []) if "$ref" in member]
    if len(sections) == 1:  # a section that may be left out
        return _resolve(sections[0], schema)
    return node


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping of keys to values",
    "null": "null",
}


def allowed(node: Mapping[str, Any]) -> str:
    """What a JSON Schema node allows, in words: `a whole number from 1024 to 65535`."""
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(allowed(member) for member in node["anyOf"]))
    if "const" in node:
        return json.dumps(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(json.dumps(value) for value in node["enum"])
    if node.get("type") == "array" and node.get("items"):
        return f"a list in which each is {allowed(node['items'])}" + (
            ", at least one" if node.get("minItems") == 1 else ""
        )
    words = _KINDS.get(str(node.get("type")), "a value of another kind")
    if "maxLength" in node:
        words += f" of at most {node['maxLength']} characters"
    if "pattern" in node:
        words += f" that matches {node['pattern']}"
    lower = node.get("minimum", node.get("exclusiveMinimum"))
    upper = node.get("maximum", node.get("exclusiveMaximum"))
    if lower is not None:
        words += f" above {lower}" if "exclusiveMinimum" in node else f" from {lower}"
    if upper is not None:
        words += f" to {upper}"
    return words
