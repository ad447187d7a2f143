"""Whether a resource that holds state may be deleted: by a waiver in the stack's file, or by two people.

The review sees deletions in the plan. This is asked at the moment itself, so that what the plan did not show (a
`destroy`, a resource taken out by `pulumi state`, a preview that was skipped) is not deleted unseen either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from policies.gates.decision import GateClosedError, Question, by_people
from policies.gates.files import GateFileError, gate_folder, read_break_glass
from policies.plan import name_of
from policies.stateful import KEPT_IN, STATEFUL
from policies.waivers import FILE, Waiver, WaiverError, read_waivers

RULE: Final = "rollback.state-kept"
"""The rule that says the same of a plan; a waiver of it allows the deletion."""


class DeletionRefusedError(Exception):
    """What holds state is not deleted; the text says what would allow it."""


def kept(kind: str, question: Question) -> bool:
    """Return whether a type of resource is kept in an environment."""
    return kind in STATEFUL and question.environment in KEPT_IN


def allowed_by(urn: str, question: Question, waivers: Sequence[Waiver], now: datetime) -> Waiver | None:
    """Return the waiver in force that allows a deletion, None where there is none."""
    for one in waivers:
        if one.covers(RULE, question.stack, urn) and now.date() <= one.expires:
            return one
    return None


def require_allowed(
    urn: str, kind: str, question: Question, project: Path, now: datetime, environ: Mapping[str, str] | None = None
) -> str:
    """Return by what a deletion is allowed, in words.

    Args:
        urn: the resource.
        kind: its type token.
        question: what the gate of the stack was asked.
        project: the project's folder.
        now: the time.
        environ: variables of the environment; this process's unless stated.

    Raises:
        DeletionRefusedError: it is not allowed.
    """
    why = ""
    try:
        waiver = allowed_by(urn, question, read_waivers(project / FILE), now)
        if waiver is not None:
            return f"waiver of {waiver.owner}: {waiver.reason}"
    except WaiverError as error:
        why = f" {error}."
    try:
        statement = read_break_glass(gate_folder(project, question.stack, environ))
        if statement is not None:
            found = by_people(question, statement, now)
            return f"break-glass of {' and '.join(found.people)}: {found.reason}"
    except (GateClosedError, GateFileError) as error:
        why += f" The break-glass statement does not hold: {error}."
    raise DeletionRefusedError(
        f"{name_of(urn)} is not deleted, and {STATEFUL[kind].holds} with it: a waiver of {RULE} for it in {FILE} would "
        f"allow that, or `./mlops gate break-glass {question.stack}` by two people.{why}"
    )
