"""From the engine's `preview --json` to a plan with its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from policies.pack.wire import resource_from_json
from policies.plan import Operation, Plan, Resource, Step

_OPERATIONS: Final[Mapping[str, Operation]] = {
    "create": "create", "update": "update", "replace": "replace", "delete": "delete", "same": "same", "read": "read",
    "refresh": "same", "import": "create", "import-replacement": "replace", "discard": "delete",
}  # fmt: skip
_PARTS: Final = frozenset({"create-replacement", "delete-replaced", "read-replacement", "discard-replaced"})
"""Steps that carry out a replacement, which is told as one step."""
_OWN: Final = ("components/", "infra/", "policies/", "training/", "serving/")
_HELPERS: Final = ("components/component.py", "components/naming.py")


class PreviewError(ValueError):
    """What the engine printed is no preview."""


def plan_from_preview(document: Mapping[str, Any], stack: str) -> Plan:
    """Return the plan that a preview describes.

    Args:
        document: what `pulumi preview --json` printed.
        stack: name of the stack.

    Raises:
        PreviewError: it holds no steps, or one that is not known.
    """
    stated = document.get("steps")
    if not isinstance(stated, Sequence) or isinstance(stated, str):
        raise PreviewError(f"the preview of {stack} holds no steps")
    merged: dict[str, Mapping[str, Any]] = {}
    for one in stated:
        operation, urn = one.get("op", ""), one.get("urn", "")
        if operation in _PARTS:
            # `replace` tells it whole; an engine that leaves it out tells it by its parts
            parts = {name: value for name, value in one.items() if value}
            merged[urn] = {**parts, **merged.get(urn, {}), "op": "replace"}
        elif operation == "delete":
            merged.setdefault(urn, one)  # of what an earlier run replaced and could not delete, its successor stays
        elif operation in _OPERATIONS:
            merged[urn] = one
        else:
            raise PreviewError(f"the preview of {stack} has a step {operation!r} of {urn}, which is not known here")
    steps = [_step(one) for one in merged.values()]
    return Plan(stack=stack, resources=[one.new for one in steps if one.new is not None], steps=steps)


def _step(stated: Mapping[str, Any]) -> Step:
    operation = _OPERATIONS[stated["op"]]
    old, new = stated.get("oldState"), stated.get("newState")
    changed, replaces = _changed(stated)
    one = Step(
        operation=operation, urn=stated["urn"], type=(new or old or {}).get("type", ""),
        old=_resource(old) if old and operation != "create" else None,
        new=_resource(new) if new and operation != "delete" else None,
        changed=changed, replaces=replaces,
    )  # fmt: skip
    if one.new is None and operation != "delete":
        raise PreviewError(f"step {stated['op']} of {stated['urn']} does not say what there will be")
    return one


def _changed(stated: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]]:
    detailed: Mapping[str, Any] = stated.get("detailedDiff") or {}
    forced = {path for path, one in detailed.items() if str(one.get("kind", "")).endswith("replace")}
    forced |= {str(one) for one in stated.get("replaceReasons") or ()}
    return tuple(sorted({*detailed, *(stated.get("diffReasons") or ()), *forced})), tuple(sorted(forced))


def _resource(stated: Mapping[str, Any]) -> Resource:
    found = resource_from_json(stated)
    place = place_of(stated)
    return found if place == found.place else Resource(**{**vars(found), "place": place})


def place_of(stated: Mapping[str, Any]) -> str:
    """Return the line of the program's own that registers a resource of the engine's JSON, or an empty text."""
    trace = [one.get("sourcePosition", "") for one in stated.get("stackTrace") or ()]
    return _first_own([stated.get("sourcePosition") or "", *trace])


def _first_own(positions: Iterable[str]) -> str:
    for position in positions:
        place = position.removeprefix("project:///").replace("#", ":").partition(",")[0]
        if place.startswith(_OWN) and not place.startswith(_HELPERS) and not place.startswith("infra/engine/"):
            return place
    return ""
