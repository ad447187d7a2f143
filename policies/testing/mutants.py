"""A rule's file, broken on purpose in every way of a list: each result is a *mutant*.

What says nothing about how a rule decides is left alone: decorators, annotations, texts and all inside f-strings.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_COMPARISONS: Final[Mapping[type[ast.cmpop], Sequence[type[ast.cmpop]]]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
}  # fmt: skip
"""What a comparison becomes: its opposite, and for an order also the one that differs at the limit alone."""
_SWAPPED: Final[Mapping[str, str]] = {"any": "all", "all": "any", "min": "max", "max": "min"}
_DECORATORS: Final = ("resource_rule", "plan_rule", "step_rule")
_SKIPPED: Final = (ast.JoinedStr, ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """One way in which a file is broken.

    Attributes:
        function: the function it is in, `<module>` outside of one.
        line: line of the file.
        change: what was, and what stands there now.
        deep: whether it is one of the kinds that ask for more than one case on each side: a number one off, a loop that
            ends after its first turn.
        tree: the broken module.
    """

    function: str
    line: int
    change: str
    deep: bool
    tree: ast.Module

    @property
    def key(self) -> str:
        """What it is known by, also after lines were added above it."""
        return f"{self.function}: {self.change}"


Change = tuple[str, Callable[[ast.AST], None]]
"""What to say of a change, and what makes it in a copy of the node."""


def mutants(source: str) -> Iterator[Mutant]:
    """Yield the mutants of a module, in a fixed order; equal changes in one function are numbered."""
    tree = ast.parse(source)
    seen: dict[str, int] = {}
    for index, (node, function) in enumerate(_nodes(tree)):
        for told, change in _changes(node):
            key = f"{function}: {told}"
            seen[key] = seen.get(key, 0) + 1
            broken = copy.deepcopy(tree)
            twin = next(found for at, (found, _) in enumerate(_nodes(broken)) if at == index)
            change(twin)
            number = f" ({seen[key]})" if seen[key] > 1 else ""
            line, deep = getattr(node, "lineno", 0), _is_deep(node)
            yield Mutant(function, line, told + number, deep, ast.fix_missing_locations(broken))


def _nodes(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for one in tree.body:
        yield from _inside(one, "<module>")


def _inside(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, _SKIPPED) or _is_default_number(node):
        return
    if isinstance(node, ast.FunctionDef):
        function = node.name if function == "<module>" else f"{function}.{node.name}"
        yield node, function
        for one in (*node.args.defaults, *(each for each in node.args.kw_defaults if each), *node.body):
            yield from _inside(one, function)
        return
    if isinstance(node, ast.ClassDef):
        for one in node.body:
            yield from _inside(one, node.name)
        return
    yield node, function
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                yield from _inside(one, function)


def _is_deep(node: ast.AST) -> bool:
    number = isinstance(node, ast.Constant) and not isinstance(node.value, bool)
    return number or isinstance(node, ast.For | ast.Continue)


def _is_default_number(node: ast.AST) -> bool:
    """Whether it is a number that stands in for what is not there: one off, it stands in as well as before."""
    return (
        isinstance(node, ast.keyword)
        and node.arg == "default"
        and isinstance(node.value, ast.Constant)
        and not isinstance(node.value.value, bool)
    )


def _changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.FunctionDef() if _is_rule(node):
            yield "the rule is disabled", _empty
        case ast.Compare():
            yield from _compared(node)
        case ast.BoolOp():
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield f"{_text(node)} → {_word(other)}", _setter("op", other())
        case ast.UnaryOp(op=ast.Not()):
            yield f"{_text(node)} → without `not`", _identity
        case ast.Constant(value=bool(flag)):
            yield f"{flag} → {not flag}", _setter("value", not flag)
        case ast.Constant(value=int(number) | float(number)):
            for moved in (number + 1, number - 1):
                yield f"{number} → {moved}", _setter("value", moved)
        case ast.Call(func=ast.Name(id=name)) if name in _SWAPPED:
            yield f"{_text(node)} → {_SWAPPED[name]}", _setter("func", ast.Name(_SWAPPED[name], ast.Load()))
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            yield f"{_text(node)} → nothing", _setter("value", ast.Constant(None))
        case ast.For():
            yield f"for {_text(node.target)} in {_text(node.iter)} → the first only", _break
        case ast.Continue():
            yield "continue → break", _become_break
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if _plain(test):
            yield f"if {_text(test)} → if not", _setter("test", ast.UnaryOp(ast.Not(), test))
        case ast.comprehension():
            for index, test in enumerate(node.ifs):
                if _plain(test):
                    yield f"if {_text(test)} → if not", _negate_filter(index)


def _compared(node: ast.Compare) -> Iterator[Change]:
    for index, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield f"{_text(node)} → {_word(other)}" + (f" (at {index})" if index else ""), _operator(index, other)


def _operator(index: int, other: type[ast.cmpop]) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.Compare)
        node.ops[index] = other()

    return change


def _negate_filter(index: int) -> Callable[[ast.AST], None]:
    def change(node: ast.AST) -> None:
        assert isinstance(node, ast.comprehension)
        node.ifs[index] = ast.UnaryOp(ast.Not(), node.ifs[index])

    return change


def _setter(name: str, value: object) -> Callable[[ast.AST], None]:
    return lambda node: setattr(node, name, value)


def _identity(node: ast.AST) -> None:
    """Turn `not x` into `not not x`, which reads as `bool(x)`."""
    assert isinstance(node, ast.UnaryOp)
    node.operand = ast.UnaryOp(ast.Not(), node.operand)


def _empty(node: ast.AST) -> None:
    assert isinstance(node, ast.FunctionDef)
    node.body = ast.parse("return iter(())").body


def _break(node: ast.AST) -> None:
    assert isinstance(node, ast.For)
    node.body.append(ast.Break())


def _become_break(node: ast.AST) -> None:
    node.__class__ = ast.Break  # the copy has nothing else in it


def _is_rule(node: ast.FunctionDef) -> bool:
    return any(
        isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in _DECORATORS
        for one in node.decorator_list
    )


def _plain(test: ast.expr) -> bool:
    """Whether nothing inside a condition is changed in a way that negates it already."""
    return not (isinstance(test, ast.Compare) and len(test.ops) == 1) and not (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    )


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else text[:97] + "…"


def _word(op: type[ast.AST]) -> str:
    return {
        ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
        ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.And: "and", ast.Or: "or",
    }[op]  # fmt: skip
