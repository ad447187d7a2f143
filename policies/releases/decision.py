"""May this release start here and now? One pure function of the manifest, the trust roots, the clock and the rules.

Everything that could let a release through is stated and checked; what is missing or not understood is a reason against
it, and all reasons are given at once. The same function serves pull requests, the gate before a deployment and the
controller before it starts a rollout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from policies.releases.approval import CheckedApproval, TrustRoots, accepted_roots, check_approval, check_artifact
from policies.releases.keys import moment
from policies.releases.manifest import Manifest, RiskTier
from policies.releases.record import Record
from policies.releases.signing import AlteredError, PublicKey, SignatureError

Role = Literal["model-owner", "model-risk", "platform", "security"]


class TierRule(Record):
    """What a risk tier asks for: how many people, in which roles, and the roles of which one must be among them."""

    people: Annotated[int, Field(ge=1)]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    must_include: tuple[Role, ...] = ()

    @model_validator(mode="after")
    def _can_be_met(self) -> "TierRule":
        if missing := sorted(set(self.must_include) - set(self.roles)):
            raise ValueError(f"mustInclude names {', '.join(missing)}, which roles does not allow")
        if len(set(self.must_include)) > self.people:
            raise ValueError(f"mustInclude asks for more roles than people ({self.people})")
        return self


def default_tiers() -> dict[RiskTier, TierRule]:
    """The rule of each risk tier where an environment does not state its own; high needs two people."""
    return {
        "low": TierRule(people=1, roles=("model-owner", "model-risk", "platform", "security")),
        "medium": TierRule(people=1, roles=("model-owner", "model-risk")),
        "high": TierRule(people=2, roles=("model-owner", "model-risk", "security"), must_include=("model-risk",)),
    }


class EnvironmentRules(Record):
    """What an environment asks of a release.

    `approval: rule` is for `local` and `dev`: a version that passed its evaluation is approved by the rule of the
    baseline, and the ledger says so. A quarantined digest needs people there too.
    """

    environment: Annotated[str, Field(min_length=1)]
    approval: Literal["people", "rule"] = "people"
    signature: Literal["required", "optional"] = "required"
    trust_roots: tuple[str, ...] = ()
    rehearsal: bool = False
    tiers: Annotated[dict[RiskTier, TierRule], Field(default_factory=default_tiers)]

    @model_validator(mode="after")
    def _strict_enough(self) -> "EnvironmentRules":
        if missing := sorted({"low", "medium", "high"} - set(self.tiers)):
            raise ValueError(f"tiers lacks {', '.join(missing)}")
        if self.tiers["high"].people < 2:
            raise ValueError("tiers.high.people must be at least 2")
        return self


@dataclass(frozen=True)
class Approver:
    """A person whose approval counted."""

    principal: str
    role: str
    key: str
    approved_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Decision:
    """Whether a release may start, why not, and who stands for it.

    `valid_until` is when the approvals stop being enough; None when they are not now or a rule approved.
    """

    allowed: bool
    reasons: tuple[str, ...]
    approvers: tuple[Approver, ...] = ()
    rule: str | None = None
    valid_until: datetime | None = None


def decide(
    manifest: Manifest,
    roots: TrustRoots,
    now: datetime,
    rules: EnvironmentRules,
    quarantined: Mapping[str, datetime] | None = None,
) -> Decision:
    """Decide whether a rollout of the manifest may start.

    Args:
        manifest: the manifest with its approvals.
        roots: trust roots by name. Those that `rules` does not name are as if they were absent.
        now: the time of the decision, with a time zone.
        rules: what the environment asks for.
        quarantined: digest → when it was quarantined. Only approvals given after that lift it.
    """
    accepted = accepted_roots(roots, rules.trust_roots, rehearsal=rules.rehearsal)
    reasons: list[str] = []
    if not manifest.evaluation.passed:
        reasons += [f"the evaluation failed: {reason}" for reason in manifest.evaluation.reasons]
    signer, problem = _artifact_signer(manifest, accepted, rules)
    if problem:
        reasons.append(problem)
    since = (quarantined or {}).get(manifest.digest)
    counted, ignored, altered = _counted(manifest, accepted, now, rules, signer, since)
    # Also where a rule approves: a manifest that says something else than what people signed is nobody's statement.
    reasons += altered
    people_needed = rules.approval == "people" or since is not None
    if people_needed:
        missing = _missing(counted, manifest.risk_tier, rules.tiers[manifest.risk_tier])
        if missing and since is not None:
            reasons.append(f"{manifest.digest} is in quarantine since {moment(since)}; only a new approval lifts it")
        if missing:
            reasons += [missing, *ignored]
    allowed = not reasons
    return Decision(
        allowed=allowed,
        reasons=tuple(reasons),
        approvers=tuple(_approver(one) for one in counted),
        rule=f"{rules.environment}: evaluation passed" if allowed and not people_needed else None,
        valid_until=_valid_until(counted, manifest.risk_tier, rules) if allowed and people_needed else None,
    )


def _artifact_signer(
    manifest: Manifest, roots: TrustRoots, rules: EnvironmentRules
) -> tuple[PublicKey | None, str | None]:
    try:
        key = check_artifact(
            manifest.model,
            manifest.digest,
            manifest.signature,
            roots,
            manifest.trained_at,
            rehearsal=rules.rehearsal,
            required=rules.signature == "required",
        )
    except SignatureError as error:
        return None, str(error)
    return key, None


def _counted(
    manifest: Manifest,
    roots: TrustRoots,
    now: datetime,
    rules: EnvironmentRules,
    signer: PublicKey | None,
    since: datetime | None,
) -> tuple[list[CheckedApproval], list[str], list[str]]:
    """The approvals that count here, why the others do not, and which of those are of another text."""
    trainers = {_person(manifest.trained_by)}
    if manifest.signature is not None:
        trainers.add(_person(manifest.signature.principal))
    roles = rules.tiers[manifest.risk_tier].roles
    counted: list[CheckedApproval] = []
    ignored: list[str] = []
    altered: list[str] = []
    for approval in manifest.approvals:
        who = f"approval by {approval.principal} as {approval.role}"
        try:
            checked = check_approval(manifest, approval, roots, now, rehearsal=rules.rehearsal)
        except AlteredError as error:
            altered.append(
                f"{error}. The manifest was edited after it was approved: restore the text that was approved, or let "
                f"{approval.principal} approve it as it is now, with `./mlops release approve {manifest.model} "
                f"--version {manifest.version} --role {approval.role}`"
            )
            continue
        except SignatureError as error:
            ignored.append(str(error))
            continue
        if _person(approval.principal) in trainers or checked.key == signer:
            ignored.append(f"{who}: who trained a model can't approve it")
        elif approval.role not in roles:
            ignored.append(f"{who}: for risk tier {manifest.risk_tier} the role must be one of {', '.join(roles)}")
        elif rules.environment not in approval.environments:
            ignored.append(f"{who}: it is for {', '.join(approval.environments)}, not for {rules.environment}")
        elif since is not None and approval.approved_at <= since:
            ignored.append(f"{who}: it was given before the quarantine")
        else:
            counted.append(checked)
    return counted, ignored, altered


def _missing(counted: Sequence[CheckedApproval], tier: RiskTier, rule: TierRule) -> str | None:
    """Say what the approvals lack, or None."""
    people = _distinct(counted)
    if people < rule.people:
        wanted = "1 approval" if rule.people == 1 else f"approvals by {rule.people} different people"
        return f"risk tier {tier} needs {wanted} ({', '.join(rule.roles)}), {people} counted"
    if absent := [role for role in rule.must_include if role not in {one.approval.role for one in counted}]:
        return f"risk tier {tier} needs an approval in the role {' and '.join(absent)}"
    return None


def _distinct(counted: Sequence[CheckedApproval]) -> int:
    """Count people: neither one person with two keys nor two names with one key are two.

    Approvals that share a person or a key belong together; the number of such groups counts.
    """
    groups: list[set[str]] = []
    for one in counted:
        marks = {_person(one.approval.principal), one.key.fingerprint}
        touching = [group for group in groups if group & marks]
        groups = [group for group in groups if not group & marks]
        groups.append(marks.union(*touching))
    return len(groups)


def _valid_until(counted: Sequence[CheckedApproval], tier: RiskTier, rules: EnvironmentRules) -> datetime:
    """The first moment at which the approvals that are left no longer suffice."""
    ends = sorted(one.expires_at for one in counted)
    for end in ends:
        if _missing([one for one in counted if one.expires_at > end], tier, rules.tiers[tier]):
            return end
    raise AssertionError("approvals that suffice without anybody")  # every rule needs at least one person


def _approver(checked: CheckedApproval) -> Approver:
    approval = checked.approval
    return Approver(
        approval.principal, approval.role, checked.key.fingerprint, approval.approved_at, checked.expires_at
    )


def _person(principal: str) -> str:
    # Mail addresses are compared as people read them.
    return principal.casefold()
