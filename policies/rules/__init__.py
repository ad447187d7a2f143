"""All rules: every `Rule` of every module in the folders here. A rule exists by standing in one of them."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from policies.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule, by id.

    Raises:
        ValueError: two rules have the same id.
    """
    found: dict[str, Rule] = {}
    for module in sorted(one.name for one in pkgutil.walk_packages(__path__, __name__ + ".")):
        for value in vars(importlib.import_module(module)).values():
            if not isinstance(value, Rule):
                continue
            if found.setdefault(value.id, value) is not value:
                raise ValueError(f"there are two rules {value.id}")
    return tuple(found[name] for name in sorted(found))
