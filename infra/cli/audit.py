"""`mlops audit …`: ask the ledger what happened, whether it is whole, and take it along."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.context import DEFAULT_STACK, Context
from infra.cli.control import Control
from infra.cli.output import CommandFailed, print_json, print_table, say

audit_app = typer.Typer(
    name="audit", help="The ledger: is it whole, what served at a time, take it along.", no_args_is_help=True
)

StackOption = Annotated[str, typer.Option("--stack", "-s", help="Stack.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    for command in (verify, serving, export):
        audit_app.command()(command)
    app.add_typer(audit_app)


def verify(stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False) -> None:
    """Check every entry and checkpoint of the ledger. Exit code 1 when something was changed, dropped or moved."""
    with Control(Context(stack)) as control:
        report = control.ask("POST", "/v1/audit/verify")
    findings = [one["message"] if isinstance(one, dict) else str(one) for one in report.get("findings") or []]
    whole = report.get("ok", not findings)
    if as_json:
        print_json(report)
    elif whole:
        sealed, since = report.get("sealed"), report.get("unsealedSince") or report.get("unsealed_since")
        typer.echo(
            f"the ledger is whole: {report.get('entries')} entries, {report.get('checkpoints')} checkpoints, "
            f"sealed up to entry {sealed}" + (f", open since {since}" if since else "")
        )
    if not whole:
        raise CommandFailed(f"the ledger is not whole: {'; '.join(findings) or 'no finding is named'}")


def serving(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    at: Annotated[str, typer.Option("--at", help="When, for example 2026-11-20T09:00Z; default: now.")] = "",
    stack: StackOption = DEFAULT_STACK,
    as_json: JsonOption = False,
) -> None:
    """Say what served a model at a time: version, digest, who approved it, on which evidence."""
    when = _moment(at)
    with Control(Context(stack)) as control:
        answer = control.ask("GET", "/v1/audit/serving", model=model, at=when.isoformat().replace("+00:00", "Z"))
    if as_json:
        print_json(answer)
        return
    rows = [
        row
        for role in ("stable", "candidate")
        if (arm := answer.get(role))
        for row in (
            (f"{role} version", f"{arm.get('version')}, since {arm.get('since')}"),
            (f"{role} digest", arm.get("digest")),
        )
    ]
    if not rows:
        raise CommandFailed(f"the ledger knows of nothing that served {model} at {when:%Y-%m-%dT%H:%M:%SZ}")
    rows += [("approved by", f"{one.get('principal')} ({one.get('role')})") for one in answer.get("approvers") or []]
    rows.append(("evidence", "entries " + ", ".join(map(str, answer.get("evidence") or [])) or "none"))
    rows += [(f"measured {name}", _short(value)) for name, value in (answer.get("measured") or {}).items()]
    rows += [("note", note) for note in answer.get("notes") or []]
    print_table(f"{model} at {when:%Y-%m-%dT%H:%M:%SZ}", ["what", ""], rows)


def export(
    to: Annotated[str, typer.Option("--out", "-o", help="File to write; default: standard output.")] = "",
    stack: StackOption = DEFAULT_STACK,
) -> None:
    """Write the whole ledger with its checkpoints as JSON Lines, which can be verified without the database."""
    with Control(Context(stack)) as control:
        text = control.text("/v1/audit/export")
    if not to:
        typer.echo(text, nl=False)
        return
    Path(to).write_text(text, encoding="utf-8")
    entries = sum(line.startswith('{"type": "entry"') for line in text.splitlines())
    say(f"{entries} entries written to {to}")


def _moment(text: str) -> datetime:
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandFailed(f"--at {text}: not a time; for example 2026-11-20T09:00Z", exit_code=2) from None
    if moment.tzinfo is None:
        raise CommandFailed(f"--at {text}: needs a time zone, for example {text}Z", exit_code=2)
    return moment.astimezone(UTC)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
