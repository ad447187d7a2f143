"""What verdict follows from an evaluation, and how it is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.evaluation import Evaluation, Finding
from policies.gates.files import GateFileError, read_break_glass, read_verdict, verdict_file, write
from policies.gates.verdict import Answered, Verdict, signed, verdict_of
from tests.policies.gates.conftest import COMMIT, CONFIGURATION, NOW, POLICIES

JUDGED = {
    "stack": "prod", "environment": "prod", "commit": COMMIT, "configuration": CONFIGURATION, "policies": POLICIES,
}  # fmt: skip
RULES = ["security.a", "cost.b"]


def finding(**different: Any) -> Finding:
    given = {"rule": "security.a", "status": "failed", "level": "mandatory", "severity": "high", "text": "open"}
    return Finding(**{**given, "urn": "urn:pulumi:prod::mlops::t::data", "fix": "close it", **different})


def verdict(*findings: Finding, asked: list[str] | None = None, deferred: tuple[Answered, ...] = ()) -> Verdict:
    found = Evaluation(findings=findings, counts={"passed": 2}, asked=RULES if asked is None else asked)
    return verdict_of(found, JUDGED, registered=RULES, deferred=deferred, trust_root="prod", now=NOW)


def answered(answer: Any, *, mandatory: bool = True) -> Answered:
    return Answered(rule="reliability.q", subject="pool", check="quota", answer=answer, mandatory=mandatory)


def test_it_passes_when_every_rule_was_asked_and_nothing_stops() -> None:
    made = verdict()

    assert (made.outcome, made.asked, made.registered) == ("passed", 2, 2)


@pytest.mark.parametrize("status", ["failed", "undetermined"])
def test_it_fails_on_what_stops_and_says_it(status: Any) -> None:
    made = verdict(finding(status=status))

    assert made.outcome == "failed"
    assert (made.stops[0].rule, made.stops[0].subject, made.stops[0].fix) == ("security.a", "data", "close it")


@pytest.mark.parametrize("different", [{"level": "advisory"}, {"status": "waived", "waiver": "asha, until …"}])
def test_advice_and_waivers_do_not_stop(different: dict[str, Any]) -> None:
    assert verdict(finding(**different)).outcome == "passed"


def test_waivers_are_listed() -> None:
    assert verdict(finding(status="waived")).waived == ("security.a: data",)


def test_it_fails_when_a_rule_was_not_asked() -> None:
    made = verdict(asked=["security.a"])

    assert made.outcome == "failed"
    assert [(one.rule, one.text) for one in made.stops] == [("cost.b", "the rule was not asked")]


def test_it_fails_when_a_rule_that_nobody_knows_was_asked_instead() -> None:
    assert verdict(asked=["security.a", "cost.other"]).outcome == "failed"


@pytest.mark.parametrize(("answer", "outcome"), [("passed", "passed"), ("failed", "failed"), ("unanswered", "failed")])
def test_it_follows_the_answers_to_what_was_deferred(answer: str, outcome: str) -> None:
    assert verdict(deferred=(answered(answer),)).outcome == outcome


def test_answers_that_nobody_waits_for_do_not_stop() -> None:
    assert verdict(deferred=(answered("unanswered", mandatory=False),)).outcome == "passed"


def test_a_verdict_that_failed_is_not_signed() -> None:
    with pytest.raises(ValueError, match="not signed"):
        signed(verdict(finding()), "ci@acme", lambda _namespace, _message: "")


def test_it_is_read_as_it_was_written(tmp_path: Path, good: Callable[..., Verdict]) -> None:
    write(verdict_file(tmp_path), good())

    assert read_verdict(tmp_path) == good()
    assert read_break_glass(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"outcome": "passed"}'])
def test_a_file_that_is_no_verdict_is_an_error_and_not_none(tmp_path: Path, content: str) -> None:
    verdict_file(tmp_path).write_text(content)

    with pytest.raises(GateFileError, match=r"verdict\.json"):
        read_verdict(tmp_path)
