"""Each bad change is stopped by the rule that is meant for it, and by that rule alone.

The good plans are the shipped prod stacks: registered once with the planning stand-ins, then previewed against
themselves. The edits are pure, on those plans; test_edited_stacks.py makes some of them in the stack's file.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.planning.plans import planned
from policies.evaluation import Finding
from policies.judge import judge
from policies.plan import Plan
from policies.rules import all_rules
from tests.policies.bad_changes import cost, governance, releases, reliability, rollback, security
from tests.policies.bad_changes.draft import Bad, Draft

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
FOUNDATION: list[Bad] = [
    *security.CHANGES, *rollback.CHANGES, *governance.CHANGES, *reliability.CHANGES, *cost.CHANGES,
]  # fmt: skip
CHANGES: list[Bad] = [*FOUNDATION, *releases.CHANGES]

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def good() -> Plan:
    return planned(ROOT, "prod", base=ROOT)


@pytest.fixture(scope="module")
def good_releases() -> Plan:
    return releases.signed(planned(ROOT, "prod-releases", base=ROOT))


def findings(plan: Plan) -> list[Finding]:
    """What the gate finds, without what it leaves to the deploy job."""
    return [one for one in judge(plan, all_rules(), ROOT, NOW).findings if one.status != "deferred"]


def check(change: Bad, good: Plan) -> None:
    draft = Draft(good)
    change.edit(draft)
    found = findings(draft.plan())
    assert {one.rule for one in found} == {change.rule}, [f"{one.rule}: {one.text}" for one in found]
    assert all(one.stops for one in found)


def named(change: Bad) -> str:
    return change.name.replace(" ", "-")


def test_shipped_foundation_has_no_finding_and_needs_no_waiver(good: Plan) -> None:
    assert findings(good) == []


def test_shipped_releases_have_no_finding_and_need_no_waiver(good_releases: Plan) -> None:
    assert findings(good_releases) == []


@pytest.mark.parametrize("change", FOUNDATION, ids=named)
def test_bad_change_is_stopped_by_the_rule_meant_for_it_alone(change: Bad, good: Plan) -> None:
    check(change, good)


@pytest.mark.parametrize("change", releases.CHANGES, ids=named)
def test_bad_release_is_stopped_by_the_rule_meant_for_it_alone(change: Bad, good_releases: Plan) -> None:
    check(change, good_releases)


def test_changes_are_many_and_each_is_its_own() -> None:
    assert len({one.name for one in CHANGES}) == len(CHANGES) >= 60
    assert {one.rule for one in CHANGES} <= {rule.id for rule in all_rules()}
