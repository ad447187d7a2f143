"""The place of the ledger and of audit records. This is its contract; realisations lie beside it."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import Output

from components.component import Component


@dataclass(frozen=True, kw_only=True)
class GovernanceArgs:
    """What governance is made with; nothing is common to all targets."""


class Governance(Component):
    """Where an environment keeps what must be provable later."""

    ledger_url: Output[str]
    """Database address of the ledger."""
    audit_directory: Output[str]
    """Where signed checkpoints of the ledger are put, away from its database."""
