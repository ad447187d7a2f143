"""A verdict: what the policies said of one stack at one commit and configuration, signed by who had them asked.

The signature covers everything but itself, so that neither an outcome nor a date can be changed afterwards. A verdict
that did not pass is written too, unsigned: it says what stops the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from policies.evaluation import Evaluation, Finding
from policies.facts import EnvironmentKind
from policies.plan import name_of
from policies.releases.keys import Signer
from policies.releases.manifest import Principal, SshSignature
from policies.releases.record import Digest, Record, Time, canonical

NAMESPACE = "mlops-gate:verdict"
"""What a key must be trusted for, in a file of allowed signers."""
LIFETIME = timedelta(hours=24)
"""How long a verdict holds. Quotas, quarantines and waivers change; a plan is not good for ever."""

GateCommit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})(-dirty)?$")]
TrustRootName = Annotated[str, StringConstraints(min_length=1, max_length=60)]
StackName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Stop(Record):
    """One thing that stops the change."""

    rule: str
    subject: str
    text: str
    fix: str = ""


class Answered(Record):
    """A question that only the account or the control plane could answer, with the answer.

    `unanswered` stops as `failed` does: nobody knows.
    """

    rule: str
    subject: str
    check: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    mandatory: bool = True
    answer: Literal["passed", "failed", "unanswered"]
    text: str = ""

    @property
    def stops(self) -> bool:
        """Whether it stops the change."""
        return self.mandatory and self.answer != "passed"


class Verdict(Record):
    """A verdict; `signature` is None until it is signed.

    `policies` is the digest of what it was judged by, `registered` the number of rules that there are, `asked` of those
    that were asked.
    """

    schema_version: Literal["1"] = "1"
    stack: StackName
    environment: EnvironmentKind
    commit: GateCommit
    configuration: Digest
    policies: Digest
    outcome: Literal["passed", "failed"]
    registered: Annotated[int, Field(ge=0)]
    asked: Annotated[int, Field(ge=0)]
    counts: dict[str, int]
    stops: tuple[Stop, ...] = ()
    waived: tuple[str, ...] = ()
    deferred: tuple[Answered, ...] = ()
    made_at: Time
    expires_at: Time
    trust_root: TrustRootName
    principal: Principal | None = None
    signature: SshSignature | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Verdict:
        clean = not self.stops and not any(one.stops for one in self.deferred) and self.asked >= self.registered
        if (self.outcome == "passed") != clean:
            raise ValueError(f"outcome {self.outcome} does not go with what it lists")
        if not self.made_at < self.expires_at <= self.made_at + LIFETIME:
            raise ValueError(f"it must expire within {LIFETIME} after it was made")
        return self

    @property
    def digest(self) -> str:
        """The digest of what is signed."""
        return "sha256:" + hashlib.sha256(signed_bytes(self)).hexdigest()


def signed_bytes(verdict: Verdict) -> bytes:
    """Return the bytes that a signature covers: the verdict without it, and what it is."""
    body = verdict.to_json()
    body.pop("signature", None)
    return canonical({"verdict": body})


def verdict_of(
    evaluation: Evaluation,
    judged: Mapping[str, str],
    *,
    registered: Sequence[str],
    deferred: Sequence[Answered],
    trust_root: str,
    now: datetime,
) -> Verdict:
    """Return the verdict that follows from an evaluation.

    Args:
        evaluation: what came of asking all rules, rules about steps included.
        judged: stack, environment, commit, configuration and digest of the policies that were judged.
        registered: ids of all rules.
        deferred: the answers to what was deferred.
        trust_root: trust root under which it will be signed.
        now: the time.
    """
    asked = set(evaluation.asked)
    missing = [one for one in registered if one not in asked]
    stops = [stop_of(one) for one in evaluation.findings if one.stops]
    stops += [
        Stop(rule=one, subject="stack", text="the rule was not asked", fix="ask the policies again") for one in missing
    ]
    open_ones = [one for one in deferred if one.stops]
    return Verdict(
        **{name: judged[name] for name in ("stack", "environment", "commit", "configuration", "policies")},
        outcome="failed" if stops or open_ones else "passed",
        registered=len(registered),
        asked=len(asked & set(registered)),
        counts=dict(evaluation.counts),
        stops=tuple(stops),
        waived=tuple(
            f"{one.rule}: {name_of(one.urn) or 'stack'}" for one in evaluation.findings if one.status == "waived"
        ),
        deferred=tuple(deferred),
        made_at=now,
        expires_at=now + LIFETIME,
        trust_root=trust_root,
    )


def stop_of(finding: Finding) -> Stop:
    """Return a finding as a verdict lists it."""
    text = f"[{finding.status}] {finding.text}" + (f" (waiver {finding.waiver})" if finding.waiver else "")
    return Stop(rule=finding.rule, subject=name_of(finding.urn) or "stack", text=text, fix=finding.fix)


def signed(verdict: Verdict, principal: str, signer: Signer) -> Verdict:
    """Return a verdict with the signature of `principal`.

    Raises:
        ValueError: it did not pass; nobody signs that.
    """
    if verdict.outcome != "passed":
        raise ValueError("a verdict that did not pass is not signed")
    stated = verdict.model_copy(update={"principal": principal, "signature": None})
    return stated.model_copy(update={"signature": signer(NAMESPACE, signed_bytes(stated))})
