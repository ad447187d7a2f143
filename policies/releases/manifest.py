"""The schema of `stacks/releases/<model>/<version>.yaml`: the one thing that a release is reviewed and approved by.

An approval is an SSH signature over the manifest without its approvals (`signed_bytes`), so that several people approve
independently and in any order. What is approved is the digest of the artifact, never its version number. Whether the
approvals suffice is a policy's question and depends on the environment; here is only what a manifest can say.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from policies.releases.evaluation import Evaluation
from policies.releases.record import Digest, ModelName, Record, Sha256, Time, canonical

RiskTier = Literal["low", "medium", "high"]
Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Principal = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s,*?!]+$")]
SshSignature = Annotated[
    str, StringConstraints(pattern=r"^-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+-----END SSH SIGNATURE-----\n?$")
]

# The SSH signature namespaces: a signature made for one purpose cannot be passed off as another.
APPROVAL_NAMESPACE = "mlops-release-approval"
ARTIFACT_NAMESPACE = "mlops-model-artifact"


class Signature(Record):
    """The signature of the artifact by the identity that trained it, over the artifact's digest."""

    namespace: Literal["mlops-model-artifact"] = "mlops-model-artifact"
    principal: Principal
    trust_root: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    value: SshSignature


class Statement(Record):
    """What an approver states: who approves in which role, for which environments and until when."""

    namespace: Literal["mlops-release-approval"] = "mlops-release-approval"
    principal: Principal
    role: Literal["model-owner", "model-risk", "platform", "security"]
    environments: Annotated[tuple[str, ...], Field(min_length=1)]
    approved_at: Time
    expires_at: Time
    trust_root: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    comment: str = ""

    @model_validator(mode="after")
    def _expires_later(self) -> "Statement":
        if self.expires_at <= self.approved_at:
            raise ValueError(f"the approval of {self.principal} expires before it was given")
        return self


class Approval(Statement):
    """A statement with its SSH signature over `signed_bytes`."""

    signature: SshSignature


class Manifest(Record):
    """A release manifest."""

    schema_version: Literal["1"] = "1"
    model: ModelName
    version: Version
    digest: Digest
    source: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    files: Annotated[dict[str, Sha256], Field(min_length=1)]
    run: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    commit: Commit
    trained_by: Principal
    trained_at: Time
    data_digest: Digest
    seed: int
    lock_digest: Digest
    architecture: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    risk_tier: RiskTier
    intended_use: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    evaluation: Evaluation
    signature: Signature | None = None
    approvals: tuple[Approval, ...] = ()

    @field_validator("files")
    @classmethod
    def _paths_stay_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for path in files:
            if path.startswith("/") or "\\" in path or ".." in path.split("/") or "" in path.split("/"):
                raise ValueError(f"{path!r} is not a plain relative path")
        return files

    @model_validator(mode="after")
    def _one_model(self) -> "Manifest":
        for name, mine, evaluated in (
            ("model", self.model, self.evaluation.model),
            ("digest", self.digest, self.evaluation.digest),
            ("dataDigest", self.data_digest, self.evaluation.data_digest),
            ("seed", self.seed, self.evaluation.seed),
            ("architecture", self.architecture, self.evaluation.architecture),
        ):
            if mine != evaluated:
                raise ValueError(f"{name} is {mine}, but the evaluation is of {evaluated}")
        return self


def signed_bytes(manifest: Manifest, statement: Statement) -> bytes:
    """Return the bytes that an approver signs.

    They are the manifest without its approvals together with the approver's own statement, so that an approval for
    staging can be neither read as one for prod nor prolonged.

    Args:
        manifest: the manifest; its approvals do not matter.
        statement: the statement, or the approval it became; a signature in it does not matter.
    """
    body, stated = manifest.to_json(), statement.to_json()
    body.pop("approvals", None)
    stated.pop("signature", None)
    return canonical({"manifest": body, "approval": stated})
