"""An export can be verified without the database, and a changed one is found."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from policies.ledger.chain import entry_hash, genesis, link, prepare, timestamp
from policies.ledger.checkpoint import make_checkpoint
from policies.ledger.events import Retraining
from policies.ledger.export import export_lines, verify_export
from policies.releases.keys import key_signer
from policies.releases.signing import public_key

LEDGER = "0" * 32
KEY = Ed25519PrivateKey.generate()


def make_lines() -> list[str]:
    now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    events = [
        Retraining(person="asha@example.com", model="m", trigger="t", reason=f"größer {n}", evidence={"x": n / 3})
        for n in range(8)
    ]
    entries = list(link(genesis(LEDGER), timestamp(now), [prepare(event) for event in events]))
    checkpoints = [
        make_checkpoint(LEDGER, entries[3].head, now, 0, key_signer(KEY)),
        make_checkpoint(LEDGER, entries[6].head, now, 4, key_signer(KEY)),
    ]
    return list(export_lines(LEDGER, entries, checkpoints, now))


LINES = make_lines()
KEYS = [public_key(KEY)]


def test_export_verifies() -> None:
    report = verify_export(LINES, KEYS)
    assert report.ok, report.findings
    assert (report.entries, report.sealed, report.checkpoints) == (8, 7, 2)


def test_each_line_is_one_json_object_that_says_what_it_is() -> None:
    kinds = [json.loads(line)["type"] for line in LINES]
    assert kinds == ["ledger", *["checkpoint"] * 2, *["entry"] * 8, "end"]
    assert json.loads(LINES[3])["what"]["reason"] == "größer 0"


def test_same_data_spelled_differently_still_verifies() -> None:
    spelled = [json.dumps(json.loads(line), indent=None, sort_keys=True) + "\r\n" for line in LINES]
    assert verify_export(spelled, KEYS).ok


@given(number=st.integers(0, len(LINES) - 1))
def test_dropped_line_is_found(number: int) -> None:
    assert not verify_export([*LINES[:number], *LINES[number + 1 :]], KEYS).ok


@given(number=st.integers(0, len(LINES) - 1))
def test_export_that_was_cut_off_is_found(number: int) -> None:
    assert not verify_export(LINES[:number], KEYS).ok


@given(first=st.integers(0, len(LINES) - 1), second=st.integers(0, len(LINES) - 1))
def test_swapped_lines_are_found(first: int, second: int) -> None:
    lines = list(LINES)
    lines[first], lines[second] = lines[second], lines[first]
    both_checkpoints = {first, second} <= {1, 2}  # their order does not matter
    assert verify_export(lines, KEYS).ok == (first == second or both_checkpoints)


@given(number=st.integers(1, len(LINES) - 2), data=st.data())
def test_changed_value_is_found(number: int, data: st.DataObject) -> None:
    entry = json.loads(LINES[number])
    name = data.draw(st.sampled_from(sorted(entry)))
    old = entry[name]
    entry[name] = data.draw(st.one_of(st.none(), st.integers(), st.text(max_size=3), st.just({"a": 1}), st.just([])))
    lines = [*LINES[:number], json.dumps(entry), *LINES[number + 1 :]]
    assert verify_export(lines, KEYS).ok == (entry[name] == old and type(entry[name]) is type(old))


@given(number=st.integers(0, len(LINES) - 1), text=st.text(max_size=20))
def test_line_that_is_something_else_is_found(number: int, text: str) -> None:
    assert not verify_export([*LINES[:number], text, *LINES[number + 1 :]], KEYS).ok


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines, '{"type":"entry"}\n'],
        lambda lines: [*lines[:-2], '{"type":"end","entries":8,"checkpoints":2}\n'],
        lambda lines: [*lines[:6], '{"type":"end","entries":3,"checkpoints":2}\n'],
    ],
)
def test_end_must_be_true_and_last(change: Callable[[list[str]], list[str]]) -> None:
    assert not verify_export(change(LINES), KEYS).ok


def test_rewritten_export_is_found_by_its_checkpoints() -> None:
    lines, head = list(LINES), genesis(LEDGER).hash
    for number in range(3, 11):
        data: dict[str, Any] = json.loads(lines[number])
        if number == 4:
            data["person"] = "mallory@example.com"
        what = json.dumps(data["what"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        data["previous"] = head
        head = entry_hash(
            data["seq"],
            data["time"],
            data["kind"],
            data["person"],
            data["model"],
            data["version"],
            data["digest"],
            what,
            data["previous"],
        )
        data["hash"] = head
        lines[number] = json.dumps(data)
    report = verify_export(lines, KEYS)
    assert report.first_bad == 1
    assert report.findings[0].last == 4


def test_export_without_trusted_key_seals_nothing() -> None:
    report = verify_export(LINES, [])
    assert not report.ok
    assert report.sealed == 0
