"""What a change does to the cost: before and after with the same prices, by component."""

from policies.facts import facts_of
from policies.plan import Plan, Resource, Step
from policies.report.cost_change import cost_change
from policies.report.document import Amount, CostChange
from policies.testing import gate, resource

GATE = gate(settings={"aws.region": "eu-central-1", "aws.governance.budgetUsd": 900})
FACTS = facts_of(Plan(stack="prod", resources=[GATE]))
KEY = resource("aws:kms/key:Key", "data")
CLUSTER = resource("aws:eks/cluster:Cluster", "cluster", upgradePolicy={"supportType": "STANDARD"})


def database(kind: object) -> Resource:
    stated = {"engine": "postgres", "instanceClass": kind, "allocatedStorage": 20, "storageType": "gp3"}
    return resource("aws:rds/instance:Instance", "database", stated)


def step(operation: str, old: Resource | None, new: Resource | None) -> Step:
    there = new or old
    assert there is not None
    return Step(operation=operation, urn=there.urn, type=there.type, old=old, new=new)  # type: ignore[arg-type]


def _cost(planned: Plan) -> CostChange | None:
    found, note = cost_change(planned, FACTS)
    assert note == ""
    return found


def plan(*steps: Step) -> Plan:
    there = any(one.old for one in steps)
    all_steps = [step("same" if there else "create", GATE if there else None, GATE), *steps]
    return Plan(stack="prod", resources=[one.new for one in all_steps if one.new is not None], steps=all_steps)


def test_what_stays_changes_goes_and_comes_is_counted_on_its_side() -> None:
    small, large = database("db.t3.medium"), database("db.m6g.large")
    found = _cost(plan(step("same", KEY, KEY), step("update", small, large), step("create", None, CLUSTER)))

    assert found is not None
    assert found.before == Amount(expected=round(1 + 730 * 0.084 + 2.74, 2), worst=round(1 + 730 * 0.084 + 2.74, 2))
    assert found.after.expected == round(1 + 730 * 0.189 + 2.74 + 73, 2)
    assert found.budget == 900
    assert "eu-central-1" in found.prices


def test_what_is_deleted_is_only_before() -> None:
    found = _cost(plan(step("delete", CLUSTER, None), step("same", KEY, KEY)))
    assert found is not None
    assert found.before == Amount(expected=74.0, worst=74.0)
    assert found.after == Amount(expected=1.0, worst=1.0)


def test_stack_that_was_not_there_has_no_before() -> None:
    found = _cost(plan(step("create", None, KEY)))
    assert found is not None
    assert found.before is None


def test_what_has_no_price_is_told_and_not_counted() -> None:
    found = _cost(plan(step("create", None, database("db.m9.huge"))))
    assert found is not None
    assert found.after == Amount(expected=0.0, worst=0.0)
    assert found.unpriced == [
        "database [unpriced]: the price book has no row for AmazonRDS 'postgresql db.m9.huge' in eu-central-1"
    ]


def test_components_are_told_apart() -> None:
    platform = resource("mlops:platform:Platform", "platform", provider="")
    network = resource("mlops:network:AwsNetwork", "network", parent=platform, provider="")
    keys = resource("mlops:governance:Keys", "keys", parent=platform, provider="")
    nat = resource("aws:ec2/natGateway:NatGateway", "nat", parent=network)
    key = resource("aws:kms/key:Key", "data", parent=keys)
    found = _cost(plan(*(step("create", None, one) for one in (platform, keys, network, key, nat))))
    assert found is not None
    assert [one.component for one in found.components] == ["governance", "network"]


def test_local_stack_costs_nothing_that_anybody_bills() -> None:
    local = facts_of(Plan(stack="local", resources=[gate(target="local", environment="local")]))
    assert cost_change(plan(step("create", None, KEY)), local) == (None, "")


def test_region_without_prices_is_told() -> None:
    away = facts_of(Plan(stack="prod", resources=[gate(settings={"aws.region": "ap-south-1"})]))
    found, note = cost_change(plan(step("create", None, KEY)), away)
    assert found is None
    assert "no prices for region 'ap-south-1'" in note
