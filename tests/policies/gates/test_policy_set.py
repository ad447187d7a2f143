"""What the digest of the policies follows."""

from pathlib import Path

import pytest

from policies.gates.policy_set import policies_digest


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("policies/rules/one.py", "RULE = 2\n"),
        ("policies/rules/two.py", "RULE = 2\n"),
        ("policies/prices.csv", "a,2\n"),
        ("stacks/waivers.yaml", "waivers: []\n"),
    ],
)
def test_it_follows_rules_tables_and_waivers(project: Path, file: str, content: str) -> None:
    before = policies_digest(project)

    (project / file).write_text(content)

    assert policies_digest(project) != before


def test_it_follows_a_rule_that_is_moved_or_taken_away(project: Path) -> None:
    before = policies_digest(project)
    (project / "policies/rules/one.py").rename(project / "policies/rules/two.py")
    moved = policies_digest(project)
    (project / "policies/rules/two.py").unlink()

    assert len({before, moved, policies_digest(project)}) == 3


@pytest.mark.parametrize("file", ["policies/rules/__pycache__/one.cpython-311.pyc", "policies/.draft", "other.py"])
def test_it_does_not_follow_what_is_no_policy(project: Path, file: str) -> None:
    before = policies_digest(project)
    (project / file).parent.mkdir(exist_ok=True)
    (project / file).write_text("x")

    assert policies_digest(project) == before
