"""When a gate opens, and each reason for which it does not."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from policies.gates.breakglass import BreakGlass
from policies.gates.decision import GateClosedError, Question, decide
from policies.gates.verdict import LIFETIME, Answered, Stop, Verdict
from tests.policies.gates.conftest import NOW

Make = Callable[..., Any]
OTHER = "sha256:" + "d" * 64


def closed(question: Question, found: Verdict | None, statement: BreakGlass | None = None, **late: float) -> str:
    with pytest.raises(GateClosedError) as caught:
        decide(question, found, statement, NOW + timedelta(**late))
    return str(caught.value)


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_it_opens_by_a_passing_verdict_of_a_trusted_key(question: Make, good: Make) -> None:
    passage = decide(question(), good(), None, NOW + timedelta(hours=23))

    assert (passage.by, passage.people, passage.digest) == ("verdict", ("ci@acme",), good().digest)


def test_it_stays_closed_without_a_verdict(question: Make) -> None:
    assert "there is no verdict" in closed(question(), None)


@pytest.mark.parametrize("name", ["stack", "commit", "configuration", "policies", "environment"])
def test_it_stays_closed_when_the_verdict_is_for_another(question: Make, good: Make, name: str) -> None:
    others = {"stack": "other", "commit": "e" * 40, "environment": "staging"}

    assert f"for another {name}" in closed(question(), good(**{name: others.get(name, OTHER)}))


def test_it_stays_closed_when_the_verdict_is_not_signed(question: Make, unsigned: Make) -> None:
    assert "not signed" in closed(question(), unsigned())


@pytest.mark.parametrize(
    "changed",
    [{"commit": "e" * 40}, {"configuration": OTHER}, {"counts": {"passed": 9}}, {"expires_at": NOW + LIFETIME / 2}],
)
def test_it_stays_closed_when_the_verdict_was_changed(question: Make, good: Make, changed: dict[str, Any]) -> None:
    assert "what was signed is not what is here" in closed(question(), good().model_copy(update=changed))


def test_it_stays_closed_when_the_verdict_has_expired(question: Make, good: Make) -> None:
    assert "has expired at 2026-11-21T09:00Z" in closed(question(), good(), hours=24)


def test_it_stays_closed_when_the_verdict_is_of_the_future(question: Make, good: Make) -> None:
    later = {"made_at": NOW + timedelta(hours=1), "expires_at": NOW + LIFETIME}

    assert "a clock is wrong" in closed(question(), good(**later))


@pytest.mark.parametrize(
    ("by", "key", "said"),
    [
        ("eve@acme", "", "unknown signer"),
        ("ci@acme", "eve@acme", "unknown signer"),
        ("eve@acme", "ci@acme", "is not eve@acme's"),
        ("asha@acme", "", "does not let asha@acme sign for 'mlops-gate:verdict'"),
    ],
)
def test_it_stays_closed_when_the_key_is_not_trusted_for_it(
    question: Make, good: Make, by: str, key: str, said: str
) -> None:
    assert said in closed(question(), good(by, key))


def test_a_key_that_is_no_longer_valid_opens_nothing(question: Make, good: Make, allowed: str) -> None:
    ended = allowed.replace('verdict"', 'verdict",valid-before="20261101Z"')

    assert "is not valid at" in closed(question(allowed_signers=ended), good())


def test_a_verdict_that_did_not_pass_says_what_stops_it(question: Make, unsigned: Make) -> None:
    stop = Stop(rule="security.bucket-not-public", subject="data", text="it has no block")

    said = closed(question(), unsigned(outcome="failed", stops=(stop,)))

    assert "security.bucket-not-public (data): it has no block" in said


@pytest.mark.parametrize(
    "contradiction",
    [
        {"stops": (Stop(rule="a.b", subject="c", text="d"),)},
        {"asked": 2},
        {"deferred": (Answered(rule="a.b", subject="c", check="quota", answer="unanswered"),)},
        {"outcome": "failed"},
        {"expires_at": NOW + 2 * LIFETIME},
    ],
)
def test_a_verdict_cannot_say_two_things(unsigned: Make, contradiction: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"does not go with|must expire within"):
        unsigned(**contradiction)


# --- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"commit": ""}, "deploy from a git checkout"),
        ({"commit": "a" * 40 + "-dirty"}, "commit or remove them"),
        ({"allowed_signers": " \n"}, "state gates.allowedSigners"),
        ({"allowed_signers": "ci@acme ssh-ed25519 AAAA"}, "line 1"),
        ({"trust_root": "rehearsal"}, "this is no rehearsal"),
        ({"rehearsal": True}, "this is a rehearsal, whose trust root"),
    ],
)
def test_it_stays_closed_whatever_the_verdict_says(
    question: Make, good: Make, different: dict[str, Any], said: str
) -> None:
    assert said in closed(question(**different), good(**{k: v for k, v in different.items() if k == "commit" and v}))


def test_a_rehearsal_opens_by_its_own_keys_and_takes_a_dirty_tree(question: Make, good: Make) -> None:
    dirty = "a" * 40 + "-dirty"
    asked = question(trust_root="rehearsal", rehearsal=True, commit=dirty)

    assert decide(asked, good(trust_root="rehearsal", commit=dirty), None, NOW).by == "verdict"


# --- break-glass -----------------------------------------------------------------------------------------------------


def test_two_people_open_it_without_a_verdict(question: Make, statement: Make) -> None:
    passage = decide(question(), None, statement("asha@acme", "ben@acme"), NOW)

    assert (passage.by, passage.people, passage.reason) == (
        "break-glass", ("asha@acme", "ben@acme"), "the region is down",
    )  # fmt: skip


def test_a_passing_verdict_goes_before_people(question: Make, good: Make, statement: Make) -> None:
    assert decide(question(), good(), statement("asha@acme", "ben@acme"), NOW).by == "verdict"


@pytest.mark.parametrize(
    ("people", "different", "said"),
    [
        ((), {}, "0 of 2 names"),
        (("asha@acme",), {}, "1 of 2 names"),
        (("asha@acme", "asha@acme"), {}, "1 of 2 names"),
        (("asha@acme", "ben@acme=asha@acme"), {}, "is not ben@acme's"),
        (("asha@acme", "eve@acme"), {}, "unknown signer"),
        (("asha@acme", "ci@acme"), {}, "does not let ci@acme sign for 'mlops-gate:break-glass'"),
        (("asha@acme", "ben@acme"), {"stack": "staging"}, "for another stack"),
        (("asha@acme", "ben@acme"), {"commit": "e" * 40}, "for another commit"),
        (("asha@acme", "ben@acme"), {"trust_root": "staging"}, "for another trust root"),
        (("asha@acme", "ben@acme"), {"made_at": NOW - timedelta(hours=3), "expires_at": NOW}, "has expired"),
    ],
)
def test_people_do_not_open_it(
    question: Make, statement: Make, people: tuple[str, ...], different: dict[str, Any], said: str
) -> None:
    told = closed(question(), None, statement(*people, **different))

    assert "there is no verdict" in told
    assert said in told


def test_one_person_with_two_names_does_not_open_it(question: Make, statement: Make, allowed: str) -> None:
    line = next(line for line in allowed.splitlines() if line.startswith("asha@acme"))
    twice = allowed.replace(line, line.replace("asha@acme", "asha@acme,ben@acme", 1))

    told = closed(question(allowed_signers=twice), None, statement("asha@acme", "ben@acme=asha@acme"))

    assert "1 of 2 names" in told


def test_a_changed_reason_takes_the_signatures_away(question: Make, statement: Make) -> None:
    changed = statement("asha@acme", "ben@acme").model_copy(update={"reason": "something else entirely"})

    assert "the signature of asha@acme is not to be trusted" in closed(question(), None, changed)


def test_a_statement_cannot_last_longer_than_a_day(statement: Make) -> None:
    with pytest.raises(ValueError, match="must expire within"):
        statement(expires_at=NOW + timedelta(hours=25))
