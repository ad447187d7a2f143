"""Signing and checking: the approval of a manifest by a person, the signature of an artifact by who trained it.

Both are SSH signatures. An approval covers the manifest without its approvals together with the approver's own
statement (`signed_bytes`), and its namespace names the role, so that a key can be trusted for one role only. The
signature of an artifact covers the model's name and the artifact's digest, which covers every content file: checking it
costs a replica a fraction of a millisecond beside the hashing that it does anyway.

Here is whether a signature is what it says. Whether the approvals suffice is `policies.releases.decision`.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from policies.releases.keys import REHEARSAL, AllowedSigner, Signer, TrustRoot, moment
from policies.releases.manifest import (
    APPROVAL_NAMESPACE,
    ARTIFACT_NAMESPACE,
    Approval,
    Manifest,
    Signature,
    Statement,
    signed_bytes,
)
from policies.releases.record import canonical
from policies.releases.signing import PublicKey, SignatureError, verify

# How far the clock of an approver may be ahead of ours.
CLOCK_TOLERANCE = timedelta(minutes=5)

TrustRoots = Mapping[str, TrustRoot]


@dataclass(frozen=True)
class CheckedApproval:
    """An approval whose signature, key and dates are good, with the key that made it."""

    approval: Approval
    key: PublicKey
    expires_at: datetime
    """When it ends: its own expiry or its key's, whichever comes first."""


def approval_namespace(role: str) -> str:
    """Return the namespace in which an approver of that role signs."""
    return f"{APPROVAL_NAMESPACE}:{role}"


def artifact_bytes(model: str, digest: str) -> bytes:
    """Return the bytes that the signature of an artifact covers."""
    return canonical({"digest": digest, "model": model})


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest of a manifest without its approvals: what the ledger records as approved."""
    return "sha256:" + hashlib.sha256(canonical(manifest.to_json() | {"approvals": []})).hexdigest()


def sign_artifact(model: str, digest: str, principal: str, trust_root: str, signer: Signer) -> Signature:
    """Sign the artifact `digest` of a model in the name of the identity that trained it."""
    value = signer(ARTIFACT_NAMESPACE, artifact_bytes(model, digest))
    return Signature(principal=principal, trust_root=trust_root, value=value)


def approve(manifest: Manifest, statement: Statement, signer: Signer) -> Approval:
    """Sign a statement over a manifest. Put the result into the manifest with `with_approval`."""
    signature = signer(approval_namespace(statement.role), signed_bytes(manifest, statement))
    return Approval.model_validate(statement.model_dump() | {"signature": signature})


def with_approval(manifest: Manifest, approval: Approval) -> Manifest:
    """Return the manifest with the approval, in place of an earlier one of the same person in the same role."""
    kept = [one for one in manifest.approvals if (one.principal, one.role) != (approval.principal, approval.role)]
    return manifest.model_copy(update={"approvals": (*kept, approval)})


def accepted_roots(roots: TrustRoots, names: Collection[str], *, rehearsal: bool = False) -> dict[str, TrustRoot]:
    """Return the trust roots that an environment accepts.

    Args:
        roots: all that are known.
        names: those that the environment's settings name.
        rehearsal: whether the environment is a rehearsal. In all others the keys of the trust root `rehearsal` count
            under no other name either: their private halves may be known to anybody.
    """
    accepted = {name: root for name, root in roots.items() if name in names and (rehearsal or name != REHEARSAL)}
    if rehearsal or REHEARSAL not in roots:
        return accepted
    known = {one.key for one in roots[REHEARSAL].signers}
    return {name: root.without(known) for name, root in accepted.items()}


def check_artifact(
    model: str,
    digest: str,
    signature: Signature | None,
    roots: TrustRoots,
    signed_at: datetime | None,
    *,
    rehearsal: bool = False,
    required: bool = True,
) -> PublicKey | None:
    """Check the signature of an artifact, as a replica does before it loads a model.

    Args:
        model: the model's name.
        digest: the digest of the files that are there, computed from them.
        signature: the signature from the manifest.
        roots: trust roots by name; only those that this environment accepts.
        signed_at: when the artifact was trained. A key that expired since stays good for it, so that restarts and
            scale-out go on; to revoke a key, remove its line.
        rehearsal: whether this environment is a rehearsal; no other accepts that trust root.
        required: whether there must be a signature. One that is there must be good in any case.

    Returns:
        The key that signed; None where there is no signature and none is required.

    Raises:
        SignatureError: there is no signature, or it is not good; the model must not be loaded.
    """
    if signature is None:
        if not required:
            return None
        raise SignatureError(
            f"the artifact {digest} of {model} is not signed; only releases whose trainer signed them are taken here"
        )
    if signed_at is None:
        raise SignatureError(f"signature of the artifact {digest} of {model}: it is not said when it was trained")
    try:
        root = _root(signature.trust_root, roots, rehearsal)
        key = verify(signature.value, ARTIFACT_NAMESPACE, artifact_bytes(model, digest))
        root.find(key, signature.principal, ARTIFACT_NAMESPACE, [signed_at])
    except SignatureError as error:
        raise SignatureError(f"signature of the artifact {digest} of {model}: {error}") from None
    return key


def check_approval(
    manifest: Manifest, approval: Approval, roots: TrustRoots, now: datetime, *, rehearsal: bool = False
) -> CheckedApproval:
    """Check one approval of a manifest: signature over exactly this manifest, key, role and dates.

    Args:
        manifest: the manifest as it is now.
        approval: the approval.
        roots: trust roots by name; only those that this environment accepts.
        now: the time of the check. A key must be valid both then and when it approved: the time in an approval is the
            approver's own word, which the holder of an expired key could put back.
        rehearsal: whether this environment is a rehearsal; no other accepts that trust root.

    Raises:
        AlteredError: the approval is of something else: the manifest or the approval was edited after it was given.
        SignatureError: the approval does not count; the message says why.
    """
    try:
        root = _root(approval.trust_root, roots, rehearsal)
        namespace = approval_namespace(approval.role)
        key = verify(approval.signature, namespace, signed_bytes(manifest, approval))
        _check_dates(approval, now)
        signer = root.find(key, approval.principal, namespace, [approval.approved_at, now])
    except SignatureError as error:
        # Of the same kind: whether the manifest was altered matters to who decides.
        raise type(error)(f"approval by {approval.principal} as {approval.role}: {error}") from None
    return CheckedApproval(approval, key, _end(approval, signer))


def _check_dates(approval: Approval, now: datetime) -> None:
    if approval.approved_at > now + CLOCK_TOLERANCE:
        raise SignatureError(f"it was given at {moment(approval.approved_at)}, which is yet to come")
    if approval.expires_at <= now:
        raise SignatureError(f"it expired at {moment(approval.expires_at)}")


def _root(name: str, roots: TrustRoots, rehearsal: bool) -> TrustRoot:
    if name == REHEARSAL and not rehearsal:
        raise SignatureError(f"trust root {REHEARSAL!r} is for rehearsals and is never accepted here")
    if name not in roots:
        raise SignatureError(
            f"trust root {name!r} is not accepted here, only {', '.join(sorted(roots)) or 'none at all'}"
        )
    root = roots[name]
    # A file of rehearsal keys under another name would be the same keys.
    if root.name != name:
        raise SignatureError(f"trust root {name!r} was read as {root.name!r}")
    return root


def _end(approval: Approval, signer: AllowedSigner) -> datetime:
    return approval.expires_at if signer.valid_before is None else min(approval.expires_at, signer.valid_before)
