"""May this release start here? The rules of the environment and its trust roots, asked before each rollout."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from policies.releases.approval import TrustRoots, accepted_roots, check_artifact, with_approval
from policies.releases.decision import Approver, EnvironmentRules, decide
from policies.releases.manifest import Approval, Manifest
from policies.releases.signing import SignatureError
from serving.state import Release


class GateError(Exception):
    """A manifest or approval is malformed, or is not about this release."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether it may, why not, and who stands for it: people, or the rule of the environment."""

    allowed: bool
    reasons: tuple[str, ...] = ()
    approvers: tuple[Approver, ...] = ()
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The environment's rules and trust roots."""

    rules: EnvironmentRules
    roots: TrustRoots

    def judge(
        self,
        model: str,
        release: Release,
        manifest: Mapping[str, Any] | None,
        quarantined: Mapping[str, datetime],
        now: datetime,
    ) -> Judgement:
        """Judge a release, with its manifest if there is one; without one only a rule can approve, and no quarantine.

        Raises:
            GateError: the manifest is malformed.
        """
        if manifest is not None:
            found = decide(read_manifest(manifest), self.roots, now, self.rules, quarantined)
            return Judgement(found.allowed, found.reasons, found.approvers, found.rule)
        environment, digest = self.rules.environment, release.digest
        if digest in quarantined:
            since = f"{quarantined[digest]:%Y-%m-%dT%H:%M:%SZ}"
            why = f"{digest} is in quarantine since {since}; only a new approval of its release manifest lifts it"
            return Judgement(allowed=False, reasons=(why,))
        if self.rules.approval != "rule":
            why = f"{environment} takes only releases with a signed and approved manifest; this one has no manifest"
            return Judgement(allowed=False, reasons=(why,))
        try:
            check_artifact(
                model,
                digest,
                release.signature,
                accepted_roots(self.roots, self.rules.trust_roots, rehearsal=self.rules.rehearsal),
                release.trained_at,
                rehearsal=self.rules.rehearsal,
                required=self.rules.signature == "required",
            )
        except SignatureError as error:
            return Judgement(allowed=False, reasons=(str(error),))
        return Judgement(allowed=True, rule=f"{environment}: evaluation passed")


def read_manifest(data: Mapping[str, Any]) -> Manifest:
    """Read a manifest.

    Raises:
        GateError: with the key that is wrong.
    """
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise GateError(f"manifest: {_first(error)}") from None


def check_manifest(manifest: Manifest, model: str, release: Release) -> None:
    """Check that a manifest is about a release.

    Raises:
        GateError: it is about another one.
    """
    for name, stated, asked in (
        ("model", manifest.model, model),
        ("version", manifest.version, release.version),
        ("digest", manifest.digest, release.digest),
        ("files", manifest.files, dict(release.files)),
    ):
        if stated != asked:
            shown = "other files" if name == "files" else f"{stated}, not {asked}"
            raise GateError(f"manifest.{name}: it is of {shown}")


def add_approval(manifest: Manifest, approval: Any) -> Manifest:
    """Add an approval to a manifest; whether it counts is for `judge`.

    Raises:
        GateError: it is malformed.
    """
    try:
        return with_approval(manifest, Approval.model_validate(approval))
    except ValidationError as error:
        raise GateError(f"approval: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    where = ".".join(str(part) for part in one["loc"])
    return f"{where}: {one['msg']}" if where else str(one["msg"])
