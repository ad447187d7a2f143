"""A finding leads to the line that states the setting, in whichever of a stack's files that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.report.document import Source
from policies.report.places import key_lines, place_of, places_of, setting_places
from tests.policies.report.conftest import evaluation, finding, stack

FILES = {
    "stacks/Pulumi.prod.yaml": """\
# our production
config:
  mlops:baseline: prod
  mlops:aws:
    governance:
      owner: ml-platform
      budgetUsd: 9000
    network: {cidr: 10.22.0.0/16,
              zones: 3}
  aws:region: eu-central-1
""",
    "stacks/baselines/prod.yaml": """\
extends: aws
aws:
  governance: {auditDays: 2555}
  kubernetes:
    pools:
      gpu:
        types: [g5.xlarge]
""",
    "stacks/baselines/aws.yaml": "aws:\n  monitoring:\n    logDays: 30\n  governance:\n    owner: nobody\n",
}


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("aws.governance.budgetUsd", "stacks/Pulumi.prod.yaml:7"),
        ("aws.network.zones", "stacks/Pulumi.prod.yaml:9"),
        ("aws.governance.auditDays", "stacks/baselines/prod.yaml:3"),
        ("aws.kubernetes.pools.gpu.types.0", "stacks/baselines/prod.yaml:7"),
        ("aws.monitoring.logDays", "stacks/baselines/aws.yaml:3"),
    ],
)
def test_a_setting_leads_to_the_file_that_states_it(setting: str, place: str) -> None:
    assert str(setting_places("prod", [setting], FILES)[setting]) == place


def test_the_file_nearest_to_the_stack_wins_as_it_does_when_settings_are_read() -> None:
    assert str(setting_places("prod", ["aws.governance.owner"], FILES)["aws.governance.owner"]).endswith("prod.yaml:6")


def test_a_setting_that_nobody_states_leads_to_the_nearest_one_above_it() -> None:
    found = setting_places("prod", ["aws.kubernetes.pools.gpu.limit.cpus"], FILES)
    assert list(found.values()) == [Source("stacks/baselines/prod.yaml", 6)]


@pytest.mark.parametrize("setting", ["nothing.like.it", ""])
def test_a_setting_without_any_trace_leads_to_the_file_of_the_stack(setting: str) -> None:
    assert setting_places("prod", [setting], FILES) == {setting: Source("stacks/Pulumi.prod.yaml", 1)}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"stacks/Pulumi.prod.yaml": "config: ["},
        {"stacks/Pulumi.prod.yaml": "- a list"},
        {"stacks/Pulumi.prod.yaml": "config:\n  mlops:baseline: a\n", "stacks/baselines/a.yaml": "extends: a\n"},
    ],
)
def test_files_that_cannot_be_read_still_lead_to_the_file_of_the_stack(files: dict[str, str]) -> None:
    assert setting_places("prod", ["aws.region"], files) == {"aws.region": Source("stacks/Pulumi.prod.yaml", 1)}


def test_a_mapping_that_holds_itself_ends() -> None:
    assert key_lines("a: &x\n  b: *x\n") == {("a",): 1, ("a", "b"): 2}


def test_a_finding_leads_to_its_setting_before_its_line_of_the_program() -> None:
    both = finding(setting="aws.governance.budgetUsd", place="components/a.py:3")
    assert str(place_of("prod", both, FILES)) == "stacks/Pulumi.prod.yaml:7"
    assert str(place_of("prod", finding(setting="", place="components/a.py:3"), FILES)) == "components/a.py:3"
    assert str(place_of("prod", finding(setting="", place=""), FILES)) == "stacks/Pulumi.prod.yaml:1"


def test_the_places_of_a_stack_are_those_that_its_findings_name() -> None:
    named = stack(evaluation=evaluation(finding(setting="aws.governance.budgetUsd"), finding()))
    assert places_of(named, FILES) == {("prod", "aws.governance.budgetUsd"): Source("stacks/Pulumi.prod.yaml", 7)}


def test_the_shipped_stacks_are_understood() -> None:
    project = Path(__file__).parents[3]
    files = {one.relative_to(project).as_posix(): one.read_text() for one in project.glob("stacks/**/*.yaml")}
    place = setting_places("prod", ["aws.governance.budgetUsd"], files)["aws.governance.budgetUsd"]
    assert files[place.file].splitlines()[place.line - 1].strip().startswith("budgetUsd:")
