"""What rules share: modules that rules are led to and that hold none, and whose mutants their tests must catch too.

The core (`policies.plan`, `policies.rule`, …) is the same for everything that judges, and folders of their own (costs,
scheduling, releases, …) are tested as such: neither is a helper of rules.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from policies.code_digest import CORE
from policies.rule import Rule
from policies.testing.cases import PROJECT, file_of

_RULES = "policies.rules."


def helpers(rules: Iterable[Rule]) -> list[str]:
    """Return the names of the modules that rules share."""
    own = {rule.judge.__module__ for rule in rules}
    reached = {name for module in own for name in _reached(module)}
    return sorted(name for name in reached - own if _is_helper(name))


def dependents(name: str, modules: Iterable[str]) -> list[str]:
    """Return those among some modules that are led to a module, each behind those that it is led to itself."""
    found = [one for one in modules if one != name and name in _reached(one)]
    return sorted(found, key=lambda one: (sum(other in _reached(one) for other in found), one))


def tests_of(name: str, rules: Sequence[Rule]) -> list[Path]:
    """Return the files of tests that hold a helper: its own, where it has one, then those of the rules it serves."""
    own = PROJECT / "tests" / "policies" / f"test_{name.rpartition('.')[2]}.py"
    served = sorted({file_of(rule) for rule in rules if name in _reached(rule.judge.__module__)})
    return [*([own] if own.exists() else []), *served]


def _is_helper(name: str) -> bool:
    return name not in CORE and (name.startswith(_RULES) or name.count(".") == 1)


@cache
def _reached(name: str) -> frozenset[str]:
    """Return the modules of `policies` that a module imports, itself or through others."""
    seen: set[str] = set()
    ahead = [name]
    while ahead:
        for one in _imported(ahead.pop()) - seen:
            seen.add(one)
            ahead.append(one)
    return frozenset(seen)


@cache
def _imported(name: str) -> frozenset[str]:
    file = importlib.import_module(name).__file__
    assert file is not None
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return frozenset(
        one for one in found if one.startswith("policies.") and one in sys.modules and not _is_package(one)
    )


def _is_package(name: str) -> bool:
    return hasattr(sys.modules[name], "__path__")
