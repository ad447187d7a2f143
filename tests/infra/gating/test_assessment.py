"""What counts as judged, and everything that does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.gating.assessment import Assessment, AssessmentError, assess
from infra.gating.verdicts import GateKeyError, passage, write_verdict
from policies.gates.decision import GateClosedError
from policies.gates.files import read_verdict
from policies.gates.verdict import Answered
from tests.infra.gating.conftest import NOW, RULES, Played, bucket

Make = Callable[..., Played]
FINDING = {"rule": "security.one", "status": "failed", "level": "mandatory", "severity": "high", "text": "open"}


def judged(played: Played) -> Assessment:
    return assess(played, played.project, RULES, NOW)


def test_pack_and_rules_about_steps_are_one_evaluation(stack: Make) -> None:
    found = judged(stack(bucket("create")))

    assert found.evaluation.passed
    assert set(found.evaluation.asked) == set(found.registered) == {"security.one", "rollback.two"}
    assert found.evaluation.counts == {"passed": 2}
    assert found.operations == {"create": 2}


def test_a_deletion_that_the_pack_cannot_see_is_found(stack: Make) -> None:
    found = judged(stack(bucket("delete")))

    assert [(one.rule, one.status) for one in found.evaluation.findings] == [("rollback.two", "failed")]
    assert not found.evaluation.passed


def test_a_finding_of_the_pack_is_no_error_of_the_preview(stack: Make) -> None:
    evaluation = {"findings": [FINDING], "counts": {"failed": 1}, "asked": ["security.one"]}

    assert not judged(stack(evaluation=evaluation, code=1)).evaluation.passed


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"evaluation": None}, "the policies did not run"),
        ({"evaluation": "{"}, "the policies did not run"),
        ({"evaluation": {"findings": []}}, "the policies did not run"),
        ({"printed": "", "said": "error: the program failed", "code": 1}, "cannot be previewed: error: the program"),
        ({"printed": "{}", "code": 1}, "cannot be previewed"),
        ({"code": 1, "said": "error: a resource failed"}, "the preview of stack prod failed: error: a resource"),
        ({"gate": {"environment": "production"}}, "environment 'production'"),
        ({"printed": '{"steps": []}'}, "has 0 gates"),
    ],
)
def test_what_was_not_judged_whole_is_an_error(stack: Make, different: dict[str, Any], said: str) -> None:
    with pytest.raises(AssessmentError, match=said):
        judged(stack(**different))


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_passing_verdict_is_signed_and_opens_the_gate(stack: Make, project: Path) -> None:
    found, folder = judged(stack()), project / "gate"

    made = write_verdict(found, (), folder, NOW, {"MLOPS_GATE_KEY": str(project / "key")})

    assert (made.outcome, made.principal) == ("passed", "ci@acme")
    assert read_verdict(folder) == made
    assert passage(found, folder, NOW).people == ("ci@acme",)


def test_a_verdict_that_fails_is_written_and_not_signed(stack: Make, project: Path) -> None:
    found, folder = judged(stack(bucket("delete"))), project / "gate"

    made = write_verdict(found, (), folder, NOW, {"MLOPS_GATE_KEY": str(project / "key")})

    assert (made.outcome, made.signature) == ("failed", None)
    with pytest.raises(GateClosedError, match=r"rollback\.two \(data\): \[failed\] it is deleted"):
        passage(found, folder, NOW)


@pytest.mark.parametrize("asked", [[], ["security.other"]])
def test_a_pack_that_asked_fewer_rules_does_not_pass(stack: Make, project: Path, asked: list[str]) -> None:
    found = judged(stack(evaluation={"findings": [], "counts": {}, "asked": asked}))

    made = write_verdict(found, (), project / "gate", NOW, {"MLOPS_GATE_KEY": str(project / "key")})

    assert made.outcome == "failed"
    assert ("security.one", "the rule was not asked") in [(one.rule, one.text) for one in made.stops]


def test_an_open_question_does_not_pass(stack: Make, project: Path) -> None:
    open_one = Answered(rule="security.one", subject="pool", check="quota", answer="unanswered")

    made = write_verdict(judged(stack()), [open_one], project / "gate", NOW, {"MLOPS_GATE_KEY": str(project / "key")})

    assert (made.outcome, made.signature) == ("failed", None)


def test_without_a_key_the_gate_stays_closed_but_a_signed_verdict_that_is_there_stays(
    stack: Make, project: Path
) -> None:
    found, folder = judged(stack()), project / "gate"
    assert write_verdict(found, (), folder, NOW, {}).signature is None
    with pytest.raises(GateClosedError, match="not signed"):
        passage(found, folder, NOW)

    signed = write_verdict(found, (), folder, NOW, {"MLOPS_GATE_KEY": str(project / "key")})
    write_verdict(found, (), folder, NOW, {})

    assert read_verdict(folder) == signed


def test_a_key_that_is_not_trusted_for_verdicts_is_an_error(stack: Make, project: Path, tmp_path: Path) -> None:
    from policies.releases.keys import make_key

    make_key(tmp_path / "stranger", "eve@acme")

    with pytest.raises(GateKeyError, match="does not let key SHA256"):
        write_verdict(judged(stack()), (), project / "gate", NOW, {"MLOPS_GATE_KEY": str(tmp_path / "stranger")})
    with pytest.raises(GateKeyError, match="can't be read"):
        write_verdict(judged(stack()), (), project / "gate", NOW, {"MLOPS_GATE_KEY": str(tmp_path / "missing")})
