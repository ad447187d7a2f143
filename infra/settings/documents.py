"""What is made from the settings model: schemas for editors and the reference in `docs/settings.md`.

Kept apart from reading, since a running program needs none of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from infra.settings.model import PORTS_TAKEN, Settings
from infra.settings.problems import allowed
from infra.settings.sources import BASELINES, NAMESPACE, STACKS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REMOVABLE = "`null` takes away what the baseline says."


def _stated(node: Any) -> Any:
    """The schema of what one file may state: nothing is required, since a baseline may say it, and null removes."""
    if isinstance(node, list):
        return [_stated(member) for member in node]
    if not isinstance(node, dict):
        return node
    result = {key: _stated(value) for key, value in node.items() if key not in ("required", "title", "default")}
    if "default" in node and not isinstance(node["default"], dict | list):
        result["default"] = node["default"]
    if "properties" in result:
        result["properties"] = {name: _or_null(value) for name, value in result["properties"].items()}
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = _or_null(result["additionalProperties"])
    if isinstance(result.get("patternProperties"), dict):
        result.setdefault("additionalProperties", False)
        result["patternProperties"] = {key: _or_null(value) for key, value in result["patternProperties"].items()}
    return result


def _or_null(node: dict[str, Any]) -> dict[str, Any]:
    if node.get("type") == "null" or {"type": "null"} in node.get("anyOf", []):
        return node
    if "enum" in node:
        return {**node, "enum": [*node["enum"], None], "type": [node["type"], "null"]}
    if "const" in node:
        rest = {key: value for key, value in node.items() if key not in ("const", "type")}
        return {**rest, "enum": [node["const"], None]}
    if isinstance(node.get("type"), str):
        return {**node, "type": [node["type"], "null"]}
    kept = {key: value for key, value in node.items() if key in ("description", "default")}
    inner = {key: value for key, value in node.items() if key not in kept}
    members = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
    return {**kept, "anyOf": [*members, {"type": "null"}]}


def _version_may_be_a_number(schema: dict[str, Any]) -> None:
    version = schema["$defs"]["Model"]["properties"]["version"]
    described = {key: version.pop(key) for key in ("description", "default") if key in version}
    schema["$defs"]["Model"]["properties"]["version"] = {
        **described,
        "anyOf": [version, {"type": "integer", "minimum": 1}],
    }


def _model_schema() -> dict[str, Any]:
    schema = Settings.model_json_schema(by_alias=True)
    _version_may_be_a_number(schema)
    stated = _stated(schema)
    assert isinstance(stated, dict)
    return stated


def stack_schema() -> dict[str, Any]:
    """JSON Schema of a stack file, whose keys under `config` carry the namespace."""
    schema = _model_schema()
    properties = {f"{NAMESPACE}:{name}": value for name, value in schema["properties"].items()}
    return {
        "$schema": _DIALECT,
        "title": "Stack file",
        "description": f"Settings of one stack. {_REMOVABLE}",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "config": {
                "type": "object",
                "properties": properties,
                "patternProperties": {f"^(?!{NAMESPACE}:)[^:]+:.+$": True},
                "additionalProperties": False,
            },
            "encryptionsalt": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "secretsprovider": {"type": "string"},
            "environment": True,
        },
        "$defs": schema["$defs"],
    }


def baseline_schema() -> dict[str, Any]:
    """JSON Schema of a baseline, whose keys carry no namespace."""
    schema = _model_schema()
    extends = {"type": "string", "description": "Baseline that this one builds on."}
    properties = {name: value for name, value in schema["properties"].items() if name != "baseline"}
    return {
        "$schema": _DIALECT,
        "title": "Baseline",
        "description": f"Settings that stacks extend. {_REMOVABLE}",
        "type": "object",
        "additionalProperties": False,
        "properties": {"extends": extends, **properties},
        "$defs": schema["$defs"],
    }


def reference() -> str:
    """The settings reference, in Markdown."""
    schema = Settings.model_json_schema(by_alias=True)
    lines = [
        "# Settings",
        "",
        "<!-- Written by `python -m infra.settings --write`; change infra/settings/model.py instead. -->",
        "",
        "A stack file `stacks/Pulumi.<stack>.yaml` states settings under `config:` with the prefix `mlops:`, such as",
        "`mlops:cluster: {logicalCpus: 16}`. `mlops:baseline` names a file of `stacks/baselines/`, whose keys have no",
        "prefix and which may extend another with `extends`. A stack states only what differs: mappings are merged key",
        "by key, lists and values are replaced, `null` takes away what the baseline says. Unknown keys are refused.",
        "",
    ]
    for title, section in _sections(Settings, "", schema):
        lines += [f"## {title or 'Top level'}", ""]
        if section.__doc__ and title:
            lines += [" ".join(section.__doc__.split()), ""]
        lines += ["| Key | Allowed | Default | Meaning |", "|---|---|---|---|"]
        lines += list(_rows(section, schema))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _sections(model: type[BaseModel], path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for field in model.model_fields.values():
        inner = _inner_model(field.annotation)
        if inner is not None:
            below, suffix = inner
            yield from _sections(below, f"{path}.{field.alias}{suffix}".lstrip("."), schema)


def _inner_model(annotation: Any) -> tuple[type[BaseModel], str] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    arguments = getattr(annotation, "__args__", ())
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, "[]" if Ellipsis in arguments else ".<name>"
    return None


def _rows(section: type[BaseModel], schema: Mapping[str, Any]) -> Iterator[str]:
    node = schema if section is Settings else schema["$defs"][section.__name__]
    for name, field in section.model_fields.items():
        if _inner_model(field.annotation) is not None:
            continue
        default = (
            "required"
            if field.is_required()
            else f"`{json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False)}`"
        )
        if section is Settings and default == "`null`":
            default = "none"
        words = allowed(node["properties"][str(field.alias)]).replace("|", "\\|")
        words = re.sub(r"matches (\^.+?\$)(?=$|, | or )", r"matches `\1`", words)  # a pattern as code, not as prose
        meaning = " ".join((field.description or "").split())
        taken = f" Takes {PORTS_TAKEN[name]} ports." if name in PORTS_TAKEN and "ports" not in meaning else ""
        yield f"| `{field.alias}` | {words} | {default} | {meaning}{taken} |"


def documents() -> dict[Path, str]:
    """Every generated file by its path relative to the project, with its content."""

    def text(schema: dict[str, Any]) -> str:
        return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

    return {
        STACKS / "settings.schema.json": text(stack_schema()),
        BASELINES / "baseline.schema.json": text(baseline_schema()),
        Path("docs/settings.md"): reference(),
    }
