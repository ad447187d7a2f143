"""Takes prices anew from the AWS Price List API (`pricing`, GetProducts), with the day and AWS as their source.

What the API answers is a list of JSON texts, each a product with its terms. A row is taken only from a product that
fits exactly and has one on-demand price in US dollars for the first tier that is not free; where none or more than one
fits, the row is left as it is and said so.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final

from policies.costs.book import COLUMNS, Book, Price

SOURCE: Final = "aws-price-list"
API_REGION: Final = "us-east-1"
"""Region of the Price List API's endpoint; it answers for all regions."""

Products = Callable[[str, Mapping[str, str]], Iterable[str]]
"""Asks for the products of a service whose attributes are as stated; yields each as JSON text."""


@dataclass(frozen=True)
class Query:
    """How a row of the book is asked for.

    Attributes:
        service: service code.
        attributes: attributes that a product must have.
        usage: end of its usage type, which begins with the region's letters; empty where the attributes tell enough.
        times: how many of the API's units are one of the book's.
        description: what the price's description must hold, where a product has several prices.
    """

    service: str
    attributes: Mapping[str, str]
    usage: str = ""
    times: Decimal = Decimal(1)
    description: str = ""


_MILLION, _THOUSAND = Decimal(1_000_000), Decimal(1_000)
_FIXED: Final[Mapping[tuple[str, str], Query]] = {
    ("AmazonEKS", "cluster"): Query("AmazonEKS", {}, "AmazonEKS-Hours:perCluster"),
    ("AmazonEKS", "cluster-extended-support"): Query("AmazonEKS", {}, "AmazonEKS-Hours:extendedSupport"),
    ("AmazonVPC", "nat-gateway"): Query("AmazonEC2", {"operation": "NatGateway"}, "NatGateway-Hours"),
    ("AmazonVPC", "nat-gateway-data"): Query("AmazonEC2", {"operation": "NatGateway"}, "NatGateway-Bytes"),
    ("AmazonVPC", "interface-endpoint"): Query("AmazonVPC", {"endpointType": "PrivateLink"}, "VpcEndpoint-Hours"),
    ("AmazonVPC", "interface-endpoint-data"): Query("AmazonVPC", {"endpointType": "PrivateLink"}, "VpcEndpoint-Bytes"),
    ("AmazonVPC", "public-ipv4"): Query("AmazonVPC", {}, "PublicIPv4:InUseAddress"),
    ("AWSDataTransfer", "internet-out"): Query("AWSDataTransfer", {"toLocation": "External"}, "DataTransfer-Out-Bytes"),
    ("AmazonEC2", "ebs-gp3"): Query("AmazonEC2", {"volumeApiName": "gp3"}, "EBS:VolumeUsage.gp3"),
    ("AmazonRDS", "gp3-storage"): Query(
        "AmazonRDS", {"databaseEngine": "PostgreSQL", "deploymentOption": "Single-AZ"}, "RDS:GP3-Storage"
    ),
    ("AWSELB", "network-load-balancer"): Query("AWSELB", {"operation": "LoadBalancing:Network"}, "LoadBalancerUsage"),
    ("AWSELB", "network-capacity-unit"): Query("AWSELB", {"operation": "LoadBalancing:Network"}, "LCUUsage"),
    ("AWSELB", "application-load-balancer"): Query(
        "AWSELB", {"operation": "LoadBalancing:Application"}, "LoadBalancerUsage"
    ),
    ("AWSELB", "application-capacity-unit"): Query("AWSELB", {"operation": "LoadBalancing:Application"}, "LCUUsage"),
    ("AmazonS3", "standard-storage"): Query("AmazonS3", {"volumeType": "Standard"}, "TimedStorage-ByteHrs"),
    ("AmazonS3", "put-requests"): Query("AmazonS3", {"group": "S3-API-Tier1"}, "Requests-Tier1", _THOUSAND),
    ("AmazonS3", "get-requests"): Query("AmazonS3", {"group": "S3-API-Tier2"}, "Requests-Tier2", _THOUSAND),
    ("AmazonDynamoDB", "write-request-units"): Query(
        "AmazonDynamoDB", {"group": "DDB-WriteUnits"}, "WriteRequestUnits", _MILLION
    ),
    ("AmazonDynamoDB", "read-request-units"): Query(
        "AmazonDynamoDB", {"group": "DDB-ReadUnits"}, "ReadRequestUnits", _MILLION
    ),
    ("AmazonDynamoDB", "storage"): Query(
        "AmazonDynamoDB", {"volumeType": "Amazon DynamoDB - Indexed DataStore"}, "TimedStorage-ByteHrs"
    ),
    ("AmazonDynamoDB", "point-in-time-recovery"): Query("AmazonDynamoDB", {}, "TimedPITRStorage-ByteHrs"),
    ("AmazonCloudWatch", "log-ingestion"): Query("AmazonCloudWatch", {}, "DataProcessing-Bytes"),
    ("AmazonCloudWatch", "log-storage"): Query("AmazonCloudWatch", {}, "TimedStorage-ByteHrs"),
    ("AmazonCloudWatch", "custom-metric"): Query("AmazonCloudWatch", {}, "CW:MetricMonitorUsage"),
    ("AmazonCloudWatch", "alarm"): Query("AmazonCloudWatch", {"alarmType": "Standard"}, "CW:AlarmMonitorUsage"),
    ("AmazonECR", "storage"): Query("AmazonECR", {}, "TimedStorage-ByteHrs"),
    ("awskms", "key"): Query("awskms", {}, "KMS-Keys"),
    ("AWSSecretsManager", "secret"): Query("AWSSecretsManager", {}, "AWSSecretsManager-Secrets"),
    ("AWSQueueService", "standard-requests"): Query(
        "AWSQueueService", {"queueType": "Standard"}, "Requests-Tier1", _MILLION
    ),
}


def query_of(service: str, sku: str) -> Query | None:
    """Return how a row is asked for; None where the API does not tell it (Spot prices, what is free)."""
    kind, _, name = sku.partition(" ")
    if service == "AmazonEC2" and kind == "linux":
        return Query(
            "AmazonEC2",
            {
                "instanceType": name, "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA",
                "capacitystatus": "Used", "licenseModel": "No License required",
            },
        )  # fmt: skip
    if service == "AmazonRDS" and kind == "postgresql":
        return Query(
            "AmazonRDS",
            {"instanceType": name, "databaseEngine": "PostgreSQL", "deploymentOption": "Single-AZ"},
            f"InstanceUsage:{_short(name)}",
        )
    if service == "AmazonSageMaker" and kind == "training":
        return Query("AmazonSageMaker", {"instanceName": name, "component": "Training"})
    return _FIXED.get((service, sku))


def _short(kind: str) -> str:
    """Return a class as usage types abbreviate it: `db.m7g.xlarge` is `db.m7g.xl`."""
    return kind.removesuffix("arge") if kind.endswith("xlarge") else kind


@dataclass(frozen=True)
class Refreshed:
    """What came of it.

    Attributes:
        book: the book with the prices taken.
        taken: rows that are new or differ in price.
        kept: rows that were left as they are, and why, as sentences.
    """

    book: Book
    taken: Sequence[Price]
    kept: Sequence[str]


def refreshed(
    book: Book, products: Products, region: str, today: date, wanted: Iterable[tuple[str, str]] = ()
) -> Refreshed:
    """Return a book with the prices of a region taken anew.

    Args:
        book: the book so far.
        products: asks the API.
        region: the region.
        today: the day that is written.
        wanted: service and SKU of rows to take that no region of the book has yet.
    """
    asked = sorted({(service, sku) for service, sku, _ in book.prices} | set(wanted))
    units = {(one.service, one.sku): one.unit for one in book.prices.values()}
    rows = dict(book.prices)
    taken, kept = [], []
    for service, sku in asked:
        query = query_of(service, sku)
        if query is None:
            continue
        usd = found_price(query, products, region)
        if isinstance(usd, str):
            kept.append(f"{service} {sku}: {usd}")
            continue
        old = rows.get((service, sku, region))
        unit = units.get((service, sku), "hour")
        new = Price(service=service, sku=sku, region=region, unit=unit, usd=usd, source=SOURCE, date=today)
        if old is None or old.usd != usd:
            taken.append(new)
        rows[service, sku, region] = new if old is None else replace(old, usd=usd, source=SOURCE, date=today)
    return Refreshed(Book(rows), taken, kept)


def found_price(query: Query, products: Products, region: str) -> Decimal | str:
    """Return the price that the API states for a query in the book's unit, or why there is none."""
    found: set[Decimal] = set()
    for text in products(query.service, {**query.attributes, "regionCode": region}):
        product = json.loads(text)
        usage = product["product"]["attributes"].get("usagetype", "")
        if not query.usage or usage == query.usage or usage.endswith(f"-{query.usage}"):
            found.update(_on_demand(product))
    if not found:
        return f"the API has no on-demand price for it in {region}"
    if len(found) > 1:
        told = ", ".join(map(str, sorted(found)))
        return f"the API has several prices for it in {region}: {told}"
    (price,) = found
    return Decimal(f"{(price * query.times).normalize():f}")


def _on_demand(product: Mapping[str, Any]) -> Iterator[Decimal]:
    """Yield the on-demand price of each term: of its first tier that is not free."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        tiers = sorted(term["priceDimensions"].values(), key=lambda one: Decimal(one.get("beginRange") or 0))
        prices = [Decimal(one["pricePerUnit"]["USD"]) for one in tiers if "USD" in one["pricePerUnit"]]
        paid = [one for one in prices if one]
        if paid:
            yield paid[0].normalize()


def text_of(book: Book) -> str:
    """Return a book as its file holds it, in a fixed order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    ordered = sorted(book.prices.values(), key=lambda one: (one.service, one.sku, one.region))
    writer.writerows(one.row() for one in ordered)
    return text.getvalue()
