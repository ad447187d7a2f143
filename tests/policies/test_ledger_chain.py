"""The chain itself: before the last checkpoint no event can be altered, dropped, moved, added or cut off unseen."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from policies.ledger.chain import MAXIMUM_BYTES, Entry, entry_hash, genesis, link, prepare, timestamp
from policies.ledger.checkpoint import Checkpoint, make_checkpoint
from policies.ledger.events import (
    AdministrativeAccess,
    AnyEvent,
    ApprovalGiven,
    Approver,
    CheckpointKey,
    PolicyVerdict,
    Quarantine,
    ReleaseStep,
    Retraining,
    Rollback,
    Training,
)
from policies.ledger.refusal import SecretRefusedError, redact
from policies.ledger.verification import Report, verify
from policies.releases.keys import key_signer
from policies.releases.record import canonical
from policies.releases.signing import public_key

LEDGER = "0123456789abcdef" * 2
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
KEY = Ed25519PrivateKey.generate()
SIGNER = key_signer(KEY)
EVENTS: list[AnyEvent] = [
    Training(
        person="trainer@example.com",
        model="flight-delay",
        version="3",
        digest=DIGEST,
        run="r1",
        commit="c" * 40,
        data_digest=DIGEST,
        seed=7,
        passed=True,
    ),
    ApprovalGiven(
        person="asha@example.com",
        model="flight-delay",
        version="3",
        digest=DIGEST,
        role="model-risk",
        environments=("prod",),
        approved_at=NOW,
        expires_at=NOW + timedelta(days=90),
    ),
    PolicyVerdict(
        person="gate", rule="release-is-approved", subject="prod", verdict="passed", evidence={"n": [1, 2.5]}
    ),
    ReleaseStep(
        person="controller",
        model="flight-delay",
        version="3",
        digest=DIGEST,
        rollout="r1",
        step="promoted",
        strategy="canary",
        weight=1,
        approvers=(Approver(principal="asha@example.com", role="model-risk"),),
    ),
    Rollback(
        person="controller",
        model="flight-delay",
        version="3",
        digest=DIGEST,
        rollout="r1",
        arm="candidate",
        trigger="errors",
        reason='5 % of requests failed: "boom" · größer',
    ),
    Quarantine(
        person="controller", model="flight-delay", digest=DIGEST, action="quarantined", reason="errors", evidence={}
    ),
    Retraining(person="scheduler", model="flight-delay", trigger="schedule", reason="every Monday"),
    AdministrativeAccess(person="kim@example.com", action="rollback", resource="flight-delay", outcome="refused"),
    CheckpointKey(person="ledger", key="SHA256:abc", place="checkpoints"),
]


def chain(events: Sequence[AnyEvent], start: int = 0) -> list[Entry]:
    entries: list[Entry] = []
    head = genesis(LEDGER)
    for number, event in enumerate(events, start):
        entries += link(head, timestamp(NOW + timedelta(seconds=number)), [prepare(event)])
        head = entries[-1].head
    return entries


def rehashed(entries: Sequence[Entry], renumber: bool = True) -> list[Entry]:
    """What somebody makes of a ledger who knows how it is hashed."""
    head, result = genesis(LEDGER), []
    for number, entry in enumerate(entries, 1):
        moved = entry._replace(seq=number if renumber else entry.seq, previous=head.hash)
        result.append(moved._replace(hash=entry_hash(*moved[:9])))
        head = result[-1].head
    return result


def sealed(entries: Sequence[Entry], positions: Sequence[int]) -> list[Checkpoint]:
    before = [0, *positions]
    return [
        make_checkpoint(LEDGER, entries[position - 1].head, NOW, before[index], SIGNER)
        for index, position in enumerate(positions)
    ]


def verified(entries: Sequence[Entry], checkpoints: Sequence[Checkpoint] = ()) -> Report:
    return verify(LEDGER, entries, checkpoints, [public_key(KEY)])


def test_hash_is_that_of_the_canonical_json_of_the_entry() -> None:
    for entry in chain(EVENTS):
        data = entry.to_json()
        stated = data.pop("hash")
        assert stated == hashlib.sha256(canonical(data)).hexdigest()


def test_each_entry_holds_the_hash_of_the_one_before() -> None:
    entries = chain(EVENTS)
    assert [after.previous for _, after in pairwise(entries)] == [before.hash for before, _ in pairwise(entries)]
    assert entries[0].previous == genesis(LEDGER).hash != genesis("f" * 32).hash


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_event_comes_back_as_it_was(event: AnyEvent) -> None:
    assert chain([event])[0].event() == event


def test_whole_ledger_verifies() -> None:
    entries = chain(EVENTS)
    report = verified(entries, sealed(entries, [3, 7]))
    assert report.ok, report.findings
    assert (report.entries, report.sealed, report.checkpoints) == (9, 7, 2)
    assert report.unsealed_since == entries[7].time
    assert report.head == entries[-1].head


def test_empty_ledger_verifies() -> None:
    report = verified([])
    assert report.ok
    assert report.head == genesis(LEDGER)


def test_entries_of_another_ledger_are_found() -> None:
    assert verify("f" * 32, chain(EVENTS), [], []).first_bad == 1


def test_clock_that_was_put_back_is_noted_and_no_fault() -> None:
    entries = [*chain(EVENTS[:3], start=100)]
    entries = rehashed([*entries, *chain(EVENTS[3:])])
    report = verified(entries)
    assert report.ok
    assert report.clock_steps == 1


positions = st.lists(st.integers(1, len(EVENTS)), min_size=1, max_size=4, unique=True).map(sorted)


def assert_found(report: Report, first_bad: int) -> None:
    assert not report.ok
    ranges = [(one.first, one.last) for one in report.findings]
    assert any(first is not None and last is not None and first <= first_bad <= last for first, last in ranges), (
        first_bad,
        report.findings,
    )
    assert report.first_bad is not None
    assert report.first_bad <= first_bad


def altered(entry: Entry, name: str, salt: int) -> Entry:
    if name == "seq":
        return entry._replace(seq=entry.seq + 1 + salt)
    if name == "time":
        return entry._replace(time=timestamp(NOW - timedelta(days=1 + salt)))
    if name == "what":
        return entry._replace(what=f'{{"changed":{salt}}}')
    value = hashlib.sha256(str(salt).encode()).hexdigest() if name in ("previous", "hash") else f"changed{salt}"
    return Entry(**(entry._asdict() | {name: value}))


@given(
    at=positions,
    field=st.sampled_from(Entry._fields),
    salt=st.integers(0, 3),
    cover=st.sampled_from(["no", "own hash", "all hashes"]),
    data=st.data(),
)
def test_altered_entry_is_found(at: list[int], field: str, salt: int, cover: str, data: st.DataObject) -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, at)
    position = data.draw(st.integers(1, at[-1]))
    changed = altered(entries[position - 1], field, salt)
    forged = [*entries[: position - 1], changed, *entries[position:]]
    if cover == "own hash":
        forged[position - 1] = changed._replace(hash=entry_hash(*changed[:9]))
    elif cover == "all hashes":
        forged = rehashed(forged)
    if forged == entries:
        return  # hashes computed anew over what nobody changed
    assert_found(verified(forged, checkpoints), position)


@given(at=positions, cover=st.booleans(), data=st.data())
def test_dropped_entry_is_found(at: list[int], cover: bool, data: st.DataObject) -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, at)
    position = data.draw(st.integers(1, at[-1]))
    forged = [*entries[: position - 1], *entries[position:]]
    assert_found(verified(rehashed(forged) if cover else forged, checkpoints), position)


@given(at=positions.filter(lambda at: at[-1] > 1), cover=st.sampled_from(["no", "numbers", "all"]), data=st.data())
def test_swapped_entries_are_found(at: list[int], cover: str, data: st.DataObject) -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, at)
    first = data.draw(st.integers(1, at[-1] - 1))
    second = data.draw(st.integers(first + 1, len(entries)))
    forged = list(entries)
    forged[first - 1], forged[second - 1] = entries[second - 1], entries[first - 1]
    if cover == "numbers":
        forged[first - 1] = forged[first - 1]._replace(seq=first)
        forged[second - 1] = forged[second - 1]._replace(seq=second)
    elif cover == "all":
        forged = rehashed(forged)
    assert_found(verified(forged, checkpoints), first)


@given(at=positions, cover=st.booleans(), data=st.data())
def test_added_entry_is_found(at: list[int], cover: bool, data: st.DataObject) -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, at)
    position = data.draw(st.integers(1, at[-1]))
    extra = entries[position - 1]._replace(person="mallory@example.com")
    forged = [*entries[: position - 1], extra, *entries[position - 1 :]]
    assert_found(verified(rehashed(forged) if cover else forged, checkpoints), position)


@given(at=positions, data=st.data())
def test_truncation_is_found(at: list[int], data: st.DataObject) -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, at)
    left = data.draw(st.integers(0, at[-1] - 1))
    assert_found(verified(entries[:left], checkpoints), left + 1)


def test_first_bad_entry_is_named_exactly_when_its_hash_was_left() -> None:
    entries = chain(EVENTS)
    entries[4] = entries[4]._replace(person="mallory@example.com")
    report = verified(entries)
    assert [(one.first, one.last) for one in report.findings] == [(5, 5)]
    assert "entry 5 was changed" in report.findings[0].message


def test_rewritten_tail_is_pinned_between_two_checkpoints() -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, [2, 4, 6, 8])
    entries[4] = entries[4]._replace(person="mallory@example.com")
    report = verified(rehashed(entries), checkpoints)
    assert [(one.first, one.last) for one in report.findings] == [(5, 6)]
    assert report.sealed == 4


def test_two_rows_divided_differently_do_not_have_the_same_hash() -> None:
    one = entry_hash(1, timestamp(NOW), "a", "b", None, None, None, '{"x":1}', "0" * 64)
    other = entry_hash(1, timestamp(NOW), "a", 'b","previous":"', None, None, None, '{"x":1}', "0" * 64)
    assert one != other


# Checkpoints that are not what they say


def test_checkpoint_that_was_edited_is_found() -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, [3, 7])
    edited = checkpoints[1].model_copy(update={"hash": "0" * 64})
    report = verified(entries, [checkpoints[0], edited])
    assert "does not match" in report.findings[0].message
    assert report.sealed == 3


def test_checkpoint_of_an_unknown_key_seals_nothing() -> None:
    entries = chain(EVENTS)
    other = make_checkpoint(LEDGER, entries[6].head, NOW, 0, key_signer(Ed25519PrivateKey.generate()))
    report = verified(entries, [other])
    assert "unknown key" in report.findings[0].message
    assert report.sealed == 0


def test_checkpoint_that_disappeared_is_missed() -> None:
    entries = chain(EVENTS)
    checkpoints = sealed(entries, [3, 5, 7])
    report = verified(entries, [checkpoints[0], checkpoints[2]])
    assert [one.message for one in report.findings] == ["the checkpoint at entry 5 is missing: the one at 7 follows it"]


def test_checkpoint_of_another_ledger_is_refused() -> None:
    entries = chain(EVENTS)
    other = make_checkpoint("f" * 32, entries[6].head, NOW, 0, SIGNER)
    assert "is of ledger" in verified(entries, [other]).findings[0].message


# What an event may not be


@pytest.mark.parametrize(
    "evidence",
    [
        {"password": "hunter2"},
        {"headers": {"Authorization": "x"}},
        {"apiKey": "abc"},
        {"list": [{"nested": {"access_key": "x"}}]},
        {"note": "Bearer abcdefghij0123456789"},
        {"note": "postgresql://user:hunter2@host/db"},
        {"note": "AKIA" + "A" * 16},
        {"note": "-----BEGIN OPENSSH PRIVATE KEY-----"},
        {"note": "password=hunter2"},
        {"note": "ghp_" + "a" * 36},
    ],
)
def test_secret_is_refused_without_being_repeated(evidence: dict[str, object]) -> None:
    event = PolicyVerdict.model_validate(
        {"person": "gate", "rule": "r", "subject": "s", "verdict": "passed", "evidence": evidence}
    )
    with pytest.raises(SecretRefusedError, match=r"policy-verdict\.evidence\.") as caught:
        prepare(event)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "evidence",
    [
        {"tokens": 512, "tokenExpired": True},
        {"digest": DIGEST, "fingerprint": "SHA256:" + "a" * 43},
        {"note": "basic responsibilities of an approver; https://host:8000/path?x=1@2"},
    ],
)
def test_harmless_evidence_is_accepted(evidence: dict[str, object]) -> None:
    event = PolicyVerdict.model_validate(
        {"person": "gate", "rule": "r", "subject": "s", "verdict": "passed", "evidence": evidence}
    )
    assert prepare(event).kind == "policy-verdict"


def test_redacted_text_is_accepted() -> None:
    reason = redact("connection to postgresql://user:hunter2@host/db failed")
    assert "hunter2" not in reason
    assert prepare(Retraining(person="a", model="m", trigger="t", reason=reason)).kind == "retraining"


def test_event_that_is_too_large_is_refused() -> None:
    event = PolicyVerdict(
        person="gate", rule="r", subject="s", verdict="passed", evidence={"blob": "x" * (MAXIMUM_BYTES + 1)}
    )
    with pytest.raises(ValueError, match="name evidence by digest"):
        prepare(event)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retraining(person="two words", model="m", trigger="t", reason="r"),
        lambda: Retraining(person="", model="m", trigger="t", reason="r"),
        lambda: Retraining(person="a", model="Not A Model", trigger="t", reason="r"),
        lambda: Quarantine(person="a", model="m", digest="7", action="lifted", reason="r"),
        lambda: Rollback(
            person="a",
            model="m",
            version="1",
            digest=DIGEST,
            rollout="r",
            arm="stable",
            to_version="2",
            trigger="t",
            reason="r",
        ),
        lambda: Retraining.model_validate({"person": "a", "model": "m", "trigger": "t", "reason": "r", "extra": 1}),
    ],
)
def test_malformed_event_is_refused(make: Callable[[], AnyEvent]) -> None:
    with pytest.raises(ValidationError):
        make()


def test_times_sort_as_text_and_need_a_zone() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert timestamp(datetime(2026, 11, 20, 14, 30, tzinfo=east)) == timestamp(NOW) == "2026-11-20T09:00:00.000000Z"
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2026, 11, 20))
