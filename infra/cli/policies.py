"""`mlops policies …`, `mlops waive`, `mlops waivers`: what is asked of a change, and who answers for what."""

import difflib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli import context
from infra.cli.output import CommandFailed, print_json, print_table, say
from policies.describe import describe
from policies.rule import FAMILIES, Rule
from policies.rules import all_rules
from policies.waiver_file import checked, with_waiver
from policies.waivers import FILE, GATE_CHANGES, WaiverError, problems_of, read_waivers

policies_app = typer.Typer(
    name="policies", help="The rules: which there are, what one means, whether they do it.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    policies_app.command("list")(listing)
    policies_app.command()(explain)
    policies_app.command("test")(check)
    app.add_typer(policies_app)
    app.command()(waive)
    app.command()(waivers)


def listing(
    family: Annotated[str, typer.Option("--family", help="Only the rules of one family.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the rules: how bad, and how each counts in every kind of environment."""
    if family and family not in FAMILIES:
        raise CommandFailed(f"there is no family {family!r}; there are: {', '.join(FAMILIES)}", exit_code=2)
    rules = [rule for rule in all_rules() if family in ("", rule.family)]
    if as_json:
        print_json(describe(rules))
        return
    width = max((len(rule.id) for rule in rules), default=0)
    for rule in rules:
        stops = " ".join(kind for kind in ("prod", "staging", "dev", "local") if rule.level(kind) == "mandatory")
        never = "" if rule.waivable else "  (cannot be waived)"
        typer.echo(f"{rule.id:<{width}}  {rule.severity:<8}  stops {stops or 'nothing'}{never}")
        typer.echo(f"{'':<{width}}  {rule.title}")
    say(f"{len(rules)} rules")


def explain(
    rule: Annotated[str, typer.Argument(help="Id of the rule.", metavar="RULE")], as_json: JsonOption = False
) -> None:
    """Say of one rule what it asks, why, of what, how it counts, and what to do when it fails."""
    if rule in GATE_CHANGES:
        told: dict[str, Any] = {"id": rule, "title": GATE_CHANGES[rule]}
        print_json(told) if as_json else print_table(rule, ["", ""], list(told.items()))
        return
    one = _known(rule)
    if as_json:
        print_json(describe([one])["rules"][0])
        return
    levels = ", ".join(f"{kind} {one.level(kind)}" for kind in ("prod", "staging", "dev", "local"))
    rows = [
        ("asks", one.title), ("why", one.why), ("to mend it", one.fix), ("severity", one.severity), ("counts", levels),
        ("can be waived", "yes" if one.waivable else "no"), ("asked of", _asked_of(one)),
        ("frameworks", "; ".join(one.references) or "none"), ("stands in", _file(one)),
    ]  # fmt: skip
    print_table(one.id, ["", ""], rows)


def check(
    rules: Annotated[
        list[str] | None, typer.Argument(help="Ids of rules; without any, all.", metavar="[RULE]…")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cases of rules: what each admits, what it denies, and what it cannot tell."""
    from policies.testing.cases import run_for  # its tests want pytest, which only developers have

    chosen = [_known(name) for name in rules] if rules else list(all_rules())
    outcome = run_for(chosen)
    wrong = [f"{name}: {text}" for name, text in outcome.failures] + outcome.missing(chosen)
    if as_json:
        print_json({"rules": [one.id for one in chosen], "ran": outcome.ran, "wrong": wrong})
    else:
        for text in wrong:
            typer.echo(text)
        typer.echo(f"{len(chosen)} rules, {outcome.ran} tests, {len(wrong)} wrong")
    if wrong or not outcome.ran:
        raise CommandFailed("the rules do not do what their cases say" if wrong else "no test was run")


def waive(
    rule: Annotated[str, typer.Argument(help="Id of the rule.", metavar="RULE")],
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack; `every` for changes of the gates.")],
    resource: Annotated[
        str, typer.Option("--resource", help="Name of the resource, `type::name`, or `stack` for the stack as a whole.")
    ],
    owner: Annotated[str, typer.Option("--owner", help="Who answers for it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it may be so.")],
    until: Annotated[str, typer.Option("--until", help="Last day on which it holds, as 2026-12-31.")],
    as_json: JsonOption = False,
) -> None:
    """Write a waiver into stacks/waivers.yaml. It counts once it is merged, and every review shows it."""
    file = context.PROJECT / FILE
    stated = {"rule": rule, "stack": stack, "resource": resource, "owner": owner, "reason": reason, "expires": until}
    try:
        waiver = checked(stated, all_rules(), _stacks(), _today())
        _written(file, with_waiver(file.read_text("utf-8") if file.exists() else "", waiver))
    except (WaiverError, OSError) as error:
        raise CommandFailed(f"no waiver was written: {error}") from None
    if as_json:
        print_json(waiver.model_dump(mode="json"))
    say(f"written to {FILE}: {waiver.rule} on {waiver.stack}: {waiver.resource}, until {waiver.expires}")


def waivers(as_json: JsonOption = False) -> None:
    """List the waivers with the days that each has left. Exit code 1 when one has expired or names no rule."""
    rules, today = all_rules(), _today()
    try:
        found = read_waivers(context.PROJECT / FILE)
    except WaiverError as error:
        raise CommandFailed(str(error)) from None
    rows = sorted(found, key=lambda one: (one.expires, one.rule, one.stack, one.resource))
    problems = problems_of(found, rules)
    problems += [f"{one.rule} on {one.stack}: {one.resource} has expired" for one in rows if one.expires < today]
    if as_json:
        listed = [{**one.model_dump(mode="json"), "daysLeft": (one.expires - today).days} for one in rows]
        print_json({"waivers": listed, "problems": problems})
    else:
        cells = [
            (one.rule, one.stack, one.resource, one.owner, one.expires, (one.expires - today).days, one.reason)
            for one in rows
        ]
        print_table(
            f"{len(rows)} waivers", ["rule", "stack", "resource", "owner", "last day", "days left", "reason"], cells
        )
    if problems:
        raise CommandFailed("; ".join(problems))


def _known(name: str) -> Rule:
    rules = {rule.id: rule for rule in all_rules()}
    if name not in rules:
        near = difflib.get_close_matches(name, list(rules), 1)
        hint = f"did you mean {near[0]}?" if near else "`./mlops policies list` names them"
        raise CommandFailed(f"there is no rule {name!r}", hint=hint, exit_code=2)
    return rules[name]


def _asked_of(rule: Rule) -> str:
    types = ", ".join(rule.types)
    match rule.scope:
        case "resource":
            return f"each resource of {types}"
        case "step":
            return f"each step over a resource of {types}"
    return f"the plan, where it holds {types}" if types else "every plan"


def _file(rule: Rule) -> str:
    module = rule.judge.__module__.replace(".", "/")
    return f"{module}.py:{rule.judge.__code__.co_firstlineno}"


def _stacks() -> Sequence[str]:
    files = sorted((context.PROJECT / "stacks").glob("Pulumi.*.yaml"))
    return [one.stem.removeprefix("Pulumi.") for one in files]


def _today() -> date:
    return datetime.now(UTC).date()


def _written(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = file.with_suffix(".draft")
    draft.write_text(text, "utf-8")
    draft.replace(file)
