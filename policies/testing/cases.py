"""The tests of the rules, run in this process: which rules have which cases, and whether they hold.

`tests/policies/rules/<family>/test_<file>.py` holds the tests of `policies/rules/<family>/<file>.py`. They are ordinary
tests of pytest that take no fixtures, so that they can be run as plain functions too: to tell which rule lacks a case,
for `./mlops policies test`, and a thousand times over against rules that were broken on purpose.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from policies.rule import Rule
from policies.testing.verdicts import NEEDED, Case, noted

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests" / "policies" / "rules"


class CasesError(Exception):
    """The tests of a rule cannot be run."""


@dataclass(frozen=True)
class Test:
    """One test.

    Attributes:
        name: file, function and number of the parameters.
        call: runs it.
    """

    name: str
    call: Callable[[], object]


@dataclass(frozen=True)
class Outcome:
    """What came of running tests.

    Attributes:
        ran: how many were run.
        failures: name of a test, and what it said.
        cases: the assertions that were made and held up to the end of their test.
    """

    ran: int
    failures: Sequence[tuple[str, str]]
    cases: Sequence[Case] = field(repr=False)

    def missing(self, rules: Sequence[Rule]) -> list[str]:
        """Return what cases rules lack, as sentences."""
        made = {(one.rule, one.kind) for one in self.cases}
        wanted = [(rule.id, kind) for rule in rules for kind in NEEDED]
        return [f"{rule} has no case of kind {kind!r}" for rule, kind in wanted if (rule, kind) not in made]


def file_of(rule: Rule) -> Path:
    """Return the file with the tests of a rule."""
    *_, family, module = rule.judge.__module__.split(".")
    return TESTS / family / f"test_{module}.py"


def tests_in(file: Path) -> list[Test]:
    """Return the tests of a file, loaded anew.

    Raises:
        CasesError: there is no such file, it cannot be loaded, or a test of it wants fixtures.
    """
    if not file.exists():
        raise CasesError(f"there is no {file.relative_to(PROJECT) if file.is_relative_to(PROJECT) else file}")
    module = _loaded(file)
    found = []
    for name, value in vars(module).items():
        if name.startswith("test_") and callable(value) and getattr(value, "__module__", None) == module.__name__:
            found += [Test(f"{file.stem}::{name}{mark}", call) for mark, call in _calls(value, name, file)]
    if not found:
        raise CasesError(f"{file} holds no tests")
    return found


def run(tests: Sequence[Test], *, until_failure: bool = False) -> Outcome:
    """Run tests.

    Args:
        tests: the tests.
        until_failure: whether to end at the first that fails.
    """
    failures: list[tuple[str, str]] = []
    cases: list[Case] = []
    ran = 0
    for one in tests:
        ran += 1
        with noted() as made:
            try:
                one.call()
            except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - a test fails by whatever it raises
                failures.append((one.name, f"{type(error).__name__}: {error}"))
                if until_failure:
                    break
                continue
        cases += made
    return Outcome(ran, failures, cases)


def run_for(rules: Sequence[Rule]) -> Outcome:
    """Run the tests of rules.

    A file that is not there, or cannot be loaded, is a failure of its own.
    """
    tests: list[Test] = []
    broken: list[tuple[str, str]] = []
    for file in sorted({file_of(rule) for rule in rules}):
        try:
            tests += tests_in(file)
        except CasesError as error:
            broken.append((file.stem, str(error)))
    found = run(tests)
    return Outcome(found.ran, [*broken, *found.failures], found.cases)


def _own_tests() -> None:
    """Let `tests` be this project's: packages that others install bring folders of that name, too."""
    found = getattr(sys.modules.get("tests"), "__path__", [str(PROJECT / "tests")])
    if str(PROJECT / "tests") not in found:
        for name in [one for one in sys.modules if one.partition(".")[0] == "tests"]:
            del sys.modules[name]
    if sys.path[:1] != [str(PROJECT)]:
        sys.path.insert(0, str(PROJECT))


def _loaded(file: Path) -> ModuleType:
    _own_tests()
    name = f"_cases_{file.parent.name}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CasesError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CasesError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _calls(function: Callable[..., object], name: str, file: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield a function with each combination of its parameters, as pytest would call it."""
    axes: list[list[dict[str, Any]]] = []
    for mark in getattr(function, "pytestmark", []):
        if mark.name != "parametrize":
            continue
        names = mark.args[0]
        if isinstance(names, str):
            names = [one.strip() for one in names.split(",")]
        axes.append([dict(zip(names, _values(one, len(names)), strict=True)) for one in mark.args[1]])
    wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
    for index, combination in enumerate(itertools.product(*axes)):
        arguments = {key: value for one in combination for key, value in one.items()}
        if missing := set(wanted) - set(arguments):
            raise CasesError(f"{file}: {name} wants {', '.join(sorted(missing))}; tests of rules take no fixtures")
        yield f"[{index}]" if axes else "", _bound(function, arguments)


def _values(one: Any, count: int) -> tuple[Any, ...]:
    values = getattr(one, "values", None)
    if isinstance(values, tuple) and hasattr(one, "marks"):  # pytest.param
        return values
    return (one,) if count == 1 else tuple(one)


def _bound(function: Callable[..., object], arguments: dict[str, Any]) -> Callable[[], object]:
    return lambda: function(**arguments)
