"""`mlops train`: train a model now, on the data of today, outside of `up`: registers a version, releases nothing."""

import re
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from infra.cli import train_remote
from infra.cli.context import DEFAULT_STACK, PROJECT, Context
from infra.cli.output import CommandFailed, print_json, say
from infra.provider.codec import plain
from infra.provider.job import JobResource
from infra.provider.resource import Call, ResourceError


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(train)


def train(
    model: Annotated[str, typer.Argument(help="Name of the model, as in the stack's settings.")],
    stack: Annotated[
        str, typer.Option("--stack", "-s", help="Stack whose cluster and registry are used.")
    ] = DEFAULT_STACK,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed; default: the stack's.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A hyperparameter.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Train a model on the stack's cluster: ingest, features, fit, evaluate, register. Releases nothing.

    The version is served when a stack names it, or, where the stack says `latest`, never by this command alone.
    In an account it starts a run there and returns; seed and hyperparameters are those of the stack.
    """
    context = Context(stack)
    known = context.settings.models
    if model not in known:
        raise CommandFailed(f"stack {stack} has no model {model!r}; it has {', '.join(sorted(known))}", exit_code=2)
    if context.settings.aws is not None:
        _start(context, model, seed, param or [], as_json=as_json)
        return
    result = _run(context, _inputs(context, model, seed, param or []))
    if as_json:
        print_json(result)
    else:
        verdict = "passed" if result["passed"] else "did not pass"
        typer.echo(f"{model} version {result['version']} ({result['digest'][:19]}) {verdict} its evaluation")
    if not result["passed"]:
        reasons = result.get("evaluation", {}).get("reasons") or ["see its evaluation report in MLflow"]
        raise CommandFailed(f"{model} version {result['version']} did not pass: {'; '.join(map(str, reasons))}")


def _start(context: Context, model: str, seed: int | None, params: list[str], *, as_json: bool) -> None:
    if seed is not None or params:
        raise CommandFailed(
            f"--seed and --param are for stacks on this machine: on AWS state models.{model}.seed and params in "
            f"stacks/Pulumi.{context.stack}.yaml, and `./mlops up {context.stack}`",
            exit_code=2,
        )
    started = train_remote.start(context, model)
    if as_json:
        print_json(started)
        return
    what = f"job {started['job']}" if "job" in started else f"execution {started['execution']}"
    typer.echo(
        f"started a training run of {model} in stack {context.stack}: {what}. What it trains is signed "
        "and registered, and released by nothing here. How it goes:"
    )
    for command in started["follow"]:
        typer.echo(f"  {command}")


def _inputs(context: Context, model: str, seed: int | None, params: list[str]) -> dict[str, Any]:
    from components.pipelines.local import signing_environment  # not loaded by every command, with Pulumi's SDK
    from components.site import Site

    stated, tracking, cluster = (
        context.settings.models[model],
        context.endpoint("tracking"),
        context.endpoint("dashboard"),
    )
    site = Site(stack=context.stack, home=str(context.home), project=str(PROJECT), python=sys.executable)
    assignments = [*(f"{name}={value}" for name, value in stated.params.items()), *params]
    return {
        "name": f"retrain-{model}",
        "home": site.home,
        # A person asked for a run, so there is always one: its key is the moment.
        "key": {"asked": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
        "command": site.module(
            "training.pipelines.train",
            f"--folder={stated.folder}",
            f"--seed={stated.seed if seed is None else seed}",
            *(f"--param={assignment}" for assignment in assignments),
        ),
        "directory": site.project,
        "environment": {
            **site.environment(),
            **signing_environment(site, context.settings.environment),
            "MLFLOW_TRACKING_URI": tracking["url"],
            "MLFLOW_TRACKING_USERNAME": tracking["username"],
        },
        "secretEnvironment": {"MLFLOW_TRACKING_PASSWORD": tracking["token"]},
        "runner": {"kind": "ray", "url": cluster["url"], "token": cluster["token"]},
    }


def _run(context: Context, inputs: dict[str, Any]) -> dict[str, Any]:
    job = JobResource()
    checked, problems = job.check(inputs)
    if problems:
        raise CommandFailed("; ".join(problems))
    checked = plain(checked)
    secrets = (checked["runner"]["token"], *checked["secretEnvironment"].values())
    call = Call(checked["name"], _reporter(checked["name"]), secrets=secrets)
    try:
        _, outputs = job.create(call, checked)
    except ResourceError as error:
        raise CommandFailed(str(error), hint=f"look at: ./mlops status {context.stack}") from error
    result: dict[str, Any] = outputs["result"]
    return result


def _reporter(name: str) -> Callable[[str, bool], None]:
    """Show each line of the job once: its progress comes again every second, with the time it has taken in front."""
    shown = ""

    def report(message: str, _passing: bool) -> None:
        nonlocal shown
        text = re.sub(r"^\d+ s: ", "", message)
        if text != shown:
            shown = text
            say(f"{name}: {message}")

    return report
