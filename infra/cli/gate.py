"""`mlops gate …`: have the policies judge a stack, break the glass with two names, see what would open its gate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.context import PROJECT, Context
from infra.cli.output import CommandFailed, out, print_json, print_table, say
from infra.engine.tools import ensure
from policies.facts import environment_kind
from policies.gates.breakglass import LONGEST

if TYPE_CHECKING:
    from components.gate import GateArgs
    from infra.gating.assessment import Assessment
    from policies.gates.verdict import Answered, Verdict

gate_app = typer.Typer(
    name="gate", help="What lets a staging or prod environment be changed: verdicts and break-glass.",
    no_args_is_help=True,
)  # fmt: skip

StackArgument = Annotated[str, typer.Argument(help="Stack: the part of stacks/Pulumi.<stack>.yaml between the dots.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    gate_app.command()(check)
    gate_app.command(name="break-glass")(break_glass)
    gate_app.command()(show)
    app.add_typer(gate_app)


def check(stack: StackArgument, as_json: JsonOption = False) -> None:
    """Have the policies judge what `up` would do, ask what they leave open, and write the verdict. Changes nothing."""
    context = Context(stack)
    context.settings  # noqa: B018 - a bad setting stops here
    ensure("pulumi", say)
    assessment = assessed(context)
    document = _document(context, assessment)
    if as_json:
        print_json(document)
    else:
        for line in _lines(document):
            out.print(line, markup=False)
    if document["stops"] and (document.get("passage") or {}).get("by") != "break-glass":
        raise CommandFailed(f"the policies do not pass stack {stack}: {len(document['stops'])} things stop it")


def before_up(context: Context) -> None:
    """Refuse an `up` that the policies stop, before anything is created or changed.

    A local environment is not kept waiting: what was judged today is not judged again while no file differs.

    Raises:
        CommandFailed: they stop it, or the gate would not open.
    """
    from infra.gating.repeated import files_digest, judged_today, remember
    from policies.gates.files import gate_folder
    from policies.pack.servicer import clock

    settings, now = context.settings, clock()
    local = environment_kind(settings.environment, settings.target, settings.gates.kind) == "local"
    folder, digest = gate_folder(PROJECT, context.stack), files_digest(PROJECT, context.stack) if local else ""
    if local and judged_today(folder, digest, now):
        return
    _judge(context)
    if local:
        remember(folder, digest, now)


def _judge(context: Context) -> None:
    assessment = assessed(context)
    document = _document(context, assessment)
    passage = document.get("passage")
    for line in _lines(document):
        say(line)
    if passage and passage["by"] == "break-glass":
        say(f"BREAK-GLASS: {' and '.join(passage['people'])} answer for changing {context.stack}: {passage['reason']}")
        return
    if document["stops"]:
        raise CommandFailed(
            f"stack {context.stack} is left as it is: {len(document['stops'])} things stop it, listed above",
            hint="mend them, or have a named person answer for one in stacks/waivers.yaml (docs/policies.md)",
        )
    if document["closed"]:
        raise CommandFailed(
            f"stack {context.stack} is left as it is: its gate would stay closed: {document['closed']}",
            hint="name the key that signs verdicts by MLOPS_GATE_KEY (docs/policies.md)",
        )


def assessed(context: Context) -> Assessment:
    """Preview a stack with the policies."""
    from infra.gating.assessment import assess
    from policies.pack.servicer import clock
    from policies.rules import all_rules

    say(f"stack {context.stack}: the policies judge what `up` would do")
    return assess(context.engine, PROJECT, all_rules(), clock())


def _document(context: Context, assessment: Assessment) -> dict[str, Any]:
    """Write the verdict of a gated environment; return what there is to say."""
    from infra.gating.verdicts import gated, passage, write_verdict
    from policies.gates.decision import GateClosedError
    from policies.gates.files import GateFileError, gate_folder
    from policies.pack.servicer import clock

    evaluation = assessment.evaluation
    document: dict[str, Any] = {
        "stack": context.stack,
        "environment": assessment.facts.environment,
        "commit": assessment.facts.commit,
        "configuration": assessment.facts.configuration,
        "operations": dict(assessment.operations),
        "counts": dict(evaluation.counts),
        "findings": [one.to_json() for one in evaluation.findings if one.level != "off"],
        "deferred": [],
        "stops": [],
        "closed": "",
    }
    if not gated(assessment):
        from policies.gates.verdict import stop_of

        document["stops"] = [stop_of(one).to_json() for one in evaluation.findings if one.stops]
        return document
    folder, now = gate_folder(PROJECT, context.stack), clock()
    verdict = write_verdict(assessment, deferred(context, assessment), folder, now)
    document["deferred"] = [one.to_json() for one in verdict.deferred]
    document["stops"] = stopped(verdict)
    document["verdict"] = {"outcome": verdict.outcome, "signed": verdict.signature is not None}
    try:
        found = passage(assessment, folder, now)
        document["passage"] = {"by": found.by, "people": list(found.people), "reason": found.reason}
    except (GateClosedError, GateFileError) as error:
        document["closed"] = str(error)
    return document


def stopped(verdict: Verdict) -> list[dict[str, Any]]:
    """What stops a verdict: rules, and questions that were not answered well."""
    found: list[dict[str, Any]] = [one.to_json() for one in verdict.stops]
    found += [
        {"rule": one.rule, "subject": one.subject, "text": f"[{one.answer}] {one.text}"}
        for one in verdict.deferred
        if one.stops
    ]
    return found


def deferred(context: Context, assessment: Assessment) -> list[Answered]:
    """Ask what the rules left to the account and to the rollout controller."""
    from infra.gating.checks import answers, controller_checks, quota_check

    def client() -> Any:
        import boto3

        aws = context.settings.aws
        return boto3.client("service-quotas", region_name=aws.region if aws else None)

    checks = {"quota": quota_check(client), **controller_checks(lambda: _control(context))}
    return answers(assessment.evaluation.findings, checks)


def _control(context: Context) -> Mapping[str, Any] | None:
    """How the rollout controller of an environment is reached; None where the environment is not there."""
    stack = Context(context.settings.foundation) if context.settings.foundation else context
    stated = (stack.engine.outputs(show_secrets=True).get("endpoints") or {}).get("control")
    if not stated:
        return None
    proxy = {name: stated[name] for name in ("cluster", "region", "authority") if stated.get(name)}
    return {"url": stated["url"], "token": stated["token"], **({"proxy": proxy} if proxy else {})}


def _lines(document: Mapping[str, Any]) -> list[str]:
    operations = ", ".join(f"{count} to {what}" for what, count in document["operations"].items() if what != "same")
    counts = ", ".join(f"{count} {status}" for status, count in document["counts"].items())
    lines = [f"  plan: {operations or 'no changes'}", f"  policies: {counts}"]
    lines += [
        f"  asked: {one['rule']} ({one['subject']}): [{one['answer']}] {one['text']}" for one in document["deferred"]
    ]
    for one in document["stops"]:
        lines.append(f"  STOPS: {one['rule']} ({one['subject']}): {one['text']}")
        if one.get("fix"):
            lines.append(f"         to mend it: {one['fix']}")
    if passage := document.get("passage"):
        lines.append(f"  gate: opens by {passage['by']} of {' and '.join(passage['people'])}")
    elif document["closed"]:
        lines.append(f"  gate: stays closed: {document['closed']}")
    return lines


def break_glass(
    stack: StackArgument,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why there is no time for the policies.")] = "",
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=24, help="How long it holds.")] = 4,
    as_json: JsonOption = False,
) -> None:
    """Answer with your name for changing a stack without a passing verdict. Two people sign the same statement.

    The first states the reason; the second runs the command without one, on the same files (`gate show` names them).
    The key is named by MLOPS_GATE_KEY.
    """
    from infra.gating.verdicts import identity
    from policies.gates.breakglass import NAMESPACE, PEOPLE, witnessed
    from policies.gates.files import break_glass_file, gate_folder, write

    context = Context(stack)
    args, now = _gate(context), _clock()
    folder = gate_folder(PROJECT, stack)
    who = identity(NAMESPACE, args.trust_root, args.allowed_signers)
    if who is None:
        raise CommandFailed(
            "name your key by MLOPS_GATE_KEY: its file, or the .pub file of one in an agent", exit_code=2
        )
    statement = _statement(context, args, folder, reason, timedelta(hours=hours), now)
    statement = witnessed(statement, who.principal, who.signer)
    write(break_glass_file(folder), statement)
    names = [one.principal for one in statement.witnesses]
    if as_json:
        print_json(statement.to_json())
    say(
        f"stack {stack}, commit {statement.commit}: signed by {' and '.join(names)} until "
        f"{statement.expires_at:%Y-%m-%dT%H:%MZ}: {statement.reason}"
    )
    if len(names) < PEOPLE:
        say(
            f"one more name is needed: `./mlops gate break-glass {stack}` by somebody else ({break_glass_file(folder)})"
        )


def _statement(context: Context, args: GateArgs, folder: Path, reason: str, lasts: timedelta, now: datetime) -> Any:
    """The statement that lies there, where it is the one that is meant, or a new one."""
    from pydantic import ValidationError

    from policies.gates.breakglass import BreakGlass
    from policies.gates.files import GateFileError, read_break_glass

    try:
        there = read_break_glass(folder)
    except GateFileError as error:
        raise CommandFailed(str(error)) from None
    usable = there is not None and there.commit == args.commit and there.stack == args.stack and now < there.expires_at
    if there is not None and usable and reason in ("", there.reason):
        return there
    if not reason:
        raise CommandFailed("say why: --reason TEXT (there is no statement to join)", exit_code=2)
    if not args.commit:
        raise CommandFailed("the project is of no commit: break the glass in a git checkout")
    try:
        return BreakGlass(
            stack=context.stack, commit=args.commit, reason=reason, made_at=now,
            expires_at=now + min(lasts, LONGEST), trust_root=args.trust_root,
        )  # fmt: skip
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise CommandFailed(f"this statement can't be: {said}", exit_code=2) from None


def show(stack: StackArgument, as_json: JsonOption = False) -> None:
    """Show what lies at the gate of a stack, and each time that it was opened from here."""
    from policies.gates.files import (
        GateFileError,
        break_glass_file,
        gate_folder,
        read_break_glass,
        read_verdict,
        verdict_file,
    )
    from policies.gates.record import open_ledger

    args = _gate(Context(stack))
    folder = gate_folder(PROJECT, stack)
    try:
        verdict, statement = read_verdict(folder), read_break_glass(folder)
    except GateFileError as error:
        raise CommandFailed(str(error)) from None
    opened = [
        {"at": one.time, "by": one.kind, "person": one.person}
        for one in (open_ledger(folder).entries() if folder.exists() else ())
    ]
    document = {
        "stack": stack, "environment": args.environment, "commit": args.commit, "trustRoot": args.trust_root,
        "verdict": verdict.to_json() if verdict else None,
        "breakGlass": statement.to_json() if statement else None, "opened": opened,
    }  # fmt: skip
    if as_json:
        print_json(document)
        return
    rows: list[tuple[str, Any]] = [("environment", args.environment), ("commit", args.commit or "none")]
    rows.append(("verdict", _verdict_said(verdict, verdict_file(folder))))
    if statement:
        names = " and ".join(one.principal for one in statement.witnesses)
        rows.append(("break-glass", f"{names}, until {statement.expires_at:%Y-%m-%dT%H:%MZ}: {statement.reason}"))
    else:
        rows.append(("break-glass", f"none ({break_glass_file(folder)})"))
    rows += [("opened", f"{one['at']} {one['by']} by {one['person']}") for one in opened]
    print_table(f"Gate of stack {stack}", ["what", ""], rows)


def _verdict_said(verdict: Verdict | None, file: Path) -> str:
    if verdict is None:
        return f"none ({file})"
    signed = f"signed by {verdict.principal}" if verdict.signature else "not signed"
    return f"{verdict.outcome}, {signed}, of commit {verdict.commit}, until {verdict.expires_at:%Y-%m-%dT%H:%MZ}"


def _gate(context: Context) -> GateArgs:
    from infra.facts import commit_of, gate_args

    return gate_args(context.settings, project=PROJECT, stack=context.stack, commit=commit_of(PROJECT))


def _clock() -> datetime:
    from policies.pack.servicer import clock

    return clock().replace(microsecond=0)
