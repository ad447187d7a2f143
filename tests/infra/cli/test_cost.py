"""`mlops cost` and `mlops cost-refresh`, as a person meets them; the API answers as AWS's does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra.cli import cost as cost_command
from policies.costs import book as books
from policies.costs.book import FOLDER, read
from policies.plan import Plan
from policies.testing import gate, resource
from tests.infra.cli.conftest import Project

pytestmark = pytest.mark.slow  # a file that takes seconds together

SETTINGS = {"aws.region": "eu-central-1", "aws.governance.budgetUsd": 100, "aws.governance.worstCaseUsd": 400}


def planned(*things: Any, **facts: Any) -> Any:
    plan = Plan(stack="prod", resources=[gate(settings=SETTINGS, **facts), *things])
    return lambda *_: plan


def test_cost_is_one_document_with_what_is_left_of_the_budget(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = resource("aws:eks/cluster:Cluster", "cluster", upgradePolicy={"supportType": "EXTENDED"})
    odd = resource("aws:redshift/cluster:Cluster", "odd")
    monkeypatch.setattr("infra.planning.plans.planned", planned(cluster, odd))

    told = project.run("cost", "prod", "--json").json

    assert told["total"] == {"expected": 73.0, "worst": 438.0}
    assert told["budget"] == {"budgetUsd": 100, "left": 27.0, "worstCaseUsd": 400, "worstLeft": -38.0}
    assert [one["kind"] for one in told["unpriced"]] == ["unpriced"]
    assert told["usage"]["natGb"] == 50
    assert "eks-faq" in told["lines"][0]["price"]


def test_cost_is_shown_to_people_with_gaps_and_assumptions(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = resource("aws:redshift/cluster:Cluster", "odd")
    monkeypatch.setattr("infra.planning.plans.planned", planned(resource("aws:kms/key:Key", "data"), odd))
    shown = project.run("cost", "prod", "--worst-case").text
    for text in ("not priced, and not in the sums", "nothing prices resources", "730 hours", "99.00", "worst case"):
        assert text in shown


def test_cost_of_a_region_without_prices_is_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Plan(stack="prod", resources=[gate(settings={"aws.region": "ap-south-1"})])
    monkeypatch.setattr("infra.planning.plans.planned", lambda *_: away)
    assert "no prices for region 'ap-south-1'" in project.run("cost", "prod").failure


def test_local_stack_is_billed_by_nobody(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.planning.plans.planned", planned(target="local", environment="local"))
    assert "nobody bills it" in project.run("cost", "prod").failure


PRICES = {
    ("AmazonEKS", "EUC1-AmazonEKS-Hours:perCluster"): ["0.1000000000"],
    ("AmazonEC2", "EUC1-NatGateway-Hours"): ["0.0540000000"],
    ("AmazonEC2", "EUC1-BoxUsage:m7i.large"): ["0.1207500000"],
    ("AmazonDynamoDB", "EUC1-WriteRequestUnits"): ["0.0000007625"],
    ("AmazonDynamoDB", "EUC1-TimedStorage-ByteHrs"): ["0.0000000000", "0.3060000000"],
}
"""By service and usage type, the prices of the tiers."""


def product(service: str, usage: str, tiers: list[str]) -> str:
    """A product in the form of GetProducts: a JSON text with its terms."""
    sku = f"{abs(hash(usage)):X}"[:16]
    dimensions = {
        f"{sku}.JRTCKXETXF.{index}": {
            "unit": "Hrs", "beginRange": str(index * 25), "endRange": "Inf", "description": f"${price} per unit",
            "appliesTo": [], "rateCode": f"{sku}.JRTCKXETXF.{index}", "pricePerUnit": {"USD": price},
        }
        for index, price in enumerate(tiers)
    }  # fmt: skip
    attributes = {"usagetype": usage, "regionCode": "eu-central-1", "servicecode": service}
    return json.dumps(
        {
            "product": {"productFamily": "x", "attributes": attributes, "sku": sku},
            "serviceCode": service,
            "terms": {
                "OnDemand": {
                    f"{sku}.JRTCKXETXF": {
                        "priceDimensions": dimensions, "sku": sku, "effectiveDate": "2026-11-01T00:00:00Z",
                        "offerTermCode": "JRTCKXETXF", "termAttributes": {},
                    }
                },
                "Reserved": {},
            },
            "version": "20261101000000", "publicationDate": "2026-11-01T00:00:00Z",
        }
    )  # fmt: skip


class Api(BaseHTTPRequestHandler):
    """Answers GetProducts, two products a page, to a signed request for a region."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
        filters = {one["Field"]: one["Value"] for one in asked["Filters"]}
        assert filters["regionCode"] == "eu-central-1"
        found = [
            product(service, usage, tiers)
            for (service, usage), tiers in PRICES.items()
            if service == asked["ServiceCode"]
            and ("instanceType" not in filters or usage.endswith(f":{filters['instanceType']}"))
        ]
        start = int(asked.get("NextToken", 0))
        answer: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": found[start : start + 2]}
        if start + 2 < len(found):
            answer["NextToken"] = str(start + 2)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The API on loopback, where the SDK asks it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL_PRICING": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the book, which the command writes."""
    shutil.copy(FOLDER / "prices.csv", tmp_path)
    monkeypatch.setattr(cost_command, "FOLDER", tmp_path)
    monkeypatch.setattr(cost_command, "shipped", lambda: read(tmp_path / "prices.csv"))
    assert books.shipped().prices
    return tmp_path


@pytest.mark.usefixtures("api")
def test_refresh_takes_prices_with_their_source_and_day_and_leaves_what_it_cannot_find(
    project: Project, folder: Path
) -> None:
    done = project.run("cost-refresh", "--region", "eu-central-1")

    assert not done.failure
    assert "1 rows are new or differ" in done.text, "what is as it was is not told"
    assert "nat-gateway, eu-central-1: 0.054" in done.text.replace("\n", " ")
    new = read(folder / "prices.csv")
    nat = new.price("AmazonVPC", "nat-gateway", "eu-central-1")
    assert (str(nat.usd), nat.source) == ("0.054", "aws-price-list")
    assert str(new.price("AmazonDynamoDB", "write-request-units", "eu-central-1").usd) == "0.7625"
    assert str(new.price("AmazonDynamoDB", "storage", "eu-central-1").usd) == "0.306", "the free tier is no price"
    kept = new.price("AmazonRDS", "postgresql db.m6g.large", "eu-central-1")
    assert kept.source == "ec2instances"
    assert new.price("AmazonVPC", "nat-gateway", "us-east-1").source == "agentlab", "other regions stay"


@pytest.mark.slow
@pytest.mark.usefixtures("api")
def test_refresh_again_changes_nothing(project: Project, folder: Path) -> None:
    project.run("cost-refresh", "--region", "eu-central-1")
    once = (folder / "prices.csv").read_text()
    project.run("cost-refresh", "--region", "eu-central-1")
    assert (folder / "prices.csv").read_text() == once


def test_refresh_without_an_answer_writes_nothing(
    project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_PRICING": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    before = (folder / "prices.csv").read_text()
    assert "did not answer" in project.run("cost-refresh", "--region", "eu-central-1").failure
    assert (folder / "prices.csv").read_text() == before
