"""`mlops upgrade …`: record the state of a stack, and see what another version of the program would do to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli import context
from infra.cli.output import CommandFailed, out, print_json, say

upgrade_app = typer.Typer(
    name="upgrade", help="Upgrades: what this version would do to a recorded state.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    upgrade_app.command()(record)
    upgrade_app.command("try")(tried)
    app.add_typer(upgrade_app)


def record(
    export: Annotated[str, typer.Argument(help="What `./mlops pulumi stack export` wrote; `-`: standard input.")],
    to: Annotated[Path, typer.Argument(help="File to write, such as prod.json.gz.")],
) -> None:
    """Keep of an export what an upgrade is tried on: no secret, no time, no path."""
    piped = export == "-"
    from infra.planning import recorded  # not loaded by every command: it brings the SDK of Pulumi

    kept = recorded.parse(sys.stdin.buffer.read(), "standard input") if piped else recorded.read(Path(export))
    recorded.write(kept, to)
    say(f"{len(kept['deployment']['resources'])} resources recorded in {to}; secrets are left out")


def tried(
    stack: Annotated[str, typer.Argument(help="Name of the stack.")],
    state: Annotated[Path, typer.Argument(help="Its recorded state, or an export.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Preview this version over a recorded state, without an account. Exit code 1 when what holds state is lost."""
    say(f"planning {stack} over {state} with stand-ins; nothing is touched …")
    from infra.planning import recorded

    found = recorded.upgrade(context.PROJECT, stack, recorded.read(state))
    if as_json:
        print_json(found.document())
    else:
        for operation, names in found.document()["steps"].items():
            out.print(f"{operation}: {len(names)}", markup=False)
            for name in names:
                out.print(f"  {name}", markup=False)
    if found.lost:
        raise CommandFailed(
            f"this version replaces or deletes what holds state: {'; '.join(found.lost)}",
            hint="an alias, or steps that people take before (docs/how-to/upgrade.md)",
        )
