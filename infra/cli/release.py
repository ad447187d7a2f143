"""`mlops release …`: follow a rollout and steer it, through the rollout controller and without the stack's lock.

The commands of the group that change files of the project are in `infra/cli/manifests.py`.
"""

import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from infra.cli import demo, manifests
from infra.cli.context import DEFAULT_STACK, Context
from infra.cli.control import Control
from infra.cli.output import CommandFailed, err, print_json, print_table
from infra.provider.release_controller import ENDED, ENDED_BADLY, arm_of, person, progress_of, quarantined

release_app = typer.Typer(
    name="release", help="Releases of models: propose, approve, follow, steer, revert.", no_args_is_help=True
)

ModelArgument = Annotated[str, typer.Argument(help="Name of the model, as in the stack's settings.")]
StackOption = Annotated[str, typer.Option("--stack", "-s", help="Stack.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; it is written to the ledger.")]

_POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    manifests.register(release_app)
    demo.register(release_app)
    for command in (status, watch, pause, resume, promote, abort, rollback, history):
        release_app.command()(command)
    app.add_typer(release_app)


# --- looking -------------------------------------------------------------------------------------------------------


def status(
    model: Annotated[str, typer.Argument(help="Model; without one, all of the stack.")] = "",
    stack: StackOption = DEFAULT_STACK,
    as_json: JsonOption = False,
) -> None:
    """Show what is served and where the rollout is."""
    context = Context(stack)
    names = [model] if model else sorted(context.settings.models)
    with Control(context) as control:
        documents = {name: control.model(name) for name in names}
    if as_json:
        print_json(documents[model] if model else documents)
        return
    print_table(
        f"Releases of stack {stack}",
        ["model", "served", "rollout", "candidate"],
        [_row(name, document) for name, document in documents.items()],
    )
    for name, document in documents.items():
        rollout = document.get("rollout") or {}
        if rollout.get("state") and rollout["state"] not in ENDED:
            typer.echo(f"{name}: {progress_of(rollout)}")
        elif rollout.get("reason"):
            typer.echo(f"{name}: {rollout['state']}: {rollout['reason']}")
        for shadow in document.get("shadows") or []:
            typer.echo(f"{name}: {_shadow(shadow)}")
        for problem in document.get("problems") or []:
            typer.echo(f"{name}: version {problem['version']} is not loaded by a replica: {problem['reason']}")
        for digest, why in quarantined(document).items():
            typer.echo(f"{name}: {digest[:19]} is quarantined: {why}")


def _row(name: str, document: dict[str, Any]) -> tuple[Any, ...]:
    served, rollout = document.get("served") or {}, document.get("rollout") or {}
    candidate = rollout.get("candidate") or {}
    return name, served.get("version") or "-", rollout.get("state") or "-", candidate.get("version") or "-"


def _shadow(shadow: dict[str, Any]) -> str:
    """Describe a shadow in one line: how it is, and how its answers compare."""
    counts = shadow["counts"]
    said = f"shadow {shadow['version']}, {shadow['sample']:g} % of the requests: {shadow['state']}"
    if shadow["reason"]:
        said += f" ({shadow['reason']})"
    if counts["requests"]:
        said += f" · {arm_of('copies', counts)}, {counts['disagreed']:,} of {counts['compared']:,} answers differ"
    return said + (f", {counts['shed']:,} shed" if counts["shed"] else "")


def watch(model: ModelArgument, stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False) -> None:
    """Follow a rollout to its end. Exit code 1 when it was not promoted."""
    shown, line = 0, ""
    with Control(Context(stack)) as control:
        while True:
            document = control.model(model)
            rollout = document.get("rollout") or {}
            if not rollout:
                raise CommandFailed(f"{model} has no rollout to watch")
            for message in rollout.get("messages") or []:
                if int(message.get("seq") or 0) > shown:
                    shown = int(message["seq"])
                    err.print(escape(f"{_clock(message.get('at'))}  {message.get('text') or ''}".strip()))
            if rollout.get("state") in ENDED:
                break
            if (now := progress_of(rollout)) != line:
                line = now
                err.print(escape(line), style="dim")
            time.sleep(_POLL_SECONDS)
    if as_json:
        print_json(document)
    else:
        _say_end(model, document)
    if rollout["state"] in ENDED_BADLY:
        raise CommandFailed(f"{model}: the rollout ended {rollout['state']}: {rollout.get('reason') or 'no reason'}")


def _clock(at: Any) -> str:
    """A moment as people read a clock; the controller tells seconds since 1970."""
    return time.strftime("%H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else str(at or "")


def _say_end(model: str, document: dict[str, Any]) -> None:
    rollout, served = document["rollout"], document.get("served") or {}
    typer.echo(f"{model}: {rollout['state']}; version {served.get('version') or 'none'} is served")
    counts = rollout.get("counts") or {}
    for name in ("candidate", "stable"):
        if counts.get(name, {}).get("requests"):
            typer.echo(f"  {arm_of(name, counts[name])}")


def history(
    model: ModelArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many of the last.")] = 20,
    stack: StackOption = DEFAULT_STACK,
    as_json: JsonOption = False,
) -> None:
    """Show what the ledger says of a model's releases, the latest last."""
    with Control(Context(stack)) as control:
        entries = control.ask("GET", f"/v1/models/{model}/history", limit=limit)["entries"]
    if as_json:
        print_json(entries)
        return
    print_table(
        f"Releases of {model}",
        ["entry", "at", "version", "what", "by", "reason"],
        [_entry(one) for one in entries],
    )


def _entry(entry: dict[str, Any]) -> tuple[Any, ...]:
    what = entry.get("what") or {}
    done = what.get("step") or what.get("action") or what.get("role") or ""
    return (
        entry.get("seq"),
        str(entry.get("time") or "")[:19],
        entry.get("version") or "",
        f"{entry.get('kind')} {done}".strip(),
        entry.get("person") or "",
        what.get("reason") or "",
    )


# --- steering ------------------------------------------------------------------------------------------------------


def pause(
    model: ModelArgument, reason: ReasonOption = "", stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False
) -> None:
    """Hold a rollout where it is; traffic stays split as it is."""
    _steer("pause", model, reason, stack, as_json)


def resume(
    model: ModelArgument, reason: ReasonOption = "", stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False
) -> None:
    """Let a paused rollout go on, also through a gate."""
    _steer("resume", model, reason, stack, as_json)


def promote(
    model: ModelArgument, reason: ReasonOption = "", stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False
) -> None:
    """Give all traffic to the candidate now, without the steps that are left."""
    _steer("promote", model, reason, stack, as_json)


def abort(
    model: ModelArgument, reason: ReasonOption = "", stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False
) -> None:
    """End a rollout; the stable version keeps all traffic. Needs no lock of the stack."""
    _steer("abort", model, reason, stack, as_json)


def rollback(
    model: ModelArgument, reason: ReasonOption = "", stack: StackOption = DEFAULT_STACK, as_json: JsonOption = False
) -> None:
    """Go back to the version before. Needs no lock of the stack."""
    _steer("rollback", model, reason, stack, as_json)


def _steer(command: str, model: str, reason: str, stack: str, as_json: bool) -> None:
    with Control(Context(stack)) as control:
        body = {"reason": reason, "by": person()}
        document = control.ask("POST", f"/v1/models/{model}/rollout/{command}", body)
    if as_json:
        print_json(document)
        return
    rollout, served = document.get("rollout") or {}, document.get("served") or {}
    said = f"{model}: {rollout.get('state') or 'no rollout'}"
    typer.echo(f"{said}; version {served.get('version') or 'none'} is served")
