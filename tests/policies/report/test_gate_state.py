"""The gates of a checkout are read from its files, its rules by its own code; what cannot be had is a problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.report.gate_state import GateState, flat, merged_settings, read_gate_state

PROJECT = Path(__file__).parents[3]
STACK = "config:\n  mlops:baseline: prod\n  mlops:aws: {governance: {budgetUsd: 5}}\n  mlops:token: {secure: abc}\n"
BASELINE = "environment: prod\naws: {governance: {auditDays: 9, budgetUsd: 1}}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "stacks" / "baselines").mkdir(parents=True)
    (tmp_path / "stacks" / "Pulumi.prod.yaml").write_text(STACK)
    (tmp_path / "stacks" / "baselines" / "prod.yaml").write_text(BASELINE)
    return tmp_path


def _rules(checkout: Path, description: str) -> GateState:
    (checkout / "policies" / "rules").mkdir(parents=True)
    (checkout / "policies" / "__init__.py").touch()
    (checkout / "policies" / "describe.py").write_text(description)
    return read_gate_state(checkout)


@pytest.mark.slow
def test_our_own_rules_describe_themselves() -> None:
    state = read_gate_state(PROJECT)
    assert state.problems == []
    assert not state.gateless
    assert state.rules is not None
    assert state.rules["security.bucket-not-public"]["waivable"] is False
    assert state.rules["security.bucket-not-public"]["levels"]["prod"] == "mandatory"
    assert state.settings["prod"]["aws.governance.budgetUsd"] > 0
    assert {"policies/judge.py", "policies/pack/servicer.py"} <= set(state.files)


def test_settings_are_those_in_force_without_secrets(checkout: Path) -> None:
    assert read_gate_state(checkout).settings["prod"] == {
        "baseline": "prod", "environment": "prod", "aws.governance.auditDays": 9, "aws.governance.budgetUsd": 5,
    }  # fmt: skip


def test_a_checkout_without_policies_has_no_gates(checkout: Path) -> None:
    state = read_gate_state(checkout)
    assert (state.rules, state.waivers, state.problems, state.gateless) == ({}, (), [], True)


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("raise ValueError('there are two rules a')", "ValueError: there are two rules a"),
        ("print('{}')", "KeyError"),
        ("print('no json')", "JSONDecodeError"),
        ('print(\'{"format": "x"}\')', "not understood"),
        ("", "JSONDecodeError"),
    ],
)
def test_rules_that_cannot_be_described_are_a_problem(checkout: Path, description: str, told: str) -> None:
    state = _rules(checkout, description)
    assert state.rules is None
    assert told in state.problems[0]


@pytest.mark.slow
def test_rules_without_a_description_are_a_problem(checkout: Path) -> None:
    (checkout / "policies" / "rules").mkdir(parents=True)
    state = read_gate_state(checkout)
    assert state.rules is None
    assert "cannot be described" in state.problems[0]


def test_rules_of_another_checkout_are_not_taken_for_those_that_were_meant(checkout: Path) -> None:
    other = '{"format": "mlops-rules/1", "project": "/somewhere/else", "rules": []}'
    state = _rules(checkout, f"print('{other}')")
    assert state.rules is None
    assert "/somewhere/else answered" in state.problems[0]


def test_waivers_that_cannot_be_read_are_a_problem(checkout: Path) -> None:
    (checkout / "stacks" / "waivers.yaml").write_text("waivers: [{rule: x}]")
    state = read_gate_state(checkout)
    assert state.waivers is None
    assert "stacks/waivers.yaml" in state.problems[0]


@pytest.mark.parametrize("text", ["config: [", "- x", "config: x", "config:\n  mlops:baseline: gone\n"])
def test_a_stack_that_cannot_be_read_is_a_problem(checkout: Path, text: str) -> None:
    (checkout / "stacks" / "Pulumi.prod.yaml").write_text(text)
    assert "stacks/" in read_gate_state(checkout).problems[0]


def test_the_files_of_allowed_signers_count(checkout: Path) -> None:
    (checkout / "keys").write_text("dora ssh-ed25519 AAAA")
    with (checkout / "stacks" / "Pulumi.prod.yaml").open("a") as file:
        file.write("  mlops:gates: {allowedSigners: keys}\n")
    assert "keys" in read_gate_state(checkout).files


def test_merging_follows_the_settings_own_rules() -> None:
    files = {
        "stacks/Pulumi.a.yaml": "config:\n  mlops:baseline: b\n  mlops:x: {y: null, z: [3]}\n  aws:region: r\n",
        "stacks/baselines/b.yaml": "extends: c\nx: {y: 1, z: [1, 2]}\n",
        "stacks/baselines/c.yaml": "x: {w: 0}\n",
    }
    assert flat(merged_settings("a", files)) == {"baseline": "b", "x.w": 0, "x.z": [3]}


@pytest.mark.slow
def test_the_shipped_stacks_merge_as_the_settings_do() -> None:
    from infra.settings.sources import load_stack_file

    read = load_stack_file(PROJECT / "stacks" / "Pulumi.prod.yaml").model_dump(mode="json", by_alias=True)
    stated = read_gate_state(PROJECT).settings["prod"]
    effective = flat(read)
    assert {key: value for key, value in stated.items() if effective.get(key) != value} == {}
