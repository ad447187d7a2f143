"""Does a ledger still say what it said? Streams over entries and checkpoints and names the first bad entry.

What this finds, given checkpoints that whoever changed the ledger could not change too: any entry that was changed,
dropped, moved, added or cut off up to the last checkpoint, even when all hashes after it were computed anew. After the
last checkpoint (at most ten seconds of entries) only changes that leave chain or head record inconsistent show.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from policies.ledger.chain import Entry, Head, entry_hash, genesis
from policies.ledger.checkpoint import Checkpoint, check_checkpoint
from policies.releases.signing import PublicKey, SignatureError


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    The first bad entry is `first`, or lies between `first` and `last` where nothing tells more exactly. Both are None
    for a finding about a checkpoint.
    """

    message: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Report:
    """The outcome of a verification.

    `sealed`: up to here a checkpoint vouches for each entry. `unsealed_since`: the time of the first entry after that;
    entries much older than ten seconds there mean that nobody made checkpoints. `clock_steps`: how many entries have
    an earlier time than the one before them; the order by number is the true one.
    """

    findings: tuple[Finding, ...]
    entries: int
    head: Head
    checkpoints: int
    sealed: int
    unsealed_since: str | None
    clock_steps: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def first_bad(self) -> int | None:
        """The number of the first bad entry, as exactly as it is known."""
        return min((one.first for one in self.findings if one.first is not None), default=None)


@dataclass
class _Seals:
    """The heads that checkpoints vouch for, and what is wrong with checkpoints."""

    hashes: dict[int, str] = field(default_factory=dict)
    times: dict[int, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def verify(
    ledger: str,
    entries: Iterable[Entry],
    checkpoints: Iterable[Checkpoint],
    keys: Collection[PublicKey],
    head: Head | None = None,
) -> Report:
    """Verify a whole ledger.

    Args:
        ledger: the ledger's id.
        entries: all entries in the order of their numbers; they are read once.
        checkpoints: all checkpoints, in any order.
        keys: the keys that may sign checkpoints. With none, or no checkpoints, nothing is sealed.
        head: the head record beside the entries, where there is one.
    """
    seals = _read_seals(ledger, checkpoints, keys)
    report = walk(entries, genesis(ledger), seals.hashes)
    findings = [*seals.findings, *report.findings]
    if not report.findings:
        findings += _ends(report.head, report.sealed, head, seals)
    return replace(report, findings=tuple(findings), checkpoints=len(seals.hashes))


def walk(entries: Iterable[Entry], start: Head, seals: Mapping[int, str]) -> Report:
    """Follow a chain from `start` until it ends or breaks.

    Args:
        entries: the entries after `start`; any tuples of the same fields will do.
        start: the head that they follow, taken as good.
        seals: number → hash that a checkpoint vouches for.
    """
    seq, previous, sealed, count, steps, time = start.seq, start.hash, start.seq, 0, 0, ""
    unsealed: str | None = None
    finding: Finding | None = None
    for entry in entries:
        count += 1
        # Unpacked once: this loop is what the speed of a verification is made of.
        number, at, kind, person, model, version, digest, what, before, stated = entry
        if number != seq + 1 or before != previous:
            finding = _misplaced(Entry._make(entry), seq, sealed)
            break
        try:
            content = entry_hash(number, at, kind, person, model, version, digest, what, before)
        except TypeError:  # a database may hold a number or nothing where text belongs
            content = ""
        if content != stated:
            finding = Finding(f"entry {number} was changed: its hash is not that of its content", number, number)
            break
        seq, previous = number, stated
        if at < time:
            steps += 1
        time = at
        if seq in seals:
            if seals[seq] != previous:
                finding = _rewritten(sealed, seq)
                break
            sealed, unsealed = seq, None
        elif unsealed is None:
            unsealed = time
    return Report(
        findings=() if finding is None else (finding,),
        entries=count,
        head=Head(seq, previous),
        checkpoints=0,
        sealed=sealed,
        unsealed_since=unsealed,
        clock_steps=steps,
    )


def _whole(entry: Entry) -> bool:
    try:
        return entry[9] == entry_hash(*entry[:9])
    except TypeError:  # a database may hold a number or nothing where text belongs
        return False


def _misplaced(entry: Entry, seq: int, sealed: int) -> Finding:
    """Say what is wrong when `entry` does not follow entry `seq`."""
    if entry.seq > seq + 1:
        return Finding(f"entries {seq + 1} to {entry.seq - 1} are missing", seq + 1, entry.seq - 1)
    if entry.seq <= seq:
        return Finding(f"entry {entry.seq} stands after entry {seq}", entry.seq, seq + 1)
    # Either this entry was changed, or the one before it was, together with its hash. A checkpoint excludes the latter.
    first = entry.seq if sealed == seq or not _whole(entry) else seq
    names = f"entry {entry.seq}" if first == entry.seq else f"entry {first} or {entry.seq}"
    return Finding(
        f"{names} was changed, added or moved: entry {entry.seq} does not hold the hash of the one before it",
        first,
        entry.seq,
    )


def _rewritten(sealed: int, seq: int) -> Finding:
    return Finding(
        f"entries after {sealed} were rewritten: the checkpoint at entry {seq} states another hash",
        sealed + 1,
        seq,
    )


def _read_seals(ledger: str, checkpoints: Iterable[Checkpoint], keys: Collection[PublicKey]) -> _Seals:
    seals = _Seals()
    previous: set[tuple[int, int]] = set()
    for one in checkpoints:
        try:
            check_checkpoint(one, ledger, keys)
        except SignatureError as error:
            seals.findings.append(Finding(f"checkpoint at entry {one.seq}: {error}"))
            continue
        if seals.hashes.setdefault(one.seq, one.hash) != one.hash:
            seals.findings.append(Finding(f"two checkpoints at entry {one.seq} state different hashes"))
        seals.times[one.seq] = f"{one.time:%Y-%m-%dT%H:%M:%SZ}"
        previous.add((one.seq, one.previous))
    for seq, before in sorted(previous):
        if before and before not in seals.hashes:
            seals.findings.append(Finding(f"the checkpoint at entry {before} is missing: the one at {seq} follows it"))
    return seals


def _ends(end: Head, sealed: int, head: Head | None, seals: _Seals) -> list[Finding]:
    """Find what is missing after the last entry."""
    last = max(seals.hashes, default=0)
    if last > end.seq:
        message = f"entries {end.seq + 1} to {last} are missing: a checkpoint of {seals.times[last]} covers them"
        if sealed < end.seq:
            message += f"; those after {sealed} may have been rewritten too"
        return [Finding(message, sealed + 1, end.seq + 1)]
    if head is None or head == end:
        return []
    if head.seq > end.seq:
        return [Finding(f"entries {end.seq + 1} to {head.seq} are missing", end.seq + 1, head.seq)]
    return [Finding(f"the head record says entry {head.seq}, but the last entry is {end.seq}", end.seq, end.seq)]
