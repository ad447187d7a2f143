"""Environments that were priced by hand from cited rows: the estimate comes within 5 % of each.

A file states resources (`$name-0` in an input stands for one of them), the hand calculation line by line, and its
total. First it is checked that the calculation holds together: the rows are in the book at the prices that it takes,
products and sums are right. Then the estimate is.
"""

from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.costs.book import shipped
from policies.costs.estimate import estimate
from policies.costs.usage import usage_of
from policies.plan import Plan, Resource
from policies.testing import resource

FILES = sorted((Path(__file__).parent / "environments").glob("*.yaml"))
WITHIN = 0.05


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def environment(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    return found


def number(text: str) -> float:
    """The product that a quantity is: `3 x 730`, `7 x 12/365`."""
    return prod(float(over) / float(under or 1) for over, _, under in (one.partition("/") for one in text.split(" x ")))


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 8


def test_hand_calculation_takes_its_prices_from_rows_of_the_book(environment: dict[str, Any]) -> None:
    for line in environment["calculation"]:
        cited = [(line["row"], line["usd"])]
        if "worstRow" in line:
            cited.append((line["worstRow"], line["worstUsd"]))
        for row, usd in cited:
            service, _, sku = row.partition(" ")
            assert float(shipped().price(service, sku, environment["region"]).usd) == usd, row


def test_hand_calculation_adds_up(environment: dict[str, Any]) -> None:
    lines = environment["calculation"]
    for line in lines:
        assert number(line["quantity"]) * line["usd"] == pytest.approx(line["expected"], abs=1e-4), line["what"]
        worst = number(line["worstQuantity"]) * line.get("worstUsd", line["usd"])
        assert worst == pytest.approx(line["worst"], abs=1e-4), line["what"]
    for month in ("expected", "worst"):
        assert sum(line[month] for line in lines) == pytest.approx(environment["total"][month], abs=0.01)


def test_estimate_is_within_five_per_cent_and_leaves_nothing_out(environment: dict[str, Any]) -> None:
    named: dict[str, Resource] = {}
    things: list[Resource] = []
    for one in environment["resources"]:
        inputs = {name: named.get(str(value), value) for name, value in one.get("inputs", {}).items()}
        for index in range(one.get("times", 1)):
            things.append(resource(one["type"], f"{one['name']}-{index}", inputs))
            named[f"${things[-1].name}"] = things[-1]
    usage = usage_of({"aws": {"usage": environment["usage"]}})
    plan = Plan(stack="by-hand", resources=things)
    found = estimate(plan, environment["region"], settings=environment["settings"], usage=usage)

    assert [one.text for one in found.gaps] == []
    assert float(found.total.expected) == pytest.approx(environment["total"]["expected"], rel=WITHIN)
    assert float(found.total.worst) == pytest.approx(environment["total"]["worst"], rel=WITHIN)
