"""Break-glass: two people answer with their names for a change that the policies did not pass, for some hours.

It is of one stack and one commit, says why, and ends within a day. Both sign the same statement; the names must differ,
and so must the keys.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from policies.gates.verdict import GateCommit, StackName, TrustRootName
from policies.releases.keys import Signer
from policies.releases.manifest import Principal, SshSignature
from policies.releases.record import Record, Time, canonical

NAMESPACE = "mlops-gate:break-glass"
"""What a key must be trusted for, in a file of allowed signers."""
LONGEST = timedelta(hours=24)
PEOPLE = 2


class Witness(Record):
    """One of those who answer for it."""

    principal: Principal
    signature: SshSignature


class BreakGlass(Record):
    """The statement with the signatures that it has so far."""

    schema_version: Literal["1"] = "1"
    stack: StackName
    commit: GateCommit
    reason: Annotated[str, StringConstraints(min_length=10, max_length=2000)]
    made_at: Time
    expires_at: Time
    trust_root: TrustRootName
    witnesses: Annotated[tuple[Witness, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _is_short(self) -> BreakGlass:
        if not self.made_at < self.expires_at <= self.made_at + LONGEST:
            raise ValueError(f"it must expire within {LONGEST} after it was made")
        return self

    @property
    def digest(self) -> str:
        """The digest of what they state."""
        body = self.to_json()
        body.pop("witnesses", None)
        return "sha256:" + hashlib.sha256(canonical(body)).hexdigest()


def signed_bytes(statement: BreakGlass, principal: str) -> bytes:
    """Return the bytes that one of them signs: the statement without signatures, and their name."""
    body = statement.to_json()
    body.pop("witnesses", None)
    return canonical({"breakGlass": body, "principal": principal})


def witnessed(statement: BreakGlass, principal: str, signer: Signer) -> BreakGlass:
    """Return the statement with one more signature, in place of an earlier one of the same name."""
    witness = Witness(principal=principal, signature=signer(NAMESPACE, signed_bytes(statement, principal)))
    others = tuple(one for one in statement.witnesses if one.principal != principal)
    return statement.model_copy(update={"witnesses": (*others, witness)})
