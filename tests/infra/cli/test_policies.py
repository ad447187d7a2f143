"""`mlops policies`, `waive` and `waivers`, as a person meets them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.infra.cli.conftest import Project

UNTIL = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
RULE = "reliability.sample"


def _waive(project: Project, rule: str, **changed: str) -> str:
    stated = {
        "stack": "local", "resource": "x", "owner": "dora", "reason": "until it is mended", "until": UNTIL, **changed,
    }  # fmt: skip
    return project.run("waive", rule, *(part for name, one in stated.items() for part in (f"--{name}", one))).failure


@pytest.fixture
def waivable() -> str:
    """Id of a rule that may be waived."""
    from policies.rules import all_rules

    return next(rule.id for rule in all_rules() if rule.waivable)


@pytest.mark.slow
def test_rules_are_listed_with_how_they_count(project: Project) -> None:
    listed = project.run("policies", "list", "--json").json
    public = next(one for one in listed["rules"] if one["id"] == "security.bucket-not-public")
    assert (public["severity"], public["levels"]["prod"], public["waivable"]) == ("critical", "mandatory", False)
    assert public["code"].startswith("sha256:")


def test_rules_of_one_family_are_listed_alone(project: Project) -> None:
    listed = project.run("policies", "list", "--family", "security", "--json").json
    assert {one["family"] for one in listed["rules"]} == {"security"}
    assert "there are: governance" in project.run("policies", "list", "--family", "fashion").failure


def test_a_rule_is_explained_with_its_harm_its_mend_and_its_file(project: Project) -> None:
    text = project.run("policies", "explain", "security.bucket-not-public").text
    assert "lost the moment somebody finds it" in text
    assert "give the bucket a BucketPublicAccessBlock" in text
    assert "policies/rules/security/buckets.py:" in text


def test_a_change_of_the_gates_is_explained_too(project: Project) -> None:
    assert "made weaker" in project.run("policies", "explain", "gate.rule-weakened").text


def test_an_unknown_rule_is_told_with_the_nearest(project: Project) -> None:
    assert "there is no rule 'security.bucket-not-publik'" in (
        project.run("policies", "explain", "security.bucket-not-publik").failure
    )


def test_the_cases_of_one_rule_are_run(project: Project) -> None:
    ran = project.run("policies", "test", "security.bucket-not-public", "--json").json
    assert ran["ran"] > 2
    assert ran["wrong"] == []


def test_a_waiver_is_written_and_listed(project: Project, waivable: str) -> None:
    assert _waive(project, waivable) == ""
    (listed,) = project.run("waivers", "--json").json["waivers"]
    assert (listed["rule"], listed["owner"], listed["daysLeft"]) == (waivable, "dora", 30)


def test_a_waiver_that_is_refused_writes_nothing(project: Project, waivable: str) -> None:
    assert "cannot be waived" in _waive(project, "security.bucket-not-public")
    assert "there is no stack 'prod'" in _waive(project, waivable, stack="prod")
    assert "is past" in _waive(project, waivable, until="2020-01-01")
    assert not (project.root / "stacks" / "waivers.yaml").exists()


def test_an_expired_waiver_is_listed_and_told(project: Project, waivable: str) -> None:
    assert _waive(project, waivable) == ""
    file = project.root / "stacks" / "waivers.yaml"
    file.write_text(file.read_text().replace(UNTIL, "2020-01-01"))
    assert f"{waivable} on local: x has expired" in project.run("waivers").failure
