"""The budget: the estimate stays within it, everything is priced, and somebody hears before it is spent."""

import pytest

from policies.plan import Resource
from policies.rule import Rule
from policies.rules.cost.budget import (
    budget_with_alarms,
    everything_priced,
    expected_within_budget,
    worst_case_within_limit,
)
from policies.testing import admit, deny, resource, skip, undetermined, unknown
from policies.testing.verdicts import ask

SETTINGS = {"aws.region": "eu-central-1", "aws.governance.budgetUsd": 500, "aws.governance.worstCaseUsd": 1000}
ALIAS = resource("aws:kms/alias:Alias", "free")


def database(kind: object = "db.t3.medium", **more: object) -> Resource:
    """61.32 USD of db.t3.medium for 730 hours at 0.084, and 2.74 of 20 GB at 0.137."""
    stated = {"engine": "postgres", "instanceClass": kind, "allocatedStorage": 20, "storageType": "gp3", **more}
    return resource("aws:rds/instance:Instance", "database", stated)


def with_settings(**stated: object) -> dict[str, object]:
    return {**SETTINGS, **{f"aws.governance.{name}": value for name, value in stated.items()}}


@pytest.mark.parametrize("budget", [65, 64.06])
def test_expected_month_up_to_the_budget_is_admitted(budget: float) -> None:
    admit(expected_within_budget, database(), settings=with_settings(budgetUsd=budget))


def test_expected_month_above_the_budget_is_denied_with_what_is_dearest() -> None:
    says = ["64 USD, the budget is 64 USD", "database 64 USD"]
    deny(
        expected_within_budget, database(), settings=with_settings(budgetUsd=64.05), says=says,
        setting="aws.governance.budgetUsd", at="",
    )  # fmt: skip


def test_expected_month_without_a_budget_is_denied() -> None:
    deny(expected_within_budget, database(), settings={"aws.region": "eu-central-1"}, says="state no budget")


def test_expected_month_with_an_unknown_input_cannot_be_told() -> None:
    undetermined(expected_within_budget, database(unknown()), settings=SETTINGS, path="the price of database")


def test_unknown_input_does_not_hide_that_the_budget_is_exceeded() -> None:
    other = resource("aws:rds/instance:Instance", "other", engine="postgres", instanceClass=unknown())
    deny(expected_within_budget, database(), other, settings=with_settings(budgetUsd=64.05))


def test_worst_month_counts_storage_that_grows() -> None:
    grows = database(maxAllocatedStorage=1000)
    admit(worst_case_within_limit, grows, settings=with_settings(worstCaseUsd=198.32))
    deny(
        worst_case_within_limit, grows, settings=with_settings(worstCaseUsd=198.31),
        says=["the limit is 198 USD", "most of it: database 198 USD"],
        setting="aws.governance.worstCaseUsd",
    )  # fmt: skip


def test_worst_month_is_held_to_the_budget_where_no_limit_is_stated() -> None:
    stated = {"aws.region": "eu-central-1", "aws.governance.budgetUsd": 100}
    admit(worst_case_within_limit, database(), settings=stated)
    grows = database(maxAllocatedStorage=1000)
    deny(worst_case_within_limit, grows, settings=stated, setting="aws.governance.budgetUsd")


def test_worst_month_without_any_limit_is_denied() -> None:
    deny(worst_case_within_limit, database(), settings={"aws.region": "eu-central-1"}, says="neither")


def test_worst_month_with_an_unknown_input_cannot_be_told() -> None:
    undetermined(worst_case_within_limit, database(unknown()), settings=SETTINGS)


def test_everything_with_a_price_is_admitted() -> None:
    admit(everything_priced, database(), ALIAS, settings=SETTINGS)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (database("db.m9.huge"), "no row for AmazonRDS 'postgresql db.m9.huge' in eu-central-1"),
        (resource("aws:redshift/cluster:Cluster", "x"), "nothing prices resources of type aws:redshift/cluster"),
        (resource("aws:cloudwatch/logGroup:LogGroup", "x", name="x"), "for ever"),
    ],
)
def test_what_has_no_price_is_denied(thing: Resource, says: str) -> None:
    deny(everything_priced, thing, settings=SETTINGS, says=says, at=thing)


def test_price_that_depends_on_what_is_not_known_cannot_be_told() -> None:
    undetermined(everything_priced, database(unknown()), settings=SETTINGS)


@pytest.mark.parametrize("rule", [expected_within_budget, worst_case_within_limit, everything_priced])
def test_region_that_the_book_does_not_have_stops_the_gate(rule: Rule) -> None:
    (found,) = ask(rule, database(), settings={**SETTINGS, "aws.region": "ap-south-1"}).findings
    assert (found.status, found.stops) == ("undetermined", True)
    assert "no prices for region 'ap-south-1'" in found.text


WARNING = {"thresholdType": "PERCENTAGE", "comparisonOperator": "GREATER_THAN", "subscriberEmailAddresses": ["a@b.ex"]}
BOTH = [
    {**WARNING, "threshold": 80, "notificationType": "ACTUAL"},
    {**WARNING, "threshold": 100, "notificationType": "FORECASTED"},
]


def budget(**more: object) -> Resource:
    stated = {
        "budgetType": "COST", "timeUnit": "MONTHLY", "limitAmount": "500", "limitUnit": "USD", "notifications": BOTH,
        **more,
    }  # fmt: skip
    return resource("aws:budgets/budget:Budget", "month", stated)


def test_budget_of_the_stated_amount_that_warns_is_admitted() -> None:
    admit(budget_with_alarms, budget(), settings=SETTINGS)
    admit(budget_with_alarms, budget(limitAmount="500.0"), settings=SETTINGS)


def test_topic_that_is_made_along_hears_too() -> None:
    topic = resource("aws:sns/topic:Topic", "alarms")
    heard = [{**one, "subscriberEmailAddresses": [], "subscriberSnsTopicArns": [topic]} for one in BOTH]
    admit(budget_with_alarms, budget(notifications=heard), topic, settings=SETTINGS)


@pytest.mark.parametrize("other", [{"timeUnit": "ANNUALLY"}, {"budgetType": "USAGE"}])
def test_budget_over_something_else_does_not_count(other: dict[str, object]) -> None:
    deny(budget_with_alarms, budget(**other), settings=SETTINGS, says="no budget over the cost of a month")


def test_no_budget_is_denied() -> None:
    deny(budget_with_alarms, ALIAS, settings=SETTINGS, says="there is no budget")


@pytest.mark.parametrize("amount", ["499", "501", None])
def test_budget_of_another_amount_is_denied(amount: object) -> None:
    deny(budget_with_alarms, budget(limitAmount=amount), settings=SETTINGS, says="the settings state 500")


def test_budget_without_a_stated_amount_is_denied() -> None:
    deny(budget_with_alarms, budget(), settings={"aws.region": "eu-central-1"}, says="the settings state None")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threshold": 101}, "what was spent"),
        ({"subscriberEmailAddresses": []}, "what was spent"),
        ({"thresholdType": "ABSOLUTE_VALUE"}, "what was spent"),
        ({"notificationType": "FORECASTED"}, "what was spent"),
    ],
)
def test_warning_that_is_late_or_that_nobody_hears_does_not_count(change: dict[str, object], says: str) -> None:
    changed = [{**BOTH[0], **change}, BOTH[1]]
    deny(budget_with_alarms, budget(notifications=changed), settings=SETTINGS, says=says, path="notifications")


def test_budget_that_warns_of_nothing_says_both() -> None:
    deny(budget_with_alarms, budget(notifications=[]), settings=SETTINGS, says=["spent", "forecast"], times=2)


@pytest.mark.parametrize(
    "input_", [{"limitAmount": unknown()}, {"notifications": unknown()}, {"budgetType": unknown()}]
)
def test_budget_that_is_not_known_cannot_be_told(input_: dict[str, object]) -> None:
    undetermined(budget_with_alarms, budget(**input_), settings=SETTINGS)


def test_plan_without_aws_is_none_of_their_business() -> None:
    local = resource("blueprint:index:Process", "registry")
    for rule in (expected_within_budget, worst_case_within_limit, everything_priced, budget_with_alarms):
        skip(rule, local)


def test_three_of_the_dearest_are_named() -> None:
    many = [
        resource("aws:rds/instance:Instance", f"db{size}", engine="postgres", instanceClass="db.t3.medium",
                 allocatedStorage=size, storageType="gp3")
        for size in (20, 40, 60, 80)
    ]  # fmt: skip
    (found,) = deny(expected_within_budget, *many, settings=with_settings(budgetUsd=1))
    assert [name in found.text for name in ("db80", "db60", "db40", "db20")] == [True, True, True, False]


def test_everything_without_a_price_is_named_and_what_is_not_known_is_looked_for_behind_it() -> None:
    redshift = resource("aws:redshift/cluster:Cluster", "x")
    deny(everything_priced, redshift, database("db.m9.huge"), settings=SETTINGS, times=2)
    forever = resource("aws:cloudwatch/logGroup:LogGroup", "x", name="x")
    undetermined(expected_within_budget, forever, database(unknown()), redshift, settings=SETTINGS)


def test_each_budget_is_judged() -> None:
    second = resource("aws:budgets/budget:Budget", "second", {**budget().inputs, "limitAmount": "501"})
    deny(budget_with_alarms, budget(), second, settings=SETTINGS, at=second)


def test_warning_without_a_threshold_does_not_count() -> None:
    changed = [{name: one for name, one in BOTH[0].items() if name != "threshold"}, BOTH[1]]
    deny(budget_with_alarms, budget(notifications=changed), settings=SETTINGS, says="what was spent")
