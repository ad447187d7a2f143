"""Writing a waiver into `stacks/waivers.yaml`, as an edit of its text: comments, order and layout of the rest stay.

Refuses what would not count anyway or should not be decided so: unknown rules, rules that no waiver may cover, days
that are past or too far away.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import yaml
from pydantic import ValidationError

from policies.rule import Rule
from policies.waivers import EVERY_STACK, FILE, GATE_CHANGES, LONGEST_DAYS, Waiver, WaiverError


def checked(stated: Mapping[str, Any], rules: Sequence[Rule], stacks: Sequence[str], today: date) -> Waiver:
    """Return the waiver that somebody asks for.

    Args:
        stated: its fields as text.
        rules: all rules.
        stacks: names of the stacks.
        today: the day.

    Raises:
        WaiverError: it cannot be; the text says why, and what is allowed.
    """
    try:
        waiver = Waiver.model_validate(stated)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise WaiverError(told) from None
    known = {rule.id: rule for rule in rules}
    if waiver.rule not in known and waiver.rule not in GATE_CHANGES:
        near = difflib.get_close_matches(waiver.rule, [*known, *GATE_CHANGES], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise WaiverError(f"there is no rule {waiver.rule!r}{hint} (`./mlops policies list` names them)")
    if waiver.rule in known and not known[waiver.rule].waivable:
        raise WaiverError(f"the rule {waiver.rule} cannot be waived: {known[waiver.rule].fix}")
    allowed = [*stacks, EVERY_STACK] if waiver.rule in GATE_CHANGES else list(stacks)
    if waiver.stack not in allowed:
        raise WaiverError(f"there is no stack {waiver.stack!r}; there are: {', '.join(allowed) or 'none'}")
    last = today + timedelta(days=LONGEST_DAYS)
    if waiver.expires < today:
        raise WaiverError(f"{waiver.expires} is past; a waiver holds from today ({today}) to {last} at most")
    if waiver.expires > last:
        raise WaiverError(
            f"{waiver.expires} is too far away; a waiver holds for {LONGEST_DAYS} days, to {last}, at most"
        )
    return waiver


def with_waiver(text: str, waiver: Waiver) -> str:
    """Return the text of the file with one waiver more, at its end.

    Raises:
        WaiverError: the file is not as it should be, or holds one of the same rule, stack, resource and owner.
    """
    before = _read(text)
    for index, one in enumerate(before):
        same = all(str(one.get(name)) == getattr(waiver, name) for name in ("rule", "stack", "resource", "owner"))
        if same:
            line = _items(text)[index].start_mark.line + 1
            raise WaiverError(f"{FILE}:{line} is a waiver of the same; change its reason or its last day there")
    after = _inserted(text, _entry(waiver))
    if _read(after) != [*before, waiver.model_dump()]:
        raise WaiverError(f"{FILE} is laid out in a way that cannot be edited safely; add the waiver by hand")
    return after


def _entry(waiver: Waiver) -> list[str]:
    stated = waiver.model_dump()
    lines = [
        yaml.safe_dump({name: value}, width=10_000, allow_unicode=True, default_flow_style=False).rstrip("\n")
        for name, value in stated.items()
    ]
    return [f"  {'-' if index == 0 else ' '} {line}" for index, line in enumerate(lines)]


def _inserted(text: str, entry: Sequence[str]) -> str:
    lines = text.splitlines()
    node = _list(text)
    if node is None:
        return "\n".join([*lines, "waivers:", *entry]) + "\n"
    if not node.value:
        # `waivers: []`, or nothing after the colon: the list begins on the next line.
        at, end = node.start_mark, node.end_mark
        head, tail = lines[at.line][: at.column].rstrip(), lines[end.line][end.column :].rstrip()
        return "\n".join([*lines[: at.line], head + tail, *entry, *lines[end.line + 1 :]]) + "\n"
    if node.flow_style:
        raise WaiverError(f"{FILE}: the waivers stand in brackets; write them as a list, one below the other")
    indent = node.start_mark.column
    shifted = [" " * indent + line[2:] for line in entry]
    last = node.value[-1].value[-1][1].end_mark
    after = last.line + 1 if last.column else last.line
    return "\n".join([*lines[:after], *shifted, *lines[after:]]) + "\n"


def _items(text: str) -> list[Any]:
    node = _list(text)
    return list(node.value) if node is not None else []


def _list(text: str) -> Any:
    """Return the YAML node of the list, None where the file states none at all."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    return next((value for key, value in root.value if key.value == "waivers"), None)


def _read(text: str) -> list[Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WaiverError(f"{FILE} is not valid YAML: {error}") from None
    if found is None:
        return []
    if not isinstance(found, dict) or set(found) != {"waivers"}:
        raise WaiverError(f"{FILE} must hold one key, `waivers`, with a list")
    listed = found["waivers"] or []
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise WaiverError(f"{FILE} must hold one key, `waivers`, with a list")
    return listed
