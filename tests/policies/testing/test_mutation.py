"""The mutation run: it finds what no test catches, and every rule that changed here passes it."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import policies
from policies.rule import Rule
from policies.testing import helpers, mutation
from policies.testing.cases import PROJECT
from policies.testing.mutation import MutationError, changed, main, mutate

pytestmark = pytest.mark.slow  # a file that takes seconds together

RULES = """\
from policies.rule import Problem, resource_rule

LIMIT = 3

@resource_rule(id="cost.small", title="x", severity="low", why="w", fix="f", types=["t:m:T"])
def small(resource, world):
    size = resource.value("size", default=0)
    while size is None:
        pass
    if size > LIMIT:
        yield Problem("too large", path="size")
"""
TESTS = """\
from policies.rules_of_a_test import small
from policies.testing import admit, deny, resource

def test_sizes():
    admit(small, resource("t:m:T", "one", size=3), resource("t:m:T", "none"))
    deny(small, resource("t:m:T", "one", size=4), path="size")
"""


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rule]:
    """A rule with tests, in modules that only this test knows."""
    (tmp_path / "rules_of_a_test.py").write_text(RULES)
    (tmp_path / "test_sizes.py").write_text(TESTS)
    monkeypatch.setattr(policies, "__path__", [*policies.__path__, str(tmp_path)])
    monkeypatch.setattr(mutation, "file_of", lambda rule: tmp_path / "test_sizes.py")
    monkeypatch.setattr(mutation, "PROJECT", tmp_path)
    monkeypatch.setattr(mutation, "_PATIENCE", 0.3)
    yield importlib.import_module("policies.rules_of_a_test").small
    del sys.modules["policies.rules_of_a_test"]


def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "equivalent.yaml").write_text(text)
    monkeypatch.setattr(mutation, "EQUIVALENT", tmp_path / "equivalent.yaml")


def test_every_mutant_that_a_test_notices_is_caught_also_one_that_never_ends(rule: Rule) -> None:
    report = mutate([rule], deep=True)
    assert report.passed, report.text()
    assert report.caught == 7


def test_mutant_that_no_test_notices_is_told_with_its_line(rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "test_sizes.py").write_text(TESTS.replace("size=3", "size=2").replace("size=4", "size=9"))
    report = mutate([rule], deep=True)
    assert not report.passed
    assert "rules_of_a_test.py:10 small: size > LIMIT → >=" in report.survivors
    assert "NOT CAUGHT" in report.text()


def test_tests_that_fail_already_say_nothing(rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "test_sizes.py").write_text(TESTS.replace("size=3", "size=5"))
    report = mutate([rule], deep=True)
    assert not report.passed
    assert "fail without any mutant" in report.text()


def test_rule_without_tests_is_told_and_does_not_pass(rule: Rule, tmp_path: Path) -> None:
    (tmp_path / "test_sizes.py").unlink()
    report = mutate([rule], deep=True)
    assert not report.passed
    assert "test_sizes.py" in report.text()


def test_listed_mutant_counts_as_equivalent(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_sizes.py").write_text(TESTS.replace("size=3", "size=2"))
    key = "policies.rules_of_a_test: {'small: size > LIMIT → >=': sizes are only ever even and so never three"
    listed(monkeypatch, tmp_path, f"{key}, '<module>: 3 → 2': sizes are only ever even or so it is said}}")
    report = mutate([rule], deep=True)
    assert (report.passed, report.equivalent) == (True, 2), report.text()


def test_entry_that_is_caught_or_of_no_mutant_is_stale(
    rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "a reason that is long enough"
    listed(
        monkeypatch, tmp_path, f"policies.rules_of_a_test: {{'small: size > LIMIT → >=': {why}, 'small: gone': {why}}}"
    )
    report = mutate([rule], deep=True)
    assert not report.passed
    assert ["it is caught" in one or "no such mutant" in one for one in report.stale] == [True, True]


def test_entry_without_a_reason_is_refused(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, tmp_path, "policies.rules_of_a_test: {'small: size > LIMIT → >=': because}")
    with pytest.raises(MutationError, match="say why"):
        mutate([rule], deep=True)


def test_numbers_are_left_alone_unless_it_goes_deep(rule: Rule) -> None:
    assert mutate([rule]).caught == 5
    assert mutate([rule], deep=True).caught == 7


def test_file_is_not_begun_when_the_time_is_over_and_that_is_told(rule: Rule) -> None:
    report = mutate([rule], seconds=-1)
    assert report.not_reached == ["policies.rules_of_a_test"]
    assert "NOT REACHED" in report.text()


def test_branch_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MutationError, match="no-such-branch"):
        changed("no-such-branch")
    assert main(["--changed", "no-such-branch"]) == 2
    assert "no-such-branch" in capsys.readouterr().err


def test_rule_that_does_not_exist_is_told() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cost.no-such-rule"])
    assert ended.value.code == 2


def base() -> str | None:
    """The branch to compare with: that of MLOPS_BASE, or the main branch."""
    for name in filter(None, [os.environ.get("MLOPS_BASE"), "origin/main", "main"]):
        known = subprocess.run(["git", "-C", str(PROJECT), "rev-parse", "-q", "--verify", name], capture_output=True)
        if known.returncode == 0:
            return name
    return None


@pytest.mark.slow
def test_every_mutant_of_a_changed_rule_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    found = base()
    if found is None:
        pytest.skip("no main branch to compare with; `python -m policies.testing.mutation` runs it whole")
    rules, shared = changed(found)
    report = mutate(rules, shared, seconds=120)
    with capsys.disabled():
        print(f"\n{len(rules)} rules and {len(shared)} modules that rules share differ from {found}: {report.text()}")
    assert report.passed, report.text()


SHARED = "def large(size):\n    return size > 3\n"
LED = RULES.replace("LIMIT = 3\n", "from policies.shared_of_a_test import large\n").replace(
    "size > LIMIT", "large(size)"
)


@pytest.fixture
def led(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rule]:
    """A rule that asks a module which it shares with others."""
    name = "policies.led_of_a_test"
    (tmp_path / "shared_of_a_test.py").write_text(SHARED)
    (tmp_path / "led_of_a_test.py").write_text(LED)
    (tmp_path / "test_led.py").write_text(TESTS.replace("policies.rules_of_a_test", name))
    monkeypatch.setattr(policies, "__path__", [*policies.__path__, str(tmp_path)])
    monkeypatch.setattr(mutation, "PROJECT", tmp_path)
    for module in (mutation, helpers):
        monkeypatch.setattr(module, "file_of", lambda rule: tmp_path / "test_led.py")
    found = importlib.import_module(name).small
    monkeypatch.setattr(mutation, "all_rules", lambda: (found,))
    yield found
    for one in (name, "policies.shared_of_a_test"):
        del sys.modules[one]


def test_what_rules_share_is_broken_too_and_held_by_the_tests_of_the_rules(led: Rule, tmp_path: Path) -> None:
    shared = helpers.helpers([led])
    assert shared == ["policies.shared_of_a_test"]
    report = mutate([], shared)
    assert (report.passed, report.caught) == (True, 2), report.text()
    # Of another length: bytecode of the same second and length would be taken for its own.
    (tmp_path / "test_led.py").write_text((tmp_path / "test_led.py").read_text().replace("size=3", "size=-3"))
    assert mutate([], shared).survivors == ["shared_of_a_test.py:2 large: size > 3 → >="]
