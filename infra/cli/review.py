"""`mlops review`: what a change would do to each stack that it touches, and whether it may be merged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.cli import context
from infra.cli.output import CommandFailed, print_json, say
from policies.report.document import Review


def register(app: typer.Typer) -> None:
    """Add this group's command."""
    app.command()(review)


def review(
    stacks: Annotated[
        list[str] | None, typer.Argument(help="Stacks; without any, those that the change touches.", metavar="[STACK]…")
    ] = None,
    base: Annotated[str, typer.Option("--base", help="Commit or branch that it is compared with.")] = "main",
    head: Annotated[
        str, typer.Option("--head", help="Commit or branch that is reviewed, instead of the files that are there.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="File for the comment in Markdown.")] = None,
    sarif: Annotated[Path | None, typer.Option("--sarif", help="File for the findings as SARIF.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="File for the findings as JUnit XML.")] = None,
    now: Annotated[str, typer.Option("--now", help="Time that counts as now, as 2026-11-20T09:00:00+00:00.")] = "",
) -> None:
    """Plan a change without an account, judge it, and say whether it may be merged. Exit code 1 when it may not."""
    from infra.engine.tools import ensure

    time = _time(now)
    if head:
        files = {"--markdown": markdown, "--sarif": sarif, "--junit": junit}
        options = [each for name, file in files.items() if file for each in (name, str(file.absolute()))]
        options += ["--json"] if as_json else []
        raise typer.Exit(_elsewhere(head, base, [*(stacks or []), *options, "--now", time.isoformat()]))
    _known(stacks or [])
    ensure("pulumi", say)
    found = _made(stacks or [], base, time)
    _write(found, markdown, sarif, junit)
    if as_json:
        print_json(found.to_json())
    else:
        from policies.report import markdown as rendered

        typer.echo(rendered.render(found))
    if not found.may_merge:
        count = len(found.obstacles)
        raise CommandFailed(
            f"this must not be merged: {found.obstacles[0]}" + (f" (and {count - 1} more)" if count > 1 else ""),
            hint="`./mlops policies explain RULE` says what a rule asks and why",
        )


def _elsewhere(head: str, base: str, arguments: list[str]) -> int:
    from infra.review.changes import ChangeError
    from infra.review.elsewhere import review_of

    try:
        return review_of(context.PROJECT, head, base, arguments)
    except ChangeError as error:
        raise CommandFailed(str(error), exit_code=2) from None


def _made(stacks: list[str], base: str, time: datetime) -> Review:
    from infra.review.run import review as reviewed

    try:
        from policies.rules import all_rules

        rules = all_rules()
    except Exception as error:  # noqa: BLE001 - a rule is code of the change: whatever it raises stops the gate
        return Review(
            base=base, head="", made_at=time.isoformat(),
            error=f"the rules cannot be loaded: {type(error).__name__}: {error}",
        )  # fmt: skip
    return reviewed(context.PROJECT, base, time, rules, stacks, say)


def _write(found: Review, markdown: Path | None, sarif: Path | None, junit: Path | None) -> None:
    from infra.review.run import stack_texts
    from policies.report import junit as as_junit
    from policies.report import markdown as as_markdown
    from policies.report import sarif as as_sarif
    from policies.report.places import places_of

    if markdown:
        _save(markdown, as_markdown.render(found))
    if junit:
        _save(junit, as_junit.render(found))
    if sarif:
        texts = stack_texts(context.PROJECT)
        places = {key: place for stack in found.stacks for key, place in places_of(stack, texts).items()}
        try:
            from policies.rules import all_rules

            rules = all_rules()
        except Exception:  # noqa: BLE001 - the review says so already
            rules = ()
        _save(sarif, as_sarif.render(found, rules, places))


def _save(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}", exit_code=2) from None


def _known(stacks: list[str]) -> None:
    there = sorted(path.name.split(".")[1] for path in (context.PROJECT / "stacks").glob("Pulumi.*.yaml"))
    for stack in stacks:
        if stack not in there:
            raise CommandFailed(f"there is no stack {stack!r}; there are: {', '.join(there)}", exit_code=2)


def _time(now: str) -> datetime:
    if not now:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(now)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise CommandFailed(f"--now {now!r} is no time with a zone, as 2026-11-20T09:00:00+00:00", exit_code=2)
    return found
