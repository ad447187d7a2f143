"""`mlops bootstrap`: what must exist in an account before a stack of the target `aws` does."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

import typer

from infra.cli.context import PROJECT, Context
from infra.cli.output import CommandFailed, out, print_json, say
from infra.cloud import cloud_of

_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9._-]+")


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(bootstrap)


def bootstrap(
    stack: Annotated[str, typer.Argument(help="Stack: the part of stacks/Pulumi.<stack>.yaml between the dots.")],
    repository: Annotated[
        str, typer.Option("--repository", help="owner/name whose pipelines may deploy; without it no roles are made.")
    ] = "",
    environment: Annotated[
        str, typer.Option("--environment", help="Deployment environment of the foundation's pipeline [default: STACK].")
    ] = "",
    releases_environment: Annotated[
        str,
        typer.Option("--releases-environment", help="That of the pipeline of releases [default: STACK-releases]."),
    ] = "",
    issuer: Annotated[
        str, typer.Option("--issuer", help="Issuer of the pipelines' tokens (OpenID Connect).")
    ] = "https://token.actions.githubusercontent.com",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, and say what would be made.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Make the state's bucket, the key of secrets and the pipelines' roles. Again at any time: it makes what lacks."""
    from infra.bootstrap.account import Account, BootstrapError, Outcome
    from infra.bootstrap.documents import Trust, Wanted

    context = Context(stack)
    settings = context.settings
    if settings.aws is None:
        raise CommandFailed(
            f"stack {stack} has target {settings.target}, which needs nothing beforehand",
            hint=f"`./mlops up {stack}` runs it here",
            exit_code=2,
        )
    names = {
        "--environment": environment or stack,
        "--releases-environment": releases_environment or f"{stack}-releases",
    }
    _checked(repository, names, issuer)
    wanted = Wanted(
        cloud=cloud_of(settings, settings.aws, project=PROJECT, stack=stack),
        trust=Trust(
            issuer=issuer.rstrip("/"),
            repository=repository,
            environment=names["--environment"],
            releases_environment=names["--releases-environment"],
        )
        if repository
        else None,
    )

    def told(outcome: Outcome) -> None:
        say(f"{outcome.done:12} {outcome.what}: {outcome.name}")

    try:
        outcomes = Account(wanted, dry=dry_run, told=told).run()
    except BootstrapError as error:
        raise CommandFailed(str(error), hint=error.hint) from None
    next_steps = [
        f"./mlops pulumi login '{wanted.login}'",
        f"./mlops pulumi stack init {stack} --secrets-provider='{wanted.secrets_provider}'",
    ]
    if as_json:
        roles = [wanted.role(rights) for rights in ("foundation", "releases", "read")] if wanted.trust else []
        print_json(
            {
                "stack": stack,
                "dryRun": dry_run,
                "outcomes": [asdict(one) for one in outcomes],
                "login": wanted.login,
                "secretsProvider": wanted.secrets_provider,
                "roles": [wanted.cloud.arn("iam", f"role/{name}", region=False) for name in roles],
            }
        )
        return
    changed = [one for one in outcomes if one.done != "kept"]
    if dry_run:
        out.print(f"{len(changed)} of {len(outcomes)} would be made or changed; nothing was touched", markup=False)
        return
    done = f"{len(changed)} of {len(outcomes)} made or changed" if changed else "everything is there, nothing changed"
    out.print(f"{done}\n\nOnce on each machine that deploys it:", markup=False)
    for line in next_steps:
        out.print(f"  {line}", markup=False)
    if wanted.trust is None:
        out.print("\nNo roles for pipelines: state --repository owner/name to have them.", markup=False)


def _checked(repository: str, environments: dict[str, str], issuer: str) -> None:
    """Refuse what would make a trust wider than it looks: a `*` in a subject is harmless in IAM's StringEquals, but no
    name of a repository has one.
    """
    if repository and not _REPOSITORY.fullmatch(repository):
        raise CommandFailed(f"--repository {repository!r} is not owner/name", exit_code=2)
    for option, value in environments.items():
        if not _ENVIRONMENT.fullmatch(value):
            raise CommandFailed(f"{option} {value!r} may hold letters, digits, dots, hyphens and _", exit_code=2)
    if not re.fullmatch(r"https://[a-z0-9.-]+(/[A-Za-z0-9._/-]*)?", issuer):
        raise CommandFailed(f"--issuer {issuer!r} is not an https address", exit_code=2)
    if environments["--environment"] == environments["--releases-environment"]:
        raise CommandFailed(
            "--environment and --releases-environment are the same, so releases could deploy the foundation",
            exit_code=2,
        )
