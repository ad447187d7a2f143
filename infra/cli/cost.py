"""`mlops cost …`: what a stack costs in a month, and `mlops cost-refresh`: the prices anew from AWS."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from infra.cli import context
from infra.cli.output import CommandFailed, out, print_json, print_table, say
from policies.costs.book import FOLDER, BookError, Price, shipped
from policies.costs.estimate import estimate, region_of
from policies.costs.model import Estimate, Total
from policies.costs.refresh import API_REGION, refreshed, text_of
from policies.facts import Facts, FactsError, facts_of
from policies.plan import name_of

_DEAREST = 15


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(cost)
    app.command("cost-refresh")(refresh)


def cost(
    stack: Annotated[str, typer.Argument(help="Name of the stack.")],
    worst_case: Annotated[
        bool, typer.Option("--worst-case", help="By the worst month: every limit used up, all month.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Estimate what a stack costs in a month, without an account: by component, with what could not be priced."""
    from infra.planning.plans import planned  # not loaded by every command: it brings the SDK of Pulumi

    say(f"planning {stack} with stand-ins; nothing is touched …")
    plan = planned(context.PROJECT, stack)
    try:
        facts = facts_of(plan)
        if facts.target != "aws":
            raise CommandFailed(f"{stack} runs on {facts.target!r}: nobody bills it")
        found = estimate(plan, region_of(facts.settings), settings=facts.settings)
    except (BookError, FactsError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    budget = facts.setting("aws", "governance", "budgetUsd")
    limit = facts.setting("aws", "governance", "worstCaseUsd", default=budget)
    if as_json:
        print_json({"stack": stack, **found.to_json(), "budget": _budget(found, budget, limit)})
        return
    _show(facts, found, worst_case)
    _show_budget(found, budget, limit)


def _budget(found: Estimate, budget: Any, limit: Any) -> dict[str, Any]:
    return {
        "budgetUsd": budget, "left": budget and float(round(Decimal(str(budget)) - found.total.expected, 2)),
        "worstCaseUsd": limit, "worstLeft": limit and float(round(Decimal(str(limit)) - found.total.worst, 2)),
    }  # fmt: skip


def _show(facts: Facts, found: Estimate, worst_case: bool) -> None:
    rows: list[tuple[Any, ...]] = []
    for name, total in _ordered(found.by_component, worst_case):
        count = len({one.urn for one in found.lines if one.component == name})
        rows.append((name, _usd(total.expected), _usd(total.worst), count))
    rows.append(("all", _usd(found.total.expected), _usd(found.total.worst), len(found.by_resource)))
    print_table(
        f"{facts.stack}, {found.region}, US dollars a month (prices of {found.prices_of} and before)",
        ["component", "expected", "worst case", "resources"],
        rows,
    )
    out.print()
    lines = sorted(found.lines, key=lambda one: -(one.worst if worst_case else one.expected))[:_DEAREST]
    print_table(
        f"the dearest lines {'of the worst month' if worst_case else 'of the expected month'}",
        ["resource", "what", "expected", "worst case", "price"],
        [
            (name_of(one.urn), one.charge.what, _usd(one.expected), _usd(one.worst), _cited(one.charge.price))
            for one in lines
        ],
    )
    out.print()
    if found.gaps:
        print_table(
            "not priced, and not in the sums", ["resource", "why"], [(name_of(one.urn), one.text) for one in found.gaps]
        )
        out.print()
    print_table("assumed (settings under aws.usage)", ["", ""], list(found.usage.items()))
    for one in found.assumptions:
        out.print(f"- {one}")
    out.print()


def _cited(price: Price) -> str:
    return f"{price.usd} USD/{price.unit} ({price.source})"


def _show_budget(found: Estimate, budget: Any, limit: Any) -> None:
    rows = []
    for title, stated, total in (("budget", budget, found.total.expected), ("worst case", limit, found.total.worst)):
        left = "" if stated is None else _usd(Decimal(str(stated)) - total)
        rows.append((title, "not stated" if stated is None else _usd(stated), _usd(total), left))
    print_table("limits of a month", ["", "allowed", "estimated", "left"], rows)


def _ordered(by: Mapping[str, Total], worst_case: bool) -> list[tuple[str, Total]]:
    return sorted(by.items(), key=lambda one: -(one[1].worst if worst_case else one[1].expected))


def _usd(amount: Any) -> str:
    return f"{Decimal(str(amount)):,.2f}"


def refresh(
    region: Annotated[str, typer.Option("--region", help="Region whose prices are taken.")],
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="A row to take besides: 'AmazonRDS:postgresql db.m7g.large'."),
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Profile of AWS credentials.")] = None,
) -> None:
    """Take the prices of a region anew from the AWS Price List API (needs the right pricing:GetProducts)."""
    import boto3  # it takes longer to load than most commands run
    from botocore.exceptions import BotoCoreError, ClientError

    wanted = [_row(one) for one in add or []]
    try:
        client = boto3.Session(profile_name=profile).client("pricing", region_name=API_REGION)
        found = refreshed(shipped(), _products(client), region, datetime.now(UTC).date(), wanted)
    except (BotoCoreError, ClientError) as error:
        raise CommandFailed(
            f"the AWS Price List API did not answer: {error}",
            hint="it needs credentials with pricing:GetProducts; nothing was written",
        ) from error
    (FOLDER / "prices.csv").write_text(text_of(found.book), encoding="utf-8")
    for one in found.kept:
        say(f"left as it is: {one}")
    print_table(f"{len(found.taken)} rows are new or differ", ["row"], [(one.cited,) for one in found.taken])


def _row(text: str) -> tuple[str, str]:
    service, colon, sku = text.partition(":")
    if not colon or not service or not sku:
        raise CommandFailed(f"--add {text!r}: write SERVICE:SKU, as in the price book", exit_code=2)
    return service, sku


def _products(client: Any) -> Any:
    def asked(service: str, attributes: Mapping[str, str]) -> Iterator[str]:
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in sorted(attributes.items())]
        pages = client.get_paginator("get_products").paginate(ServiceCode=service, Filters=filters)
        for page in pages:
            yield from page["PriceList"]

    return asked
