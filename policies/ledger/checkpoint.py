"""Checkpoints: signed statements that a ledger had a certain head at a certain time.

Kept where the writer of the ledger can't change them, they are what makes a rewritten or shortened ledger show: the
hash chain alone only proves that entries fit together. The signature is an SSH signature, so that an auditor can check
a checkpoint with `ssh-keygen -Y verify -n mlops-ledger-checkpoint`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated

from pydantic import Field

from policies.ledger.chain import Head
from policies.releases.keys import Signer
from policies.releases.manifest import SshSignature
from policies.releases.record import Record, Sha256, Time, canonical
from policies.releases.signing import PublicKey, SignatureError, verify

CHECKPOINT_NAMESPACE = "mlops-ledger-checkpoint"
# A checkpoint is at most this much younger than the entries that it covers, in seconds.
INTERVAL_SECONDS = 10.0


class Checkpoint(Record):
    """A signed statement about the head of a ledger.

    `previous` is the number of the entry that the checkpoint before this one covers up to (0: there was none), so that
    a checkpoint that disappeared is missed.
    """

    ledger: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    seq: Annotated[int, Field(ge=1)]
    hash: Sha256
    time: Time
    previous: Annotated[int, Field(ge=0)]
    signature: SshSignature

    @property
    def head(self) -> Head:
        """The head that is stated."""
        return Head(self.seq, self.hash)


def make_checkpoint(ledger: str, head: Head, time: datetime, previous: int, signer: Signer) -> Checkpoint:
    """Sign a checkpoint.

    Args:
        ledger: the ledger's id.
        head: its head; not that of an empty ledger.
        time: the time, for people: what counts is the order.
        previous: up to which entry the checkpoint before this one goes.
        signer: signs with the ledger's key.
    """
    statement = {"ledger": ledger, "seq": head.seq, "hash": head.hash, "time": time, "previous": previous}
    unsigned = _Statement.model_validate(statement)
    return Checkpoint.model_validate(
        statement | {"signature": signer(CHECKPOINT_NAMESPACE, canonical(unsigned.to_json()))}
    )


def check_checkpoint(checkpoint: Checkpoint, ledger: str, keys: Collection[PublicKey]) -> PublicKey:
    """Check that a checkpoint is of this ledger and signed by one of `keys`; return the key.

    Raises:
        SignatureError: it is not.
    """
    if checkpoint.ledger != ledger:
        raise SignatureError(f"it is of ledger {checkpoint.ledger}, not of {ledger}")
    if checkpoint.previous >= checkpoint.seq:
        raise SignatureError(f"it says that it follows a checkpoint at {checkpoint.previous}, which is not before it")
    key = verify(checkpoint.signature, CHECKPOINT_NAMESPACE, signed_bytes(checkpoint))
    if key not in keys:
        raise SignatureError(f"it is signed by an unknown key, {key.fingerprint}")
    return key


def signed_bytes(checkpoint: Checkpoint) -> bytes:
    """Return the bytes that the signature covers."""
    data = checkpoint.to_json()
    del data["signature"]
    return canonical(data)


def due(
    head: int, sealed: int, waiting: float, release_step: bool, tick: float, interval: float = INTERVAL_SECONDS
) -> bool:
    """Decide whether a checkpoint must be made now.

    Args:
        head: number of the last entry.
        sealed: number of the entry that the last checkpoint goes up to.
        waiting: seconds since the first entry after it was noticed, by a clock that never steps.
        release_step: whether a step of a release was written since; then it is due at once.
        tick: seconds between two looks: an entry may be that much older than noticed, and the next look that far away.
        interval: how old an entry may become, in seconds, before a checkpoint covers it.
    """
    if head <= sealed:
        return False
    return release_step or waiting + 2 * tick >= interval


class _Statement(Record):
    ledger: str
    seq: int
    hash: str
    time: Time
    previous: int
