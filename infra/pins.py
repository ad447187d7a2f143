"""Changing the version of a model in a stack file, and nothing else in it: comments and order stay."""

from __future__ import annotations

from dataclasses import dataclass

import yaml


class PinError(Exception):
    """The file is laid out in a way that is not changed by a program; the message says what to write by hand."""


@dataclass(frozen=True)
class _At:
    """A mapping of the file: where its first key stands, and its entries."""

    line: int
    column: int
    entries: dict[str, yaml.Node]
    flow: bool


def set_version(text: str, model: str, version: str) -> str:
    """Return the text of a stack file in which `model` has `version`.

    Raises:
        PinError: the file has no place for it that can be found safely.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    by_hand = PinError(f"write it by hand: config → mlops:models → {model} → version: {version}")
    config = _mapping(root).entries.get("config") if isinstance(root, yaml.MappingNode) else None
    if not isinstance(config, yaml.MappingNode) or config.flow_style:
        raise by_hand
    models = _mapping(config).entries.get("mlops:models")
    lines = text.splitlines(keepends=True)
    if models is None:
        indent = " " * _mapping(config).column
        end = _end(lines, config)
        return _insert(lines, end, f"{indent}mlops:models:\n{indent}  {model}:\n{indent}    version: {version}\n")
    if not isinstance(models, yaml.MappingNode) or models.flow_style:
        raise by_hand
    stated = _mapping(models).entries.get(model)
    if stated is None:
        indent = " " * _mapping(models).column
        return _insert(lines, _end(lines, models), f"{indent}{model}:\n{indent}  version: {version}\n")
    if not isinstance(stated, yaml.MappingNode) or stated.flow_style:
        raise by_hand
    old = _mapping(stated).entries.get("version")
    if old is None:
        first = _mapping(stated)
        return _insert(lines, first.line, f"{' ' * first.column}version: {version}\n")
    start, end_of_value = old.start_mark, old.end_mark
    if start.line != end_of_value.line:
        raise by_hand
    line = lines[start.line]
    lines[start.line] = line[: start.column] + version + line[end_of_value.column :]
    return "".join(lines)


def _mapping(node: yaml.MappingNode) -> _At:
    entries = {str(key.value): value for key, value in node.value}
    return _At(node.start_mark.line, node.start_mark.column, entries, bool(node.flow_style))


def _end(lines: list[str], node: yaml.MappingNode) -> int:
    """The line after the last one that belongs to a block; blank lines and comments behind it do not."""
    # A block ends where the next token begins, or with the file.
    whole = node.end_mark.index >= sum(map(len, lines))
    end = len(lines) if whole else node.end_mark.line
    while end > 0 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _insert(lines: list[str], at: int, text: str) -> str:
    before = lines[:at]
    if before and not before[-1].endswith("\n"):
        before[-1] += "\n"
    return "".join([*before, text, *lines[at:]])
