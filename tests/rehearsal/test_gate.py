"""The gate of a rehearsal: its own keys, the real decision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.gating.verdicts import KEY
from infra.rehearsal.gate import RehearsedGate
from policies.gates.decision import GateClosedError, Question, decide
from policies.gates.files import FOLDER, read_break_glass, read_verdict
from policies.releases.keys import REHEARSAL, parse_trust_root
from policies.rule import Rule
from tests.infra.gating.conftest import NOW, RULES, Played, bucket, played


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    return tmp_path


@pytest.fixture
def gate(project: Path, monkeypatch: pytest.MonkeyPatch) -> RehearsedGate:
    rules: tuple[Rule, ...] = RULES
    monkeypatch.setattr("infra.rehearsal.gate.all_rules", lambda: rules)
    monkeypatch.setattr("infra.rehearsal.gate.clock", lambda: NOW)
    return RehearsedGate(project, "eu-central-1", project / "gate")


def test_its_settings_trust_its_own_keys_alone(gate: RehearsedGate, project: Path) -> None:
    stated = gate.settings()["mlops:gates"]

    root = parse_trust_root(stated["trustRoot"], (project / stated["allowedSigners"]).read_text())
    assert root.name == REHEARSAL
    assert {one.namespaces for one in root.signers} == {("mlops-gate:verdict",), ("mlops-gate:break-glass",)}
    assert gate.variables()[FOLDER] == str(project / "gate")
    assert Path(gate.variables()[KEY]).is_file()


def test_a_good_plan_gets_a_verdict_that_opens_a_rehearsal_and_nothing_else(gate: RehearsedGate, project: Path) -> None:
    allowed = (project / gate.settings()["mlops:gates"]["allowedSigners"]).read_text()
    played = _played(gate, allowed)

    found, stops = gate.judge(played)

    assert stops == []
    question = Question(
        stack="prod", environment="prod", commit="a" * 40 + "-dirty", configuration="sha256:" + "b" * 64,
        policies=found.policies, trust_root=REHEARSAL, allowed_signers=allowed, rehearsal=True,
    )  # fmt: skip
    assert decide(question, read_verdict(project / "gate"), None, NOW).by == "verdict"
    with pytest.raises(GateClosedError, match="this is no rehearsal"):
        decide(Question(**{**vars(question), "rehearsal": False}), read_verdict(project / "gate"), None, NOW)


def test_what_rules_stop_two_people_let_through(gate: RehearsedGate, project: Path) -> None:
    allowed = (project / gate.settings()["mlops:gates"]["allowedSigners"]).read_text()
    found, stops = gate.judge(_played(gate, allowed, bucket("delete")))

    gate.break_glass(found, "the rehearsal is over")

    assert stops == ["rollback.two (data): [failed] it is deleted"]
    question = Question(
        stack="prod", environment="prod", commit="a" * 40 + "-dirty", configuration="sha256:" + "b" * 64,
        policies=found.policies, trust_root=REHEARSAL, allowed_signers=allowed, rehearsal=True,
    )  # fmt: skip
    assert decide(question, None, read_break_glass(project / "gate"), NOW).by == "break-glass"


def _played(gate: RehearsedGate, allowed: str, *steps: Mapping[str, Any]) -> Played:
    stated = {"trustRoot": REHEARSAL, "commit": "a" * 40 + "-dirty"}
    return played(gate.project, allowed, *steps, gate=stated, environment=gate.variables())
