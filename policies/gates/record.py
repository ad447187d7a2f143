"""The gate's entries in the ledger: each time that it opens, by whose verdict or whose names.

The gate opens before there is an environment, so that its ledger is one of its own: a database in the gate's folder, or
the one that `MLOPS_GATE_LEDGER` names by an SQLAlchemy address, which several machines can share. Apart from the
decision, since SQLAlchemy takes its time to load.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from policies.gates.decision import Passage

if TYPE_CHECKING:
    from policies.ledger.store import Ledger

URL = "MLOPS_GATE_LEDGER"
"""Variable of the environment with the address of the ledger. Addresses may hold passwords: never an argument."""


class LedgerUnavailableError(Exception):
    """The ledger cannot be written, so nothing may be let through."""


def open_ledger(folder: Path, environ: Mapping[str, str] | None = None) -> Ledger:
    """Return the gate's ledger.

    Args:
        folder: the gate's folder, which holds it where no other is named.
        environ: variables of the environment; this process's unless stated.
    """
    from policies.ledger.store import Ledger, open_engine

    stated = (os.environ if environ is None else environ).get(URL)
    if not stated:
        folder.mkdir(parents=True, exist_ok=True)
    return Ledger(open_engine(stated or f"sqlite:///{(folder / 'ledger.db').resolve()}"))


def record_passage(
    passage: Passage,
    stack: str,
    commit: str,
    configuration: str,
    folder: Path,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Write that a gate opened.

    Raises:
        LedgerUnavailableError: it could not be written.
    """
    import sqlalchemy

    from policies.ledger.events import AdministrativeAccess, AnyEvent, PolicyVerdict
    from policies.ledger.refusal import SecretRefusedError, redact
    from policies.ledger.store import LedgerDamagedError
    from policies.ledger.writer import AppendError, GroupWriter

    evidence = {"configuration": configuration, "signed": passage.digest, "expires": passage.expires.isoformat()}
    events: list[AnyEvent] = [
        PolicyVerdict(
            person=person, rule="gate", subject=stack, commit=commit,
            verdict="passed" if passage.by == "verdict" else "waived",
            reasons=(redact(passage.reason),) if passage.reason else (), evidence=dict(evidence),
        )
        for person in passage.people
    ]  # fmt: skip
    if passage.by == "break-glass":
        events += [
            AdministrativeAccess(
                person=person, action="break-glass", resource=stack, outcome="allowed", reason=redact(passage.reason)
            )
            for person in passage.people
        ]
    try:
        GroupWriter(open_ledger(folder, environ)).append(events)
    except (sqlalchemy.exc.SQLAlchemyError, LedgerDamagedError, AppendError, SecretRefusedError, OSError) as error:
        cause = error.__cause__ or error
        raise LedgerUnavailableError(
            f"its ledger cannot be written ({type(cause).__name__}); what opens a gate must be on record"
        ) from None
