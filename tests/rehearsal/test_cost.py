"""What a rehearsal says of costs: the estimate of the judged plan, or why there is none."""

from infra.rehearsal.cost import Cost, cost_of
from infra.rehearsal.report import Report
from policies.plan import Plan
from policies.testing import resource

SETTINGS = {"aws": {"region": "eu-central-1"}}


def plan(*types: str) -> Plan:
    return Plan(stack="dev", resources=[resource(kind, "one") for kind in types])


def report(cost: Cost | None) -> str:
    nothing = Report("dev", {}, phases=(), made={}, answered={}, refused=(), injected={}, left={}, cost=cost)
    return "\n".join(nothing.lines())


def test_a_key_costs_a_dollar_and_what_has_no_price_is_counted() -> None:
    found = cost_of(plan("aws:kms/key:Key", "aws:new/thing:Thing"), SETTINGS)

    assert found == Cost(expected=1.0, worst=1.0, unpriced=1)
    assert "it would cost 1 US dollars a month, 1 at worst; 1 resources have no price" in report(found)
    assert "`./mlops cost dev`" in report(found)


def test_a_region_without_prices_is_said_and_is_no_zero() -> None:
    found = cost_of(plan("aws:kms/key:Key"), {"aws": {"region": "sa-east-1"}})

    assert found.expected is None
    assert "what it would cost is not known" in report(found)
    assert "sa-east-1" in found.missing


def test_without_a_plan_nothing_is_said() -> None:
    assert "cost" not in report(None)
