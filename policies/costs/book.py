"""The price book: `prices.csv`, in which every row has service, SKU, region, unit, price, source and date.

A price that no row names does not exist: what needs it is unpriced. `sources.csv` says in full where a source is to be
found, `free.csv` which types of resources are not billed and who says so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
COLUMNS: Final = ("service", "sku", "region", "unit", "usd", "source", "date")


class BookError(Exception):
    """The price book cannot be used: a row is not whole, or it does not know the region at all."""


class UnpricedError(Exception):
    """There is no row for something."""

    def __init__(self, service: str, sku: str, region: str) -> None:
        self.service, self.sku, self.region = service, sku, region
        super().__init__(f"the price book has no row for {service} '{sku}' in {region}")


@dataclass(frozen=True, order=True, kw_only=True)
class Price:
    """One row.

    Attributes:
        service: service code of the AWS Price List, such as `AmazonEC2`.
        sku: what of it, such as `linux m7i.large`.
        region: region.
        unit: what the price is for one of, such as `hour`, `GB-month`.
        usd: US dollars.
        source: key of `sources.csv`.
        date: day for which the source states it; where it states none, the day on which it was read.
    """

    service: str
    sku: str
    region: str
    unit: str
    usd: Decimal
    source: str
    date: date

    @property
    def cited(self) -> str:
        """The row in words: `AmazonEKS cluster, eu-central-1: 0.1 USD/hour (eks-faq, 2026-09-29)`."""
        return f"{self.service} {self.sku}, {self.region}: {self.usd} USD/{self.unit} ({self.source}, {self.date})"

    def row(self) -> tuple[str, ...]:
        """Return it as it stands in the file."""
        return (
            self.service, self.sku, self.region, self.unit, f"{self.usd:f}", self.source, self.date.isoformat()
        )  # fmt: skip


@dataclass(frozen=True)
class Free:
    """A type of resource that is not billed.

    Attributes:
        type: type token; `*` at its end stands for anything.
        why: why not.
        source: who says so.
        opened: `yes` where that page was read, `no` where it is named from memory, `own` for the program's own types.
    """

    type: str
    why: str
    source: str
    opened: str


@dataclass(frozen=True)
class Book:
    """Prices, by service, SKU and region.

    Attributes:
        prices: the rows.
    """

    prices: Mapping[tuple[str, str, str], Price]

    @cached_property
    def regions(self) -> frozenset[str]:
        """Regions that any row is for."""
        return frozenset(one.region for one in self.prices.values())

    @cached_property
    def date(self) -> date:
        """Day of the newest row."""
        return max(one.date for one in self.prices.values())

    def price(self, service: str, sku: str, region: str) -> Price:
        """Return a row.

        Raises:
            UnpricedError: there is none.
        """
        try:
            return self.prices[service, sku, region]
        except KeyError:
            raise UnpricedError(service, sku, region) from None

    def require_region(self, region: str) -> None:
        """Refuse a region of which the book has no row.

        Raises:
            BookError: with the regions that it has, and how to get another.
        """
        if region not in self.regions:
            known = ", ".join(sorted(self.regions)) or "none"
            raise BookError(
                f"the price book has no prices for region {region!r}; it has: {known}. Take them from AWS with "
                f"`./mlops cost-refresh --region {region}` and review the change of policies/costs/prices.csv"
            )

    @staticmethod
    def of(prices: Iterable[Price]) -> Book:
        """Return the book of some rows.

        Raises:
            BookError: two rows are for the same, or there is none.
        """
        found: dict[tuple[str, str, str], Price] = {}
        for one in prices:
            key = (one.service, one.sku, one.region)
            if key in found:
                raise BookError(f"the price book has two rows for {one.service} '{one.sku}' in {one.region}")
            found[key] = one
        if not found:
            raise BookError("the price book has no rows")
        return Book(found)


def read(file: Path, sources: Mapping[str, str] | None = None) -> Book:
    """Read a price book.

    Args:
        file: the file.
        sources: the sources that a row may name; those of `sources.csv` where none are given.

    Raises:
        BookError: the file or one of its rows is not whole; with the line.
    """
    known = all_sources() if sources is None else sources
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = csv.DictReader(opened)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise BookError(f"{file.name}: its columns are {rows.fieldnames}; they must be {', '.join(COLUMNS)}")
            return Book.of([_price(row, f"{file.name}:{line}", known) for line, row in enumerate(rows, start=2)])
    except OSError as error:
        raise BookError(f"the price book cannot be read: {error}") from error


def _price(row: Mapping[str, str | None], place: str, sources: Mapping[str, str]) -> Price:
    missing = [name for name in COLUMNS if not row.get(name)]
    if missing or None in row:
        raise BookError(f"{place}: a row states all of {', '.join(COLUMNS)}; missing: {', '.join(missing) or 'order'}")
    stated = {name: str(row[name]) for name in COLUMNS}
    if stated["source"] not in sources:
        raise BookError(f"{place}: source {stated['source']!r} is not in sources.csv; a price without a source is none")
    try:
        usd = Decimal(stated["usd"])
        day = date.fromisoformat(stated["date"])
    except (InvalidOperation, ValueError) as error:
        raise BookError(f"{place}: price {stated['usd']!r} or date {stated['date']!r} is not one: {error}") from error
    if not usd.is_finite() or usd < 0:
        raise BookError(f"{place}: a price is 0 or more, not {usd}")
    return Price(
        service=stated["service"], sku=stated["sku"], region=stated["region"], unit=stated["unit"], usd=usd,
        source=stated["source"], date=day,
    )  # fmt: skip


@cache
def all_sources() -> Mapping[str, str]:
    """Return every source by its key, as title and place."""
    with (FOLDER / "sources.csv").open(encoding="utf-8", newline="") as opened:
        return {row["source"]: f"{row['title']} [{row['where']}]" for row in csv.DictReader(opened)}


@cache
def free_types() -> tuple[Free, ...]:
    """Return the types that are not billed, more exact ones first."""
    with (FOLDER / "free.csv").open(encoding="utf-8", newline="") as opened:
        found = [Free(row["type"], row["why"], row["source"], row["opened"]) for row in csv.DictReader(opened)]
    return tuple(sorted(found, key=lambda one: -len(one.type)))


@cache
def shipped() -> Book:
    """Return the book that comes with the blueprint.

    Raises:
        BookError: it is not whole.
    """
    return read(FOLDER / "prices.csv")
