"""Every rule has a case that it admits, one that it denies, and one in which it cannot tell."""

from policies.rules import all_rules
from policies.testing.cases import TESTS, file_of, run_for


def test_every_rule_has_its_cases_and_they_hold() -> None:
    found = run_for(all_rules())
    assert list(found.failures) == []
    assert found.missing(all_rules()) == []


def test_every_file_of_tests_belongs_to_rules() -> None:
    files = {file_of(rule) for rule in all_rules()}
    assert sorted(set(TESTS.glob("*/test_*.py")) - files) == []
