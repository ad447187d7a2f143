"""What several services' entries use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from infra.rehearsal.aws.kind import Situation


def arn(service: str, resource: str, *, region: bool = True, account: bool = True) -> Callable[[Situation], str]:
    """Return a function that makes an ARN; `{id}` in `resource` is the resource's id, `{name}` its input `name`."""

    def make(at: Situation) -> str:
        named = resource.format(id=at.id, name=at.inputs.get("name", ""))
        return ":".join(
            ("arn", at.partition, service, at.region if region else "", at.account if account else "", named)
        )

    return make


def differences(name: str, verb: Literal["Add", "Remove"] | str) -> Callable[[Situation], list[Any] | None]:
    """Return a function that tells which values of a list an update adds or removes, None for none."""

    def find(at: Situation) -> list[Any] | None:
        new, old = at.inputs.get(name) or [], at.old.get(name) or []
        here, there = (new, old) if verb == "Add" else (old, new)
        return [value for value in here if value not in there] or None

    return find
