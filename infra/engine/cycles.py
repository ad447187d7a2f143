"""The SDK's check that dependencies form no cycle, in time that fits hundreds of resources.

The SDK asks "does this lead back?" before it notes a dependency, by nested generators over everything that can be
reached, also for dependencies that it has noted before: more than half of the time of a production environment's
program. The answers here are the same.
"""

from __future__ import annotations

from typing import Any

_NOTED = "_direct_computed_dependencies"
"""Attribute in which the SDK notes the dependencies of a resource."""


def declare_dependency(from_resource: Any, to_resource: Any) -> bool:
    """Note that a resource depends on another.

    Returns:
        Whether it was noted; not when that would close a cycle.
    """
    noted: set[Any] = getattr(from_resource, _NOTED, set())
    if to_resource in noted:
        return True
    if _leads(to_resource, from_resource):
        return False
    setattr(from_resource, _NOTED, noted | {to_resource})
    return True


def _leads(start: Any, goal: Any) -> bool:
    seen, open_ = {start}, [start]
    while open_:
        one = open_.pop()
        if one is goal:
            return True
        new: set[Any] = getattr(one, _NOTED, set()) - seen
        seen |= new
        open_ += new
    return False


def install() -> None:
    """Let the SDK of this process ask here."""
    from pulumi.runtime import resource_cycle_breaker, rpc

    for module in (resource_cycle_breaker, rpc):
        if hasattr(module, "declare_dependency"):
            setattr(module, "declare_dependency", declare_dependency)  # noqa: B010 - it is typed as a function of the SDK's
