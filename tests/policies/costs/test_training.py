"""Runs of a SageMaker pipeline: the machines of its definition, bounded where the book has no row for them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from policies.costs.book import Book, Price, UnpricedError, shipped
from policies.costs.context import Context
from policies.costs.training import largest_premium, price_of, training_pipeline
from policies.costs.usage import Usage
from policies.plan import Plan, Resource, UndeterminedError
from policies.testing import resource, unknown

PIPELINE = "aws:sagemaker/pipeline:Pipeline"


def context(region: str = "eu-central-1", settings: dict[str, Any] | None = None, book: Book | None = None) -> Context:
    usage = Usage(training_runs=10, training_hours=2, worst_times=3)
    plan = Plan(stack="prod", resources=())
    return Context(plan=plan, region=region, book=book or shipped(), usage=usage, settings=settings or {})


def pipeline(*steps: dict[str, Any]) -> Resource:
    parameters = [{"Name": "InstanceType", "Type": "String", "DefaultValue": "ml.m5.xlarge"}]
    return resource(PIPELINE, "flight", pipelineDefinition=json.dumps({"Parameters": parameters, "Steps": steps}))


def step(name: str, kind: Any, seconds: int | None = None) -> dict[str, Any]:
    arguments: dict[str, Any] = {"ProcessingResources": {"ClusterConfig": {"InstanceType": kind, "InstanceCount": 1}}}
    if seconds:
        arguments["StoppingCondition"] = {"MaxRuntimeInSeconds": seconds}
    return {"Name": name, "Arguments": arguments}


def test_the_machine_of_a_parameter_is_its_default() -> None:
    of_parameter, stated = training_pipeline(
        pipeline(step("train", {"Get": "Parameters.InstanceType"}), step("check", "ml.m5.large")),
        context("us-east-1"),
    )

    assert of_parameter.price.cited.startswith("AmazonSageMaker training ml.m5.xlarge, us-east-1: 0.23 USD")
    assert (of_parameter.what, stated.what) == ("train on ml.m5.xlarge", "check on ml.m5.large")
    assert (of_parameter.expected, of_parameter.worst) == (Decimal(10 * 2), Decimal(30 * 6))


def test_no_step_is_longer_than_its_definition_lets_it_be() -> None:
    [charge] = training_pipeline(pipeline(step("train", "ml.m5.xlarge", seconds=5400)), context("us-east-1"))

    assert (charge.expected, charge.worst) == (10 * Decimal("1.5"), 30 * Decimal("1.5"))


def test_a_machine_without_a_row_costs_ec2_and_the_largest_premium_of_the_book() -> None:
    [charge] = training_pipeline(pipeline(step("train", "ml.m7i.large")), context())

    plain = shipped().price("AmazonEC2", "linux m7i.large", "eu-central-1")
    premium = largest_premium(shipped())
    assert premium is not None
    assert Decimal("1.2") < premium < Decimal("1.5")
    assert charge.price.usd == plain.usd * premium
    assert charge.what == "train on ml.m7i.large, at most"
    assert "largest premium" in charge.price.cited


def test_the_premium_is_never_below_that_of_a_known_machine() -> None:
    book = shipped()
    premium = largest_premium(book)
    assert premium is not None

    for (service, sku, region), row in book.prices.items():
        plain = book.prices.get(("AmazonEC2", f"linux {sku.removeprefix('training ml.')}", region))
        if service == "AmazonSageMaker" and plain is not None:
            assert row.usd <= plain.usd * premium


def test_a_machine_that_ec2_does_not_have_either_is_unpriced() -> None:
    with pytest.raises(UnpricedError):
        price_of("ml.m99.large", context())


def test_without_a_row_of_sagemaker_nothing_is_guessed() -> None:
    rows: dict[tuple[str, str, str], Price] = {
        key: row for key, row in shipped().prices.items() if row.service != "AmazonSageMaker"
    }

    with pytest.raises(UnpricedError, match=r"training ml\.m7i\.large"):
        price_of("ml.m7i.large", context(book=Book(rows)))


def test_a_definition_that_is_not_known_yet_is_priced_by_the_settings() -> None:
    settings = {"aws": {"pipelines": {"instanceType": "ml.m5.xlarge", "maxHours": 4}}}

    charges = list(
        training_pipeline(resource(PIPELINE, "flight", pipelineDefinition=unknown()), context("us-east-1", settings))
    )

    assert [charge.what.partition(" ")[0] for charge in charges] == ["ingest", "materialize", "train"]
    assert {charge.worst for charge in charges} == {30 * 4}


def test_a_definition_that_nobody_can_tell_is_undetermined() -> None:
    with pytest.raises(UndeterminedError):
        list(training_pipeline(resource(PIPELINE, "flight", pipelineDefinition=unknown()), context()))
