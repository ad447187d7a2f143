"""The mutation run: breaks rules in every way of a list, and tells which broken rule no test catches.

    python -m policies.testing.mutation [RULE | MODULE …] [--changed BASE] [--deep] [--seconds N] [--json FILE]

Everything happens in this process: a mutant takes the place of its module, the tests of that module are loaded anew and
run until one fails. A thousand mutants take about a minute. What rules share is broken too: there the rules that lead
to it are loaded anew as well, and their tests count.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import yaml

from policies.rule import Rule
from policies.rules import all_rules
from policies.testing.cases import PROJECT, CasesError, file_of, run, tests_in
from policies.testing.helpers import dependents, helpers, tests_of
from policies.testing.mutants import Mutant, mutants

EQUIVALENT = Path(__file__).parent / "equivalent.yaml"
_PATIENCE = 10.0
"""Seconds of this process after which a mutant that does not end counts as caught, however busy the machine is."""


class MutationError(Exception):
    """What a run needs is missing: a branch, or a reason in the list of equivalent mutants."""


class _TooLongError(BaseException):
    """A mutant does not end. No `Exception`, since those of a rule are an answer."""


@dataclass
class Report:
    """What came of a run.

    Attributes:
        caught: how many mutants a test caught.
        survivors: those that none did: file, line and change.
        equivalent: those that the list says cannot be caught.
        stale: entries of the list that are wrong by now.
        untested: modules whose tests are missing or fail without any mutant, and how.
        not_reached: modules that the time was too short for.
        modules: modules that were broken.
        seconds: how long it took.
    """

    caught: int = 0
    survivors: list[str] = field(default_factory=list)
    equivalent: int = 0
    stale: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every mutant was caught or is known to be none."""
        return not (self.survivors or self.stale or self.untested)

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"{len(self.modules)} files, {self.caught} mutants caught, {len(self.survivors)} not, "
            f"{self.equivalent} equivalent, in {self.seconds:.0f} s"
        ]
        lines += [f"NOT CAUGHT  {one}" for one in self.survivors]
        lines += [f"STALE       {EQUIVALENT.name}: {one}" for one in self.stale]
        lines += [f"NOT TESTED  {one}" for one in self.untested]
        lines += [f"NOT REACHED {one}" for one in self.not_reached]
        return "\n".join(lines)


def mutate(
    rules: Sequence[Rule],
    shared: Sequence[str] = (),
    *,
    deep: bool = False,
    seconds: float = float("inf"),
    say: bool = False,
) -> Report:
    """Break the files in which rules stand, and what they share, and run their tests against each mutant.

    Args:
        rules: the rules.
        shared: modules that rules share (`helpers`).
        deep: whether numbers are moved by one and loops ended early, too.
        seconds: after how many no further file is begun.
        say: whether to tell the progress on standard error.
    """
    begun = time.monotonic()
    report = Report()
    known = _equivalent()
    wanted = {rule.judge.__module__: [file_of(rule)] for rule in rules}
    wanted |= {name: tests_of(name, all_rules()) for name in shared}
    for name, tests in sorted(wanted.items()):
        if time.monotonic() - begun > seconds:
            report.not_reached.append(name)
            continue
        report.modules.append(name)
        _module(name, tests, known.get(name, {}), report, deep=deep)
        if say:
            sys.stderr.write(f"{name}: {report.caught} caught, {len(report.survivors)} not\n")
    report.seconds = time.monotonic() - begun
    return report


def changed(base: str, project: Path = PROJECT) -> tuple[list[Rule], list[str]]:
    """Return the rules whose file or tests differ from what a branch had when this one left it, and such helpers.

    Raises:
        MutationError: there is no such branch.
    """
    fork = _git(project, "merge-base", base, "HEAD")
    names = _git(project, "diff", "--name-only", fork).splitlines()
    names += _git(project, "ls-files", "--others", "--exclude-standard").splitlines()
    differ = {project / name for name in names}
    rules = [rule for rule in all_rules() if {file_of(rule), _source(rule.judge.__module__)} & differ]
    shared = [one for one in helpers(all_rules()) if {_source(one), *tests_of(one, ())} & differ]
    return rules, shared


def _module(name: str, tests: Sequence[Path], known: dict[str, str], report: Report, *, deep: bool) -> None:
    failures: list[tuple[str, str]] = [] if tests else [(name, "it has none")]
    for file in tests:
        try:
            failures += run(tests_in(file)).failures
        except CasesError as error:
            failures.append((file.stem, str(error)))
    if failures:
        told = "; ".join(f"{test}: {text}" for test, text in failures)
        report.untested.append(f"{name}: its tests fail without any mutant: {told}")
        return
    left = dict(known)
    for one in mutants(_source(name).read_text()):
        if one.deep and not deep:
            left.pop(one.key, None)
            continue
        caught = _is_caught(name, one, tests)
        listed = left.pop(one.key, None) is not None
        if listed and caught:
            report.stale.append(f"{name}: {one.key}: it is caught")
        if caught:
            report.caught += 1
        elif listed:
            report.equivalent += 1
        else:
            report.survivors.append(f"{_source(name).relative_to(PROJECT)}:{one.line} {one.key}")
    report.stale += [f"{name}: {key}: there is no such mutant" for key in left]


def _is_caught(name: str, mutant: Mutant, tests: Sequence[Path]) -> bool:
    code = compile(mutant.tree, f"<mutant of {name}>", "exec")
    try:
        with _patience(_PATIENCE), contextlib.ExitStack() as places:
            places.enter_context(_in_place(name, code))
            for other in _led_to(name):
                places.enter_context(_in_place(other, _code(other)))
            return any(run(tests_in(file), until_failure=True).failures for file in tests)
    except (Exception, _TooLongError):  # noqa: BLE001 - a module that does not even load is caught
        return True


@cache
def _led_to(name: str) -> Sequence[str]:
    """Return the modules that are loaded anew when what they share is another: none for a file of rules."""
    rules = all_rules()
    shared = helpers(rules)
    return dependents(name, {*shared, *(rule.judge.__module__ for rule in rules)}) if name in shared else ()


@cache
def _code(name: str) -> CodeType:
    source = _source(name)
    return compile(source.read_text("utf-8"), str(source), "exec")


@contextlib.contextmanager
def _in_place(name: str, code: CodeType) -> Iterator[None]:
    """Let a module be another one for a while, for whoever imports it anew."""
    original = importlib.import_module(name)
    package, _, last = name.rpartition(".")
    parent = importlib.import_module(package)
    twin = ModuleType(name)
    vars(twin).update({key: value for key, value in vars(original).items() if key.startswith("__")})
    sys.modules[name] = twin
    try:
        exec(code, vars(twin))  # noqa: S102 - our own module, with one change
        setattr(parent, last, twin)
        yield
    finally:
        sys.modules[name] = original
        setattr(parent, last, original)


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _equivalent() -> dict[str, dict[str, str]]:
    """Return the mutants that cannot be caught: by module and key, with the reason.

    Raises:
        MutationError: an entry says no reason.
    """
    stated = yaml.safe_load(EQUIVALENT.read_text()) or {}
    for name, entries in stated.items():
        for key, reason in entries.items():
            if len(str(reason or "")) < 20:
                raise MutationError(f"{EQUIVALENT.name}: {name}: {key}: say why no test can tell it from the rule")
    return {name: dict(entries) for name, entries in stated.items()}


def _source(name: str) -> Path:
    file = importlib.import_module(name).__file__
    assert file is not None
    return Path(file)


def _git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MutationError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 0 where every mutant is caught, 1 where one is not, 2 where nothing was told."""
    parser = argparse.ArgumentParser(prog="python -m policies.testing.mutation", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="ids of rules, or modules that they share; all by default"
    )
    parser.add_argument("--changed", metavar="BASE", help="what differs from this branch")
    parser.add_argument("--deep", action="store_true", help="move numbers by one and end loops early, too")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further file after so many")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    stated = parser.parse_args(arguments)
    rules = list(all_rules())
    shared = helpers(rules)
    if unknown := sorted(set(stated.names) - {rule.id for rule in rules} - set(shared)):
        parser.error(f"there is no rule {', '.join(unknown)}, and rules share no such module; they share {shared}")
    try:
        if stated.changed:
            rules, shared = changed(stated.changed)
        if stated.names:
            rules = [rule for rule in rules if rule.id in stated.names]
            shared = [one for one in shared if one in stated.names]
        report = mutate(rules, shared, deep=stated.deep, seconds=stated.seconds, say=True)
    except MutationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if stated.json:
        stated.json.write_text(json.dumps(asdict(report), indent=1))
    sys.stdout.write(report.text() + "\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
