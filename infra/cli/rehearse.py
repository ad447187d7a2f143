"""`mlops rehearse`: a stack's whole life against stand-ins of AWS and Kubernetes, without an account."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.context import PROJECT, Context
from infra.cli.output import CommandFailed, out, print_json, say
from infra.engine.tools import ensure

if TYPE_CHECKING:
    from infra.rehearsal.report import Report
    from infra.settings import Settings
    from infra.settings.aws import Aws

UPDATE: dict[str, Any] = {"mlops:aws": {"governance": {"costCenter": "rehearsed"}}}
"""What the update changes: the tag of everything that tells where its cost is booked."""

END: dict[str, Any] = {"mlops:aws": {"protected": False}}
"""What has to change before it is destroyed, as a person would have to."""


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(rehearse)


def rehearse(
    stack: Annotated[str, typer.Argument(help="Stack: the part of stacks/Pulumi.<stack>.yaml between the dots.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep state and logs in .mlops/rehearsal/<stack>.")] = False,
    stand_ins: Annotated[
        bool, typer.Option("--stand-ins", help="Use the stand-ins even where official plugins are installed.")
    ] = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also run the controllers: Kubernetes' own, KubeRay's operator, played nodes; and upgrade serving.",
        ),
    ] = False,
) -> None:
    """Run the stack's program from preview to destroy against moto and a Kubernetes API server. Needs no account."""
    context = Context(stack)
    if context.settings.foundation is not None:
        if deep:
            raise CommandFailed(
                f"stack {stack} releases models onto {context.settings.foundation}: it makes nothing that controllers "
                f"act on; `./mlops rehearse {context.settings.foundation} --deep` rehearses its foundation",
                exit_code=2,
            )
        _told(_releases(context, context.settings.foundation, keep), stack, as_json)
        return
    from infra.rehearsal.children import child
    from infra.rehearsal.gate import RehearsedGate
    from infra.rehearsal.kubernetes.api_server import api_server
    from infra.rehearsal.kubernetes.controllers import REAL
    from infra.rehearsal.kubernetes.provider import TOKEN
    from infra.rehearsal.official import Choice, choose, home
    from infra.rehearsal.phases import Rehearsal

    settings = context.settings.aws
    if settings is None:
        raise CommandFailed(
            f"stack {stack} has target {context.settings.target}; only stacks of the target aws are rehearsed",
            hint=f"`./mlops up {stack}` runs it here",
            exit_code=2,
        )
    ensure("pulumi", say)
    providers = Choice() if stand_ins else choose(home(PROJECT))
    folder = PROJECT / ".mlops" / "rehearsal"
    shutil.rmtree(folder / f"{stack}-kubernetes", ignore_errors=True)
    place, region, step = folder / f"{stack}-kubernetes", settings.region, settings.inference.upgrade_step
    if deep:
        from infra.rehearsal.deep import control_plane, life

        control_plane.ensure(say)
    with api_server(place, say, users=control_plane.USERS if deep else None) as kubernetes:
        report = Rehearsal(
            project=PROJECT,
            stack=stack,
            account=settings.account_id,
            region=settings.region,
            folder=folder / stack,
            update=UPDATE,
            end=END,
            official=providers.official,
            notes=providers.notes,
            more={
                "kubernetes": lambda logs: child(
                    "infra.rehearsal.kubernetes",
                    {TOKEN: kubernetes.token, **({REAL: "true"} if deep else {})},
                    logs / "kubernetes.log",
                )
            },
            cluster={"endpoint": kubernetes.url, "ca": kubernetes.ca},
            checks={"calls of every workload, judged by its policies": access_check(context.settings, settings, stack)},
            gate=lambda place: RehearsedGate(PROJECT, settings.region, place),
            deep=(lambda aws: life.deep(kubernetes, aws, place, region, step=step, say=say)) if deep else None,
            keep=keep,
            say=say,
        ).run()
        if objects := kubernetes.leftovers():
            report = replace(report, left={**report.left, "kubernetes": objects})
    if not keep:
        shutil.rmtree(folder / f"{stack}-kubernetes", ignore_errors=True)
    _told(report, stack, as_json)


def _releases(context: Context, foundation: str, keep: bool) -> Report:
    """Rehearse a stack of releases."""
    from infra.cloud import cloud_of
    from infra.rehearsal.releases import ModelCase, ReleasesRehearsal
    from infra.releases import read_manifest, read_previous
    from infra.releases_target import releases_target
    from policies.facts import environment_kind
    from policies.gates.decision import GATED

    settings, aws = context.settings, context.settings.aws
    assert aws is not None  # a stack with a foundation has it
    target = releases_target(settings, aws, foundation, project=PROJECT, stack=context.stack)
    models = {}
    for name, model in sorted(settings.models.items()):
        manifest, previous = (read(PROJECT, name, model.version) for read in (read_manifest, read_previous))
        if manifest is None or previous is None:
            lacking = f"version {model.version}" if manifest is None else f"a version before {model.version}"
            raise CommandFailed(f"there is no manifest of {lacking} of {name} in stacks/releases to rehearse with")
        models[name] = ModelCase(manifest=manifest, previous=previous)
    ensure("pulumi", say)
    cloud = cloud_of(settings, aws, project=PROJECT, stack=foundation)
    return ReleasesRehearsal(
        project=PROJECT,
        stack=context.stack,
        foundation=foundation,
        cluster=cloud.names.of("cluster", "main"),
        region=cloud.region,
        host=aws.inference.host,
        trust=target.trust,
        gated=environment_kind(settings.environment, settings.target, settings.gates.kind) in GATED,
        models=models,
        folder=PROJECT / ".mlops" / "rehearsal" / context.stack,
        keep=keep,
        say=say,
    ).run()


def _told(report: Report, stack: str, as_json: bool) -> None:
    """Print a report; fail where it did."""
    if as_json:
        print_json(report.document())
    else:
        for line in report.lines():
            out.print(line, markup=False)
    if not report.ok:
        raise CommandFailed(
            f"the rehearsal of {stack} found {sum(not phase.ok for phase in report.phases)} phases that failed and "
            f"{sum(map(len, report.left.values()))} objects that are left",
            hint="`--keep` leaves its logs in .mlops/rehearsal",
        )


def access_check(settings: Settings, aws: Aws, stack: str) -> Callable[[Sequence[Mapping[str, Any]]], tuple[bool, str]]:
    """Return the check that judges calls of every workload by the policies in a state."""
    from infra.cloud import cloud_of
    from infra.rehearsal.access import judge

    cloud = cloud_of(settings, aws, project=PROJECT, stack=stack)

    def check(state: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
        found = judge(state, cloud)
        return found.ok, found.said()

    return check
