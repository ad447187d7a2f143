"""The price book: every row whole and cited, and a region without rows an error that says what to do."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from policies.costs.book import Book, BookError, Price, UnpricedError, all_sources, free_types, read, shipped

_HEADER = "service,sku,region,unit,usd,source,date\n"


def _book(tmp_path: Path, *rows: str) -> Path:
    file = tmp_path / "prices.csv"
    file.write_text(_HEADER + "".join(row + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize("region", ["eu-central-1", "eu-west-1", "us-east-1"])
def test_the_shipped_book_has_rows_of_a_region(region: str) -> None:
    shipped().require_region(region)
    assert shipped().price("AmazonEKS", "cluster", region).usd == Decimal("0.1")


def test_every_row_of_the_shipped_book_names_a_source_that_is_explained_and_a_day() -> None:
    for price in shipped().prices.values():
        assert price.source in all_sources()
        assert date(2020, 1, 1) < price.date


def test_what_is_free_says_whether_its_source_was_read() -> None:
    assert {one.opened for one in free_types()} <= {"yes", "no", "own"}
    assert all(one.opened == "own" or one.type.startswith(("aws:", "kubernetes:")) for one in free_types())


@pytest.mark.parametrize("region", ["eu-central-1", "eu-west-1"])
@pytest.mark.parametrize("kind", ["g4dn.xlarge", "g5.xlarge", "p4d.24xlarge", "c6i.large", "r6i.large", "t3.large"])
def test_a_european_machine_has_a_price_above_that_of_the_cheapest_region(kind: str, region: str) -> None:
    there, here = (shipped().price("AmazonEC2", f"linux {kind}", one).usd for one in ("us-east-1", region))
    assert there < here < there * Decimal("1.4")


def test_no_row_is_dearer_on_spot_than_on_demand() -> None:
    book = shipped()
    for price in book.prices.values():
        if price.sku.startswith("spot "):
            on_demand = book.price(price.service, price.sku.replace("spot ", "linux "), price.region)
            assert price.usd <= on_demand.usd, price.cited


def test_a_region_without_rows_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(BookError, match=r"no prices for region 'ap-south-1'; it has: eu-central-1.*cost-refresh"):
        shipped().require_region("ap-south-1")


def test_a_price_that_no_row_names_is_unpriced() -> None:
    with pytest.raises(UnpricedError, match=r"no row for AmazonEC2 'linux m9\.huge' in eu-central-1"):
        shipped().price("AmazonEC2", "linux m9.huge", "eu-central-1")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("AmazonEKS,cluster,eu-west-1,hour,0.1,,2026-01-01", "missing: source"),
        ("AmazonEKS,cluster,eu-west-1,hour,0.1,eks-faq,", "missing: date"),
        ("AmazonEKS,cluster,,hour,0.1,eks-faq,2026-01-01", "missing: region"),
        ("AmazonEKS,cluster,eu-west-1,hour,0.1,hearsay,2026-01-01", "'hearsay' is not in sources.csv"),
        ("AmazonEKS,cluster,eu-west-1,hour,cheap,eks-faq,2026-01-01", "'cheap'"),
        ("AmazonEKS,cluster,eu-west-1,hour,-1,eks-faq,2026-01-01", "0 or more"),
        ("AmazonEKS,cluster,eu-west-1,hour,NaN,eks-faq,2026-01-01", "0 or more"),
        ("AmazonEKS,cluster,eu-west-1,hour,0.1,eks-faq,lately", "lately"),
    ],
)
def test_a_row_that_is_not_whole_is_refused_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(BookError, match=said) as refused:
        read(_book(tmp_path, row))
    assert "prices.csv:2" in str(refused.value)


def test_two_rows_for_the_same_are_refused(tmp_path: Path) -> None:
    row = "AmazonEKS,cluster,eu-west-1,hour,0.1,eks-faq,2026-01-01"
    with pytest.raises(BookError, match="two rows for AmazonEKS 'cluster'"):
        read(_book(tmp_path, row, row))


def test_a_book_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="cannot be read"):
        read(tmp_path / "prices.csv")


def test_an_empty_book_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="no rows"):
        read(_book(tmp_path))


def test_a_price_cites_its_source() -> None:
    price = Price(
        service="AmazonEKS", sku="cluster", region="eu-west-1", unit="hour", usd=Decimal("0.1"), source="eks-faq",
        date=date(2026, 1, 2),
    )  # fmt: skip
    assert price.cited == "AmazonEKS cluster, eu-west-1: 0.1 USD/hour (eks-faq, 2026-01-02)"
    assert Book.of([price]).regions == {"eu-west-1"}
