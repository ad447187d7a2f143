"""A digest of what a function does: of its code and of all code of `policies` that it leads to.

Taken from syntax trees, so that comments, docstrings and layout do not count. What the core offers to every rule
(`Plan`, `Resource`, …) does not count either: it is compared as files.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CORE = frozenset(
    {"policies.plan", "policies.rule", "policies.facts", "policies.evaluation", "policies.judge", "policies.waivers"}
)
"""Modules whose code is compared file by file."""

_Place = tuple[str, str]
"""A module and a name at its top level; an empty name means all of the module."""


class _Module:
    """The names at the top level of a module: what defines them, or where they are imported from."""

    def __init__(self, source: str, name: str) -> None:
        self.tree = ast.parse(source)
        self.defined: dict[str, list[ast.stmt]] = {}
        self.imported: dict[str, _Place] = {}
        for statement in self.tree.body:
            for defined in _names(statement):
                self.defined.setdefault(defined, []).append(statement)
            if isinstance(statement, ast.ImportFrom):
                origin = _absolute(statement, name)
                for one in statement.names:
                    self.imported[one.asname or one.name] = (origin, one.name)
            elif isinstance(statement, ast.Import):
                for one in statement.names:
                    self.imported[one.asname or one.name.partition(".")[0]] = (one.name if one.asname else "", "")


class Code:
    """Finds the code that functions lead to; keeps the modules that it has read."""

    def __init__(self) -> None:
        self._modules: dict[str, _Module | None] = {}

    def digest(self, function: Callable[..., Any]) -> str:
        """Return the digest of a function's code."""
        module, name = function.__module__, function.__qualname__
        place = (module, "" if "." in name else name)  # made inside another function: all of the module counts
        seen: dict[_Place, str] = {}
        self._collect(place, seen)
        text = "\n".join(f"{one[0]}:{one[1]} {seen[one]}" for one in sorted(seen))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def _collect(self, place: _Place, seen: dict[_Place, str]) -> None:
        if place in seen:
            return
        module_name, name = place
        module = self._module(module_name)
        if module is None:
            return
        if name and name not in module.defined:
            if name in module.imported:
                self._follow(module.imported[name], set(), seen)
            return
        statements = module.defined[name] if name else module.tree.body
        seen[place] = "\n".join(ast.dump(_bare(one)) for one in statements)
        for statement in statements:
            for used, attributes in _used(_bare(statement)):
                if used in module.defined:
                    self._collect((module_name, used), seen)
                elif used in module.imported:
                    self._follow(module.imported[used], attributes, seen)

    def _follow(self, target: _Place, attributes: set[str], seen: dict[_Place, str]) -> None:
        """Go on where a name is imported from; of a module that is imported whole, to what is taken from it."""
        origin, name = target
        whole = f"{origin}.{name}" if name else origin
        if self._module(whole) is not None:
            for attribute in sorted(attributes):
                self._collect((whole, attribute), seen)
        elif name:
            self._collect((origin, name), seen)

    def _module(self, name: str) -> _Module | None:
        if not name.startswith("policies") or name in CORE:
            return None
        if name not in self._modules:
            try:
                spec = importlib.util.find_spec(name)
            except ModuleNotFoundError:
                spec = None
            file = Path(spec.origin) if spec and spec.origin else None
            self._modules[name] = _Module(file.read_text("utf-8"), name) if file and file.suffix == ".py" else None
        return self._modules[name]


def source_digest(path: str, content: bytes) -> str:
    """Return the digest of a file; of Python, that of its code."""
    if path.endswith(".py"):
        try:
            return "sha256:" + hashlib.sha256(ast.dump(_bare(ast.parse(content))).encode()).hexdigest()
        except (SyntaxError, ValueError):
            pass
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            yield name


def _absolute(statement: ast.ImportFrom, module: str) -> str:
    if not statement.level:
        return statement.module or ""
    parent = module.rsplit(".", statement.level)[0]
    return f"{parent}.{statement.module}" if statement.module else parent


def _used(node: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Yield the names that code reads, each with the attributes that it takes from it."""
    found: dict[str, set[str]] = {}
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            found.setdefault(one.id, set())
        elif isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
            found.setdefault(one.value.id, set()).add(one.attr)
    yield from found.items()


class _Bare(ast.NodeTransformer):
    """Takes docstrings away, and from functions the decorator that makes them rules: what it says is compared apart."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [one for one in node.decorator_list if not _makes_rule(one)]
        return self.generic_visit(node)


def _makes_rule(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id in ("resource_rule", "plan_rule", "step_rule")


def _bare(node: ast.AST) -> ast.AST:
    return _Bare().visit(copy.deepcopy(node))  # type: ignore[no-any-return] # the visitor is typed as returning anything
