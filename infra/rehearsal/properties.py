"""Property values of resources, compared and changed by path: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from infra.provider.codec import UNKNOWN, Secret, Unknown, plain

Path = tuple[str | int, ...]
Change = Literal["add", "delete", "update"]


def show(path: Path) -> str:
    """Return a path as the engine and people write it, for example `spec.ports[0]["app.io/name"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w$-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def differences(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Change]]:
    """Yield what changes from one value to another, by the deepest path. `UNKNOWN` differs from everything."""
    old, new = _open(old), _open(new)
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if name not in new or (new[name] is None and old[name] is not None):
                if plain(old.get(name)) is not None:
                    yield (*path, name), "delete"
            elif name not in old or old[name] is None:
                if plain(new[name]) is not None:
                    yield (*path, name), "add"
            else:
                yield from differences(old[name], new[name], (*path, name))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(new):
                yield (*path, index), "delete"
            elif index >= len(old):
                yield (*path, index), "add"
            else:
                yield from differences(old[index], new[index], (*path, index))
    elif isinstance(new, Unknown) or old != new or isinstance(old, bool) != isinstance(new, bool):
        yield path, "update"


def without_unknown(value: Any, path: Path = ()) -> tuple[Any, list[Path]]:
    """Return a value without what is `UNKNOWN` in it, marks of secrets removed, and the paths that were left out."""
    value = _open(value)
    left_out: list[Path] = []
    if isinstance(value, Unknown):
        return None, [path]
    if isinstance(value, dict):
        result: dict[str, Any] = {}
        for name, item in value.items():
            kept, gone = without_unknown(item, (*path, name))
            left_out += gone
            if (*path, name) not in gone:
                result[name] = kept
        return result, left_out
    if isinstance(value, list):
        items = []
        for index, item in enumerate(value):
            kept, gone = without_unknown(item, (*path, index))
            left_out += gone
            if (*path, index) not in gone:
                items.append(kept)
        return items, left_out
    return value, left_out


def mark_like(marked: Any, value: Any) -> Any:
    """Return a plain value with everything secret that is secret in `marked` at the same place."""
    if isinstance(marked, Secret):
        return Secret(value)
    if isinstance(marked, dict) and isinstance(value, dict):
        return {name: mark_like(marked.get(name), item) for name, item in value.items()}
    if isinstance(marked, list) and isinstance(value, list):
        padded = [*marked, *[None] * (len(value) - len(marked))]
        return [mark_like(mark, item) for mark, item in zip(padded, value, strict=False)]
    return value


def followed(inputs: Any, recorded: Any, found: Any) -> Any:
    """Return inputs with what somebody changed behind the program's back.

    An input is left alone where the API says the same as when it was recorded, however it writes it: `1000m` of CPU
    stays, although the API keeps `1`.

    Args:
        inputs: What the program declared last.
        recorded: What the API answered then.
        found: What the API answers now.
    """
    if isinstance(inputs, Secret):
        return Secret(followed(inputs.value, plain(recorded), plain(found)))
    recorded, found = plain(recorded), plain(found)
    if recorded == found:
        return inputs
    if isinstance(inputs, dict) and isinstance(recorded, dict) and isinstance(found, dict):
        kept = {name: item for name, item in inputs.items() if name in found or name not in recorded}
        return {name: followed(item, recorded.get(name), found.get(name)) for name, item in kept.items()}
    if isinstance(inputs, list) and isinstance(recorded, list) and isinstance(found, list):
        if len(inputs) == len(recorded) == len(found):
            return [followed(*items) for items in zip(inputs, recorded, found, strict=True)]
        return found
    return found


def at(value: Any, path: Sequence[str | int]) -> Any:
    """Return what lies at a path, `UNKNOWN` below something unknown, None where there is nothing."""
    for part in path:
        value = _open(value)
        if isinstance(value, Unknown):
            return UNKNOWN
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return _open(value)


def _open(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value
