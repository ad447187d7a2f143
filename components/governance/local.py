"""Governance on one machine: a SQLite ledger and a folder of checkpoints, both kept when the environment goes down."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.governance import Governance, GovernanceArgs
from components.site import Site


@dataclass(frozen=True, kw_only=True)
class LocalGovernanceArgs(GovernanceArgs):
    """What local governance needs besides."""

    site: Site


class LocalGovernance(Governance):
    """The places on disk; who writes first makes the files."""

    def __init__(self, name: str, args: LocalGovernanceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:governance:LocalGovernance", name, opts)
        self.register(
            ledger_url=f"sqlite:///{args.site.data('ledger', 'ledger.db')}",
            audit_directory=args.site.data("ledger", "checkpoints"),
        )
