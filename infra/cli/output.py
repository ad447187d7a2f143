"""What the command line prints, and how it ends.

One rule for every command: the answer goes to standard output (one JSON document with `--json`), everything else
(progress, hints, errors) to standard error. Exit code 0 done, 1 failed or refused, 2 wrong usage.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class CommandFailed(Exception):  # noqa: N818 - it is an outcome, told to a person, not a fault in the program
    """The thing that was asked for failed or was refused; the message says what, where and how to mend it."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code


def say(message: str) -> None:
    """Tell a person how it goes, on standard error."""
    err.print(escape(message))


def print_json(document: Any) -> None:
    """Print the one JSON document of a `--json` run on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, default=str) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows as a table on standard output; the words of a cell are never read as markup."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) if cell is not None else "" for cell in row))
    out.print(table)


def fail(error: CommandFailed) -> NoReturn:
    """Print the failure for a person and leave with its exit code."""
    err.print(f"[bold red]error:[/] {escape(str(error))}")
    if error.hint:
        err.print(f"  {escape(error.hint)}")
    raise SystemExit(error.exit_code)
