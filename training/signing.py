"""Sign what was trained: who trains vouches that these are the bytes that training made.

    MLOPS_SIGNING_KEY   SSH private key without a passphrase: a file (0600), made where it is missing, or
                        secretsmanager:NAME, a secret of AWS, which must be there and is never written to a disk
    MLOPS_SIGNER        whose it is: the principal in the trust root
    MLOPS_TRUST_ROOT    the trust root that should hold its public half

A key that was made here makes nothing loadable by itself: controller and replicas accept only the keys that stand in
the trust roots of their own configuration. Without the first variable nothing is signed.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.releases.approval import sign_artifact
from policies.releases.evaluation import Evaluation
from policies.releases.keys import KeyFileError, Signer, key_signer, make_key, parse_private_key
from policies.releases.signing import PrivateKey
from training.cloud_secrets import SCHEME, secret_value
from training.errors import TrainingError


@dataclass(frozen=True)
class SigningIdentity:
    """Who signs."""

    principal: str
    trust_root: str
    signer: Signer


def signing_identity() -> SigningIdentity | None:
    """Return who signs here, None where nobody does. To be called before the work.

    Raises:
        TrainingError: a variable is missing, or the key cannot be used.
    """
    place = os.environ.get("MLOPS_SIGNING_KEY")
    if not place:
        return None
    principal, trust_root = os.environ.get("MLOPS_SIGNER"), os.environ.get("MLOPS_TRUST_ROOT")
    if not principal or not trust_root:
        raise TrainingError("MLOPS_SIGNING_KEY is set: MLOPS_SIGNER and MLOPS_TRUST_ROOT must say whose key it is")
    try:
        key = _cloud_key(place.removeprefix(SCHEME)) if place.startswith(SCHEME) else make_key(Path(place), principal)
    except (KeyFileError, OSError) as error:
        raise TrainingError(f"MLOPS_SIGNING_KEY: {error}") from error
    return SigningIdentity(principal, trust_root, key_signer(key))


def _cloud_key(secret: str) -> PrivateKey:
    """Read the key from Secrets Manager; one that is not there is never made here, where it would end with the job."""
    try:
        content = secret_value(secret)
    except TrainingError as error:
        raise TrainingError(
            f"MLOPS_SIGNING_KEY: {error}; nothing is trained unsigned here: put the trainer's key into it "
            "(docs/how-to/deploy-to-aws.md, The trainer's key)"
        ) from None
    # OpenSSH's format ends with a line break, which editors and consoles like to take away.
    return parse_private_key(content.strip().encode() + b"\n", f"secret {secret}")


def signed(identity: SigningIdentity | None, model: str, digest: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return what a candidate says of its signature: `trainedBy`, `trainedAt` and `signature`."""
    trained_at = evaluation.to_json()["evaluatedAt"]
    if identity is None:
        return {"trainedBy": None, "trainedAt": trained_at, "signature": None}
    signature = sign_artifact(model, digest, identity.principal, identity.trust_root, identity.signer)
    return {"trainedBy": identity.principal, "trainedAt": trained_at, "signature": signature.to_json()}
