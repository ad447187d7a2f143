"""The hash chain: an entry is an event with its number, its time and the hash of the entry before it.

The hash is SHA-256 over the canonical JSON of the entry without its hash:

    {"digest":…,"kind":…,"model":…,"person":…,"previous":…,"seq":…,"time":…,"version":…,"what":{…}}

`what` sorts last, so that its text can be stored and hashed as it is: everything before it is quoted, therefore no
other division into fields gives the same bytes. The first entry's `previous` is derived from the ledger's id, so that
the entries of one ledger can't be shown as those of another.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, NamedTuple

from policies.ledger.events import AnyEvent, join, split
from policies.ledger.refusal import refuse_secrets
from policies.releases.record import canonical

# One event can't fill the ledger: larger evidence is named by its digest.
MAXIMUM_BYTES = 64 * 1024


@dataclass(frozen=True)
class Head:
    """The end of a chain: the number and hash of its last entry, or 0 and the genesis hash."""

    seq: int
    hash: str


class Entry(NamedTuple):
    """One entry as it is stored. `what` is the canonical JSON text of the event's own fields.

    A named tuple, because a verification makes one for each row.
    """

    seq: int
    time: str
    kind: str
    person: str
    model: str | None
    version: str | None
    digest: str | None
    what: str
    previous: str
    hash: str

    @property
    def at(self) -> datetime:
        """The time by the ledger's clock."""
        return datetime.fromisoformat(self.time)

    @property
    def head(self) -> Head:
        """The end of the chain that this entry is."""
        return Head(self.seq, self.hash)

    def event(self) -> AnyEvent:
        """Return the event."""
        columns = {
            "kind": self.kind,
            "person": self.person,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
        }
        return join(columns, json.loads(self.what))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return self._asdict() | {"what": json.loads(self.what)}


@dataclass(frozen=True)
class Prepared:
    """An event that was checked and taken apart, ready to be linked."""

    kind: str
    person: str
    model: str | None
    version: str | None
    digest: str | None
    what: str


def genesis(ledger: str) -> Head:
    """Return the head of an empty ledger.

    Args:
        ledger: the ledger's id.
    """
    return Head(0, hashlib.sha256(f"mlops-ledger/1:{ledger}".encode()).hexdigest())


def timestamp(time: datetime) -> str:
    """Write a time so that text order is time order: UTC, microseconds, always 27 characters.

    Raises:
        ValueError: the time has no zone.
    """
    if time.tzinfo is None:
        raise ValueError("a time in the ledger needs a time zone")
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def prepare(event: AnyEvent) -> Prepared:
    """Check an event and take it apart. This is the part of an append that needs no lock.

    Raises:
        SecretRefusedError: something in it looks like a secret.
        ValueError: it is too large, or holds text that is no Unicode.
    """
    columns, rest = split(event)
    refuse_secrets(rest | {"person": event.person}, event.kind)
    what = canonical(rest)
    if len(what) > MAXIMUM_BYTES:
        raise ValueError(
            f"{event.kind} event of {len(what)} bytes, the limit is {MAXIMUM_BYTES}: name evidence by digest"
        )
    return Prepared(
        kind=event.kind,
        person=event.person,
        model=columns["model"],
        version=columns["version"],
        digest=columns["digest"],
        what=what.decode(),
    )


def link(head: Head, time: str, prepared: Iterable[Prepared]) -> Iterator[Entry]:
    """Append events to a chain.

    Args:
        head: the chain's end.
        time: the time of all of them, by `timestamp`.
        prepared: the events.
    """
    seq, previous = head.seq, head.hash
    for one in prepared:
        seq += 1
        digest = entry_hash(seq, time, one.kind, one.person, one.model, one.version, one.digest, one.what, previous)
        yield Entry(seq, time, one.kind, one.person, one.model, one.version, one.digest, one.what, previous, digest)
        previous = digest


def entry_hash(
    seq: int,
    time: str,
    kind: str,
    person: str,
    model: str | None,
    version: str | None,
    digest: str | None,
    what: str,
    previous: str,
) -> str:
    """Return the hash of an entry with these fields, in hex."""
    before, after = _written(kind, person, model, version, digest)
    text = (
        f'{before}"previous":{encode_basestring(previous)},"seq":{seq},"time":{encode_basestring(time)},{after}{what}}}'
    )
    # A surrogate can't come from us; if somebody put one into the database it must not stop the verification.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=4096)
def _written(kind: str, person: str, model: str | None, version: str | None, digest: str | None) -> tuple[str, str]:
    """Write what many entries have in common, before and after the fields that are each entry's own.

    Kept, because a verification would spend a quarter of its time on writing the same few again and again.
    """
    quote = encode_basestring
    return (
        f'{{"digest":{"null" if digest is None else quote(digest)},"kind":{quote(kind)},'
        f'"model":{"null" if model is None else quote(model)},"person":{quote(person)},',
        f'"version":{"null" if version is None else quote(version)},"what":',
    )
