"""In which ways a rule is broken on purpose."""

import ast

import pytest

from policies.testing.mutants import mutants


def changes(source: str) -> list[str]:
    return [one.change for one in mutants(source)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a == b", ["a == b → !="]),
        ("a is not b", ["a is not b → is"]),
        ("a not in b", ["a not in b → in"]),
        ("a < b", ["a < b → <=", "a < b → >="]),
        ("a >= b", ["a >= b → >", "a >= b → <"]),
        ("a < b <= c", ["a < b <= c → <=", "a < b <= c → >=", "a < b <= c → < (at 1)", "a < b <= c → > (at 1)"]),
        ("a and b", ["a and b → or"]),
        ("not a", ["not a → without `not`"]),
        ("True", ["True → False"]),
        ("3", ["3 → 4", "3 → 2"]),
        ("any(a)", ["any(a) → all"]),
        ("'text'", []),
        ("f'{a + 1}'", []),
        ("a if b else c", ["if b → if not"]),
        ("[a for a in b if a]", ["if a → if not"]),
    ],
)
def test_expression_is_broken(expression: str, expected: list[str]) -> None:
    assert changes(f"def f(a, b, c):\n    return {expression}\n") == expected


RULE = """\
@resource_rule(id="security.x", waivable=True, types=("t",))
def x(resource: Resource, world: World, limit: Literal[5] = LIMIT) -> Iterator[Answer]:
    '''Look.'''
    for one in resource.items("all"):
        if one:
            continue
        yield Problem("wrong")
"""


def test_rule_is_disabled_and_what_is_said_of_it_is_left_alone() -> None:
    assert changes(RULE) == [
        "the rule is disabled",
        "for one in resource.items('all') → the first only",
        "if one → if not",
        "continue → break",
        "yield Problem('wrong') → nothing",
    ]
    disabled = ast.unparse(next(mutants(RULE)).tree)
    assert "return iter(())" in disabled
    assert "@resource_rule" in disabled


def test_each_mutant_differs_from_the_source_and_compiles() -> None:
    made = list(mutants(RULE))
    assert len({ast.unparse(one.tree) for one in made} | {ast.unparse(ast.parse(RULE))}) == len(made) + 1
    for one in made:
        compile(one.tree, "mutant", "exec")


def test_constants_of_the_module_are_moved_and_equal_changes_are_told_apart() -> None:
    found = [one.key for one in mutants("LIMIT = 3\ndef f(a):\n    return a == 1 or a == 1\n")]
    assert found == [
        "<module>: 3 → 4",
        "<module>: 3 → 2",
        "f: a == 1 or a == 1 → and",
        "f: a == 1 → !=",
        "f: 1 → 2",
        "f: 1 → 0",
        "f: a == 1 → != (2)",
        "f: 1 → 2 (2)",
        "f: 1 → 0 (2)",
    ]
