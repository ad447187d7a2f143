"""`mlops feedback`: tell what turned out to be true of predictions, by the ids that their answers carried."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.context import DEFAULT_STACK, Context
from infra.cli.models import answer
from infra.cli.output import CommandFailed, print_json, say

_AT_ONCE = 1_000
"""Labels sent in one request."""


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(feedback)


def feedback(
    model: Annotated[str, typer.Argument(help="Name of the model, as in the stack's settings.")],
    identifier: Annotated[str, typer.Option("--id", help="Id of a prediction: `id` in what `predict` prints.")] = "",
    label: Annotated[
        str, typer.Option("--label", help="What turned out to be true: a value as JSON, or a list with one per row.")
    ] = "",
    file: Annotated[
        str, typer.Option("--file", help='JSON Lines, {"id": …, "label": …} each; - reads standard input.')
    ] = "",
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack that serves the model.")] = DEFAULT_STACK,
) -> None:
    """Tell what turned out to be true of predictions, and print how many labels are new, as JSON.

    A label counts once: sending it again is harmless, another label for the same prediction is refused.
    """
    if bool(file) == bool(identifier or label) or bool(identifier) != bool(label):
        raise CommandFailed(
            "expected either --id and --label, or --file",
            hint="for example: ./mlops feedback flight-delay --id 5f0c… --label 1",
            exit_code=2,
        )
    entries = iter_file(file) if file else iter([{"id": identifier, "label": read_label(label)}])
    total = {"accepted": 0, "known": 0}
    with Context(stack).http("inference") as http:
        for part in _parts(entries):
            try:
                found = answer(http, "POST", f"/v2/models/{model}/feedback", {"labels": part})
            except CommandFailed:
                if sum(total.values()):
                    say(f"{total['accepted']} labels were taken before that; sending all of them again is harmless")
                raise
            total = {name: count + found[name] for name, count in total.items()}
    print_json({"model": model, **total})


def read_label(text: str) -> Any:
    """Return what a person typed as a label: JSON where it is some, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def iter_file(name: str) -> Iterator[dict[str, Any]]:
    """Read labels from JSON Lines.

    Raises:
        CommandFailed: the file cannot be read, or a line is no label; the message names the line.
    """
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--file {name}: {getattr(error, 'strerror', None) or error}", exit_code=2) from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise CommandFailed(f"{name}, line {number} is not JSON: {error.msg}", exit_code=2) from error
        if not isinstance(entry, dict) or not {"id", "label"} <= entry.keys() <= {"id", "label", "row"}:
            raise CommandFailed(
                f'{name}, line {number}: expected {{"id": …, "label": …}}, and "row" for one row of several',
                exit_code=2,
            )
        yield entry


def _parts(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Collect entries for one request each; an entry with labels of many rows counts for as many."""
    part: list[dict[str, Any]] = []
    labels = 0
    for entry in entries:
        size = len(entry["label"]) if isinstance(entry["label"], list) else 1
        if part and labels + size > _AT_ONCE:
            yield part
            part, labels = [], 0
        part.append(entry)
        labels += size
    if part:
        yield part
