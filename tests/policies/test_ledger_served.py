"""What served at a time, who approved it, on which evidence."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policies.ledger.chain import Entry, genesis, link, prepare, timestamp
from policies.ledger.events import AnyEvent, ApprovalGiven, Approver, ReleaseStep, Rollback, Training
from policies.ledger.served import Served, serving_at

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MODEL = "flight-delay"
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
DIGESTS = {"1": ONE, "2": TWO}


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


class History:
    """A ledger in memory; each event takes place at a minute."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._head = genesis("0" * 32)

    def add(self, at: float, event: AnyEvent) -> "History":
        self.entries += link(self._head, timestamp(minute(at)), [prepare(event)])
        self._head = self.entries[-1].head
        return self

    def train(self, at: float, version: str) -> "History":
        event = Training(
            person="trainer@example.com",
            model=MODEL,
            version=version,
            digest=DIGESTS[version],
            run=f"run{version}",
            commit="c" * 40,
            data_digest=ONE,
            seed=7,
            passed=True,
        )
        return self.add(at, event)

    def approve(self, at: float, version: str, person: str = "asha@example.com") -> "History":
        event = ApprovalGiven(
            person=person,
            model=MODEL,
            version=version,
            digest=DIGESTS[version],
            role="model-risk",
            environments=("prod",),
            approved_at=minute(at),
        )
        return self.add(at, event)

    def step(self, at: float, version: str, step: Any, model: str = MODEL, **changes: Any) -> "History":
        data = {"version": version, "digest": DIGESTS[version], "rollout": f"r{version}", "step": step}
        return self.add(at, ReleaseStep(person="controller", model=model, strategy="canary", **(data | changes)))

    def roll_back(self, at: float, version: str, arm: Any, to: str | None) -> "History":
        event = Rollback(
            person="controller",
            model=MODEL,
            version=version,
            digest=DIGESTS[version],
            rollout=f"r{version}",
            arm=arm,
            to_version=to,
            to_digest=None if to is None else DIGESTS[to],
            trigger="errors",
            reason="too many",
            evidence={"errors": 9},
        )
        return self.add(at, event)

    def at(self, when: float) -> Served:
        return serving_at(self.entries, MODEL, minute(when))


@pytest.fixture
def history() -> History:
    """Version 1 is promoted in minute 3; the canary of version 2 begins in minute 12."""
    made = History().train(0, "1").approve(1, "1").step(2, "1", "started").step(3, "1", "promoted", evidence={"n": 5})
    made.step(4, "2", "promoted", model="mortgage-approval")
    return made.train(10, "2").approve(11, "2").step(12, "2", "weight", weight=0.05).step(13, "2", "weight", weight=0.5)


def stable(served: Served) -> str | None:
    return None if served.stable is None else served.stable.version


def test_nothing_serves_before_the_first_promotion(history: History) -> None:
    served = history.at(2.5)
    assert served.stable is None
    assert served.approvers == ()
    assert served.evidence == ()


def test_answer_names_version_digest_approver_and_evidence(history: History) -> None:
    served = history.at(5)
    assert served.stable is not None
    assert (served.stable.version, served.stable.digest, served.stable.rollout) == ("1", ONE, "r1")
    assert served.stable.since == timestamp(minute(3))
    assert [(one.principal, one.role, one.entry) for one in served.approvers] == [("asha@example.com", "model-risk", 2)]
    assert served.training == {"by": "trainer@example.com", "run": "run1", "commit": "c" * 40, "dataDigest": ONE}
    assert served.measured == {"n": 5}
    assert served.evidence == (1, 2, 3, 4)


def test_moment_of_the_promotion_counts(history: History) -> None:
    assert stable(history.at(3)) == "1"
    assert stable(history.at(2.999)) is None


def test_candidate_is_named_with_its_share_while_it_gets_requests(history: History) -> None:
    assert history.at(11).candidate is None
    served = history.at(14)
    assert stable(served) == "1"
    assert served.candidate is not None
    assert (served.candidate.version, served.candidate.weight) == ("2", 0.5)
    assert served.candidate.since == timestamp(minute(12))


def test_promotion_replaces_stable_and_ends_the_candidate(history: History) -> None:
    served = history.step(20, "2", "promoted").at(21)
    assert stable(served) == "2"
    assert served.candidate is None
    assert stable(history.at(15)) == "1"


@pytest.mark.parametrize("end", ["aborted", "failed", "superseded"])
def test_ended_rollout_leaves_stable(history: History, end: str) -> None:
    served = history.step(20, "2", end).at(21)
    assert stable(served) == "1"
    assert served.candidate is None


def test_rollback_of_a_candidate_leaves_stable(history: History) -> None:
    served = history.roll_back(20, "2", "candidate", "1").at(21)
    assert stable(served) == "1"
    assert served.candidate is None
    assert served.stable is not None
    assert served.stable.since == timestamp(minute(3))


def test_rollback_of_stable_names_what_took_its_place_and_its_approver(history: History) -> None:
    served = history.step(20, "2", "promoted").roll_back(25, "2", "stable", "1").at(26)
    assert served.stable is not None
    assert (served.stable.version, served.stable.since) == ("1", timestamp(minute(25)))
    assert [one.principal for one in served.approvers] == ["asha@example.com"]
    assert served.measured == {"errors": 9}


def test_rollback_without_target_and_withdrawal_leave_nothing(history: History) -> None:
    assert stable(history.roll_back(20, "1", "stable", None).at(21)) is None
    assert stable(history.step(22, "1", "promoted").at(22)) == "1"
    assert stable(history.step(23, "1", "withdrawn").at(24)) is None


def test_approver_named_by_the_rollout_only_is_in_the_answer() -> None:
    approver = Approver(principal="rule:local", role="rule")
    served = History().step(1, "1", "promoted", approvers=(approver,)).at(2)
    assert [(one.principal, one.entry) for one in served.approvers] == [("rule:local", None)]


def test_approval_given_after_the_promotion_is_not_its_evidence(history: History) -> None:
    history.approve(8, "1", person="late@example.com")
    assert [one.principal for one in history.at(9).approvers] == ["asha@example.com"]


def test_clock_that_was_put_back_is_noted(history: History) -> None:
    assert history.at(5).notes == ()
    notes = history.step(1, "2", "promoted").at(5).notes
    assert len(notes) == 1
    assert "put back" in notes[0]
