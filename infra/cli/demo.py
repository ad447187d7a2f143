"""`mlops release demo`: break a release on purpose, under load, and watch it being taken back."""

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from infra.cli.context import DEFAULT_STACK, Context
from infra.cli.control import Control
from infra.cli.output import CommandFailed, err, print_json, print_table, say
from infra.demo import report, trial, users
from infra.demo.chart import Chart
from infra.demo.faults import FAULTS
from infra.demo.trial import Outcome
from infra.demo.users import Labels, Users
from infra.demo.versions import MODEL, Versions
from infra.provider.release_controller import person

SHOWN = ("errors", "slow", "nan", "crash", "accuracy", "leak")
"""What `all` means, in order."""
_RATE = 150.0
_WARM_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    stack: Annotated[str, typer.Argument(help="Stack that is up, target local.")] = DEFAULT_STACK,
    fault: Annotated[str, typer.Option("--fault", help=f"What is wrong: {', '.join(SHOWN)}, or all.")] = "errors",
    folder: Annotated[
        str, typer.Option("--report", help="Folder of the report; default: reports/ of the stack's runtime folder.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Roll out a version that is broken on purpose, under load, and show how it is taken back."""
    if fault != "all" and fault not in SHOWN:
        raise CommandFailed(f"--fault {fault!r}: allowed are {', '.join(SHOWN)}, all", exit_code=2)
    context = Context(stack)
    if context.settings.target != "local":
        raise CommandFailed("the demo breaks releases with demo keys, which are for the target local only", exit_code=2)
    if MODEL in context.settings.models:
        raise CommandFailed(f"stack {stack} has a model {MODEL!r}, the name that the demo uses: rename it", exit_code=2)
    where = Path(folder).resolve() if folder else context.home / "reports"
    # Whoever ends it politely finds everything as it was.
    signal.signal(signal.SIGTERM, _end)
    with _alone(context):
        outcomes = _try(context, SHOWN if fault == "all" else (fault,))
    files = report.write(where, outcomes)
    if as_json:
        print_json({"trials": [one.to_json() for one in outcomes], "report": str(files[0])})
    else:
        _tell(outcomes, files[0])
    unlike = [one for one in outcomes if one.user_failures or one.state not in ("rolled-back", "failed")]
    if unlike:
        said = "; ".join(f"{one.fault}: {one.state}, {one.user_failures} failed requests of users" for one in unlike)
        raise CommandFailed(f"not every broken release was taken back unnoticed: {said}")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)


@contextlib.contextmanager
def _alone(context: Context) -> Iterator[None]:
    """Keep a second demo of the same stack out; the lock goes with this process."""
    folder = context.home / "run"
    if not folder.is_dir():
        raise CommandFailed(f"stack {context.stack} is not up", hint=f"run: ./mlops up {context.stack}")
    with (folder / "release-demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandFailed(f"another demo is running on stack {context.stack}") from None
        yield


def _try(context: Context, faults: tuple[str, ...]) -> list[Outcome]:
    """Try one fault after the other beside one sound version, and take everything away again."""
    from components.models import SHARED_GROUP  # not loaded by every command: it brings the SDK of Pulumi

    say("making a model of its own for the demo: a copy of a trained one")
    versions = Versions(context)
    with Control(context) as control:
        try:
            _withdraw(control)  # what a demo that was killed left
            trial.settle(control, versions.approved(versions.add("none")), SHARED_GROUP)
            endpoint = context.endpoint("inference")
            address = endpoint["url"]
            rows = users.rows(versions.sample())
            path = f"/v2/models/{MODEL}/infer"
            with (
                context.http("inference") as http,
                Users(address, endpoint["token"], path, rows, per_second=_RATE) as asking,
            ):
                trial.warm(asking, _WARM_SECONDS)
                labels = Labels(http, MODEL, rows)
                return [_one(control, asking, versions, fault, SHARED_GROUP, labels) for fault in faults]
        finally:
            say("taking the demo's model away again")
            _withdraw(control)
            versions.remove()


def _one(control: Control, asking: Users, versions: Versions, fault: str, group: str, labels: Labels) -> Outcome:
    manifest = versions.approved(versions.add(fault))
    judged = fault == "accuracy"  # nothing else shows only in labels
    with Chart(err, f"{fault}: {FAULTS[fault].said}") as chart:
        return trial.run(
            control,
            asking,
            manifest,
            fault=fault,
            group=group,
            strategy=trial.PATIENT if judged else trial.CANARY,
            look=chart.look,
            labels=labels if judged else None,
        )


def _withdraw(control: Control) -> None:
    """Stop serving the demo's model. Its bans stay with the controller, as evidence does; its digests never return."""
    if control.knows(MODEL):
        control.ask("DELETE", f"/v1/models/{MODEL}", by=person())


def _tell(outcomes: list[Outcome], page: Path) -> None:
    heads = ["fault", "ended", "users' requests", "failed", "candidate requests", "s to decision", "s to stable"]
    rows = [
        (
            one.fault, one.state, f"{one.user_requests:,}", one.user_failures, f"{one.candidate_requests:,}",
            "-" if one.seconds_to_decision is None else f"{one.seconds_to_decision:.2f}",
            f"{one.seconds_to_stable:.2f}",
        )
        for one in outcomes
    ]  # fmt: skip
    print_table("Broken on purpose", heads, rows)
    for one in outcomes:
        typer.echo(f"{one.fault}: {one.reason}")
    typer.echo(f"report: {page}")
