"""`mlops up`, `down`, `status`, `logs`, `token`: bring a stack up, look at it, take it down."""

import os
import shutil
import subprocess
from typing import Annotated, Any

import typer

from infra.cli import inspect, remote
from infra.cli.context import DEFAULT_STACK, PROJECT, Context
from infra.cli.gate import before_up
from infra.cli.output import CommandFailed, out, print_json, print_table, say
from infra.engine.tools import ensure
from infra.provider.supervisor import shutdown
from policies.facts import environment_kind
from policies.stateful import KEPT_IN

StackArgument = Annotated[str, typer.Argument(help="Stack: the part of stacks/Pulumi.<stack>.yaml between the dots.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    for command in (up, down, status, logs, token):
        app.command()(command)


def up(stack: StackArgument = DEFAULT_STACK, as_json: JsonOption = False) -> None:
    """Bring the stack up: `pulumi up -s STACK`, after getting the tools that are missing.

    The policies judge the plan first, and stop it before anything is created. Locally the same files are judged once a
    day.
    """
    context = Context(stack)
    context.settings  # noqa: B018 - a bad setting stops here, before anything is touched
    ensure("pulumi", say)
    if context.settings.target == "local":
        ensure("prometheus", say)
    before_up(context)
    context.engine.up()
    if context.settings.aws is not None:
        found = remote.document(context, context.settings.aws)
        if as_json:
            print_json(found)
        else:
            _print_remote(found)
        return
    if as_json:
        print_json(inspect.document(context))
        return
    _print_status(inspect.document(context))


def down(
    stack: StackArgument = DEFAULT_STACK,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the stack's data and state too (asks first).")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything the stack runs. Locally data stays, and the next `up` serves the same versions.

    In an account all that the stack made is destroyed, with its data where that is not protected: it asks first.
    """
    context = Context(stack)
    question = _what_goes(context, purge=purge)
    if question and not yes:
        typer.confirm(question, abort=True)
    context.engine.destroy(*_program_needed(context))
    if context.settings.aws is not None:
        if purge:
            context.engine.remove()
        say(f"stack {stack} is destroyed" + (", and its state with it" if purge else ""))
        return
    for pid in sorted(shutdown(str(context.home))):
        say(f"stack {stack}: ended process {pid}, which a killed run had left behind")
    if purge:
        context.engine.remove()
        shutil.rmtree(context.home, ignore_errors=True)
    say(
        f"stack {stack} is down"
        + (" and its data is gone" if purge else f"; its data is kept in {context.home / 'data'}")
    )


def _what_goes(context: Context, *, purge: bool) -> str:
    """What to ask before a stack is taken down; nothing where nothing is lost by it."""
    settings, stack = context.settings, context.stack
    if settings.aws is None:
        lost = f"registry, features, captures, job results and state of stack {stack!r} under {context.home}"
        return f"Remove {lost}?" if purge else ""
    where = f"in account {settings.aws.account_id}, {settings.aws.region}"
    if settings.foundation is not None:
        return f"Destroy stack {stack!r}: no model is served any more by the platform {settings.foundation!r} {where}?"
    return f"Destroy stack {stack!r} {where}, with its database, buckets, tables and all that is in them?"


def _program_needed(context: Context) -> list[str]:
    """What `destroy` needs where hooks of the program keep what holds state."""
    settings = context.settings
    kind = environment_kind(settings.environment, settings.target, settings.gates.kind)
    return ["--run-program"] if kind in KEPT_IN else []


def status(stack: StackArgument = DEFAULT_STACK, as_json: JsonOption = False) -> None:
    """Show what runs, which versions are served, and the pages to open. Exit code 1 when something is not well."""
    context = Context(stack)
    if context.settings.aws is not None:
        found = remote.document(context, context.settings.aws)
        if as_json:
            print_json(found)
        else:
            _print_remote(found)
        return
    document = inspect.document(context)
    if as_json:
        print_json(document)
    else:
        _print_status(document)
    if not document["ok"]:
        raise CommandFailed(f"stack {stack}: {'; '.join(document['problems'])}", hint=f"`./mlops up {stack}` mends it")


def _print_remote(found: dict[str, Any]) -> None:
    print_table(
        f"Stack {found['stack']} in account {found['account']}, {found['region']}",
        ["what", "address", "answers"],
        [(name, entry["url"], entry["answers"]) for name, entry in found["endpoints"].items()],
    )
    out.print("\nNot looked at from here:", markup=False)
    for line in found["notLookedAt"]:
        out.print(f"  {line}", markup=False)


def _print_status(document: dict[str, Any]) -> None:
    print_table(
        f"Processes of stack {document['stack']}",
        ["process", "status", "pid", "memory", "ports"],
        [
            (
                name,
                process["status"],
                process["pid"] or "",
                f"{process['memory_mib']} MiB" if process["pid"] else "",
                process["ports"],
            )
            for name, process in document["processes"].items()
        ],
    )
    out.print()
    print_table(
        "Models",
        ["model", "version", "digest", "state"],
        [
            (name, model["served"]["version"], model["served"]["digest"][:19], model["state"])
            if model.get("served")
            else (name, "-", "-", model["state"])
            for name, model in document["models"].items()
        ],
    )
    out.print()
    print_table(
        "Open",
        ["what", "address", "log in with"],
        [(page["name"], page["url"], page["login"]) for page in document["pages"]],
    )


def logs(
    process: Annotated[
        str, typer.Argument(help="Process; without one, the processes that have a log are listed.")
    ] = "",
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack.")] = DEFAULT_STACK,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 100,
) -> None:
    """Print the last lines of a process's log."""
    folder = Context(stack).home / "log"
    known = sorted(path.stem for path in folder.glob("*.log"))
    if not process:
        for name in known:
            out.print(name)
        return
    if process not in known:
        raise CommandFailed(
            f"no log of {process!r} in stack {stack}; there are: {', '.join(known) or 'none'}", exit_code=2
        )
    files = [str(folder / f"{process}.log"), *inspect.replica_logs(Context(stack), process)]
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), *files]
    raise SystemExit(subprocess.run(command, cwd=PROJECT, env=dict(os.environ), check=False).returncode)


def token(
    name: Annotated[str, typer.Argument(help="Endpoint, for example tracking, inference, metrics.")],
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack.")] = DEFAULT_STACK,
) -> None:
    """Print the token or password of one endpoint: `curl -H "authorization: Bearer $(./mlops token inference)" …`."""
    secret = Context(stack).endpoint(name).get("token")
    if not secret:
        raise CommandFailed(f"endpoint {name} of stack {stack} takes no token")
    typer.echo(secret)
