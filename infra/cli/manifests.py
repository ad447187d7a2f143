"""`mlops release propose|approve|revert`: the commands that change files of the project, which are then committed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from infra import pins, proposals
from infra.cli.context import DEFAULT_STACK, PROJECT, Context
from infra.cli.control import Control
from infra.cli.output import CommandFailed, print_json, print_table, say
from infra.releases import manifest_file, write_manifest
from policies.releases import approval as approvals
from policies.releases import keys as key_files
from policies.releases.manifest import Approval, Manifest, Statement

ModelArgument = Annotated[str, typer.Argument(help="Name of the model, as in the stack's settings.")]
StackOption = Annotated[str, typer.Option("--stack", "-s", help="Stack.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
VersionOption = Annotated[str, typer.Option("--version", help="Version; default: the newest one there is.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (propose, approve, revert):
        app.command()(command)


def propose(
    model: ModelArgument,
    version: VersionOption = "",
    stack: StackOption = DEFAULT_STACK,
    as_json: JsonOption = False,
) -> None:
    """Write the manifest of a trained version, signed by who trained it, for others to approve."""
    manifest, file = _propose(_with_model(stack, model), model, version)
    _manifest_said(manifest, file, as_json)


def _propose(context: Context, model: str, version: str) -> tuple[Manifest, Path]:
    trained = proposals.trained(context.home / "data" / "jobs", model)
    try:
        wanted = version or proposals.newest(trained, model)
        if wanted not in trained:
            known = ", ".join(sorted(trained, key=int)) or "none"
            raise CommandFailed(
                f"version {wanted} of {model} was not trained in stack {context.stack}; known are: {known}"
            )
        with context.http("registry") as http:
            manifest = proposals.propose(
                trained[wanted],
                lambda path: _fetched(http, path),
                _demo_keys(context),
                proposals.git_commit(PROJECT),
            )
    except proposals.ProposalError as error:
        raise CommandFailed(str(error)) from None
    file = manifest_file(PROJECT, model, wanted)
    if file.is_file():
        earlier = _read(file)
        if approvals.manifest_digest(earlier) == approvals.manifest_digest(_unsigned_like(manifest, earlier)):
            manifest = earlier  # the same release: its approvals stay
    return manifest, write_manifest(PROJECT, manifest.to_json())


def _unsigned_like(manifest: Manifest, earlier: Manifest) -> Manifest:
    """The manifest with the earlier one's signature: signing again gives another value for the same thing."""
    return manifest.model_copy(update={"signature": earlier.signature})


def _fetched(http: Any, path: str) -> Any:
    response = http.get(path)
    if not response.is_success:
        raise proposals.ProposalError(f"the registry answers {response.status_code} for {path}: {response.text[:300]}")
    return response.json()


def approve(
    model: ModelArgument,
    version: VersionOption = "",
    role: Annotated[str, typer.Option("--role", help="model-owner, model-risk, platform or security.")] = "model-owner",
    key: Annotated[
        str, typer.Option("--key", help="SSH private key, or the .pub file of one in an agent; default: the demo key.")
    ] = "",
    principal: Annotated[str, typer.Option("--as", help="Who you are in the trust root; needed with --key.")] = "",
    trust_root: Annotated[
        str, typer.Option("--trust-root", help="Trust root that holds the key; default: the environment's.")
    ] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How long the approval holds.")] = 180,
    comment: Annotated[str, typer.Option("--comment", "-m", help="What you looked at.")] = "",
    stack: StackOption = DEFAULT_STACK,
    as_json: JsonOption = False,
) -> None:
    """Approve a proposed version: sign its manifest with an SSH key. Who trained it can't."""
    context = _with_model(stack, model)
    file = _proposed(model, version)
    manifest = _read(file)
    try:
        who, signer = _approver(context, role, key, principal)
        now = datetime.now(UTC).replace(microsecond=0)
        statement = Statement(
            principal=who,
            role=role,
            environments=(context.settings.environment,),
            approved_at=now,
            expires_at=now + timedelta(days=days),
            trust_root=trust_root or context.settings.environment,
            comment=comment,
        )
        given = approvals.approve(manifest, statement, signer)
    except key_files.KeyFileError as error:
        raise CommandFailed(str(error)) from None
    except ValueError as error:
        raise CommandFailed(f"this approval can't be: {error}", exit_code=2) from None
    if who.casefold() == manifest.trained_by.casefold():
        raise CommandFailed(f"{who} trained version {manifest.version} of {model} and can't approve it")
    manifest = approvals.with_approval(manifest, given)
    write_manifest(PROJECT, manifest.to_json())
    _tell_controller(context, manifest, given)
    _manifest_said(manifest, file, as_json)


def _approver(context: Context, role: str, key: str, principal: str) -> tuple[str, key_files.Signer]:
    if key:
        if not principal:
            raise CommandFailed("--key needs --as: who you are in the trust root", exit_code=2)
        path = Path(key).expanduser()
        if path.suffix == ".pub":
            return principal, key_files.program_signer(path)
        return principal, key_files.key_signer(key_files.read_private_key(path))
    people = {one.role: one for one in _demo_keys(context).approvers}
    if role not in people:
        raise CommandFailed(
            f"there is no demo key for the role {role!r}; there are: {', '.join(map(str, people))}",
            hint="name your own key: --key FILE --as NAME",
            exit_code=2,
        )
    return people[role].principal, key_files.key_signer(key_files.read_private_key(people[role].key))


def _tell_controller(context: Context, manifest: Manifest, given: Approval) -> None:
    """Hand an approval to the controller; one that does not know the manifest yet gets both with the release."""
    try:
        with Control(context) as control:
            if control.knows(manifest.model):
                body = {"digest": manifest.digest, "approval": given.to_json()}
                control.ask("POST", f"/v1/models/{manifest.model}/approvals", body)
                say(f"told the controller of stack {context.stack}")
    except CommandFailed:
        say("the controller hears of this approval with the release")


def _demo_keys(context: Context) -> key_files.DemoKeys:
    if context.settings.target != "local":
        raise CommandFailed("demo keys are for the target local only", hint="name your own key: --key FILE --as NAME")
    return key_files.make_demo_keys(context.home / "data" / "keys", context.settings.environment)


def _proposed(model: str, version: str) -> Path:
    folder = manifest_file(PROJECT, model, "1").parent
    known = sorted((path.stem for path in folder.glob("*.yaml") if path.stem.isdigit()), key=int)
    wanted = version or (known[-1] if known else "")
    if wanted not in known:
        listed = ", ".join(known) or "none"
        raise CommandFailed(
            f"no manifest of {model}{f' version {wanted}' if wanted else ''}; proposed are: {listed}",
            hint=f"run: ./mlops release propose {model}",
        )
    return manifest_file(PROJECT, model, wanted)


def _read(file: Path) -> Manifest:
    try:
        return Manifest.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CommandFailed(f"{file} is no manifest: {error}") from None


def _manifest_said(manifest: Manifest, file: Path, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(file), "manifest": manifest.to_json()})
        return
    given = ", ".join(f"{one.principal} ({one.role}, until {one.expires_at:%Y-%m-%d})" for one in manifest.approvals)
    print_table(
        f"Release of {manifest.model}",
        ["what", ""],
        [
            ("version", manifest.version),
            ("digest", manifest.digest),
            ("risk tier", manifest.risk_tier),
            ("trained by", manifest.trained_by),
            ("approvals", given or f"none yet: ./mlops release approve {manifest.model} --version {manifest.version}"),
            ("manifest", file.relative_to(PROJECT)),
        ],
    )


def revert(
    model: ModelArgument,
    stack: StackOption = DEFAULT_STACK,
    as_json: JsonOption = False,
) -> None:
    """Pin the version that is really served in the stack's file, so that the stack states what is true again."""
    context = _with_model(stack, model)
    with Control(context) as control:
        served = control.model(model).get("served") or {}
    if not served.get("version"):
        raise CommandFailed(f"no version of {model} is served, so there is nothing to pin")
    version = str(served["version"])
    file = manifest_file(PROJECT, model, version)
    if not file.is_file():
        _propose(context, model, version)
    if _read(file).digest != served.get("digest"):
        raise CommandFailed(f"{file} is of another artifact than version {version} that is served: mend or remove it")
    try:
        changed = pins.set_version(context.stack_file.read_text("utf-8"), model, f'"{version}"')
    except pins.PinError as error:
        raise CommandFailed(f"{context.stack_file}: {error}") from None
    context.stack_file.write_text(changed, encoding="utf-8")
    if as_json:
        print_json({"model": model, "version": version, "file": str(context.stack_file), "manifest": str(file)})
        return
    say(f"{model} is pinned to version {version} in {context.stack_file.relative_to(PROJECT)}")
    say(f"commit it with {file.relative_to(PROJECT)}; then `./mlops up {stack}` has nothing to do for it")


def _with_model(stack: str, model: str) -> Context:
    context = Context(stack)
    if model not in context.settings.models:
        known = ", ".join(sorted(context.settings.models)) or "none"
        raise CommandFailed(f"stack {stack} has no model {model!r}; it has: {known}", exit_code=2)
    return context
