"""Where a setting is stated: file and line of a key, through the baselines that a stack extends.

Works on the texts of files alone, so that the base of a change is read as well as its head. What cannot be read leads
to the file of the stack: a place is a help to a reader, and never decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import yaml

from policies.evaluation import Finding
from policies.report.document import Source, StackReview

Key = tuple[str, ...]
Lines = Mapping[Key, int]

_PREFIX = "mlops:"


def key_lines(text: str) -> dict[Key, int]:
    """Return the line, from 1, of every key of a YAML text; items of lists have their number as key.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return dict(_walk(root, ())) if root else {}


def _walk(node: yaml.Node, path: Key, seen: frozenset[int] = frozenset()) -> Iterator[tuple[Key, int]]:
    if id(node) in seen:  # an alias to what it stands in
        return
    seen |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            yield below, key.start_mark.line + 1
            yield from _walk(value, below, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            below = (*path, str(index))
            yield below, value.start_mark.line + 1
            yield from _walk(value, below, seen)


def setting_places(stack: str, settings: Sequence[str], files: Mapping[str, str]) -> dict[str, Source]:
    """Return where settings of a stack are stated.

    The file nearest to the stack that states a key wins, as it does when settings are read; of a key that nobody
    states, the nearest one above it that somebody does; else the file of the stack.

    Args:
        stack: name of the stack.
        settings: keys such as `aws.governance.budgetUsd`; an empty one means the stack itself.
        files: texts of the files by path from the project's folder.
    """
    own = f"stacks/Pulumi.{stack}.yaml"
    layers = list(_layers(stack, files))
    return {one: _stated(tuple(one.split(".")) if one else (), layers) or Source(own) for one in settings}


def waiver_lines(text: str) -> list[int]:
    """Return the line on which each waiver of the file begins, none for a text that cannot be read."""
    lines = _lines(text)
    return [line for path, line in lines.items() if len(path) == 2 and path[0] == "waivers"]


def places_of(stack: StackReview, files: Mapping[str, str]) -> dict[tuple[str, str], Source]:
    """Return where the settings that a stack's findings name are stated, by stack and key."""
    wanted = sorted({one.setting for one in stack.findings if one.setting})
    return {(stack.stack, name): place for name, place in setting_places(stack.stack, wanted, files).items()}


def place_of(stack: str, finding: Finding, files: Mapping[str, str]) -> Source:
    """Return where a reader should look: the setting, else the line of the program, else the file of the stack."""
    if finding.setting:
        return setting_places(stack, [finding.setting], files)[finding.setting]
    return Source.parse(finding.place) or Source(f"stacks/Pulumi.{stack}.yaml")


def _stated(path: Key, layers: Sequence[tuple[str, Lines]]) -> Source | None:
    for length in range(len(path), 0, -1):
        for file, lines in layers:
            if line := lines.get(path[:length]):
                return Source(file, line)
    return None


def _layers(stack: str, files: Mapping[str, str]) -> Iterator[tuple[str, Lines]]:
    """Yield the lines of the keys of each file that a stack is made of, the stack's own first."""
    file = f"stacks/Pulumi.{stack}.yaml"
    lines = _config(_lines(files.get(file, "")))
    yield file, lines
    name, seen = _text(files.get(file, ""), ("config", _PREFIX + "baseline")), set[str]()
    while name and name not in seen:
        seen.add(name)
        file = f"stacks/baselines/{name}.yaml"
        text = files.get(file, "")
        yield file, _lines(text)
        name = _text(text, ("extends",))


def _config(lines: Lines) -> dict[Key, int]:
    """Return the keys of a stack's file as settings: without `config` and the namespace."""
    return {
        (path[1].removeprefix(_PREFIX), *path[2:]): line
        for path, line in lines.items()
        if len(path) > 1 and path[0] == "config" and path[1].startswith(_PREFIX)
    }


def _lines(text: str) -> dict[Key, int]:
    try:
        return key_lines(text)
    except yaml.YAMLError:
        return {}


def _text(text: str, path: Key) -> str:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return ""
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""
