"""The gate: what counts as a change, and what it lets through."""

from typing import Any

import pytest

from infra.provider.codec import Properties
from infra.provider.gate import GateResource
from infra.provider.resource import Call, Difference

COMMIT, CONFIGURATION = "a" * 40, "sha256:" + "b" * 64


def gate(**different: Any) -> Properties:
    given = {
        "environment": "prod",
        "stack": "prod",
        "client": "acme",
        "target": "aws",
        "settings": {"client": "acme"},
        "commit": COMMIT,
        "configuration": CONFIGURATION,
    }
    checked, problems = GateResource().check(given | different)
    assert problems == []
    return checked


@pytest.fixture
def call() -> Call:
    return Call("gate", lambda _message, _passing: None)


@pytest.mark.parametrize("kind", ["local", "dev"])
@pytest.mark.parametrize("changed", [{"commit": "c" * 40}, {"configuration": "sha256:" + "c" * 64}, {"settings": {}}])
def test_commit_and_settings_are_no_change_where_nothing_is_gated(kind: str, changed: dict[str, Any]) -> None:
    assert not GateResource().diff(gate(environment=kind), {}, gate(environment=kind, **changed))


@pytest.mark.parametrize("kind", ["staging", "prod"])
@pytest.mark.parametrize("changed", [{"commit": "c" * 40}, {"configuration": "sha256:" + "c" * 64}])
def test_every_commit_and_configuration_is_decided_anew_where_it_is_gated(kind: str, changed: dict[str, Any]) -> None:
    difference = GateResource().diff(gate(environment=kind), {}, gate(environment=kind, **changed))

    assert difference == Difference(update=tuple(changed))


def test_the_same_commit_and_configuration_is_no_change() -> None:
    assert not GateResource().diff(gate(), {}, gate())


def test_a_gated_environment_that_becomes_another_kind_is_decided_anew() -> None:
    assert GateResource().diff(gate(), {}, gate(environment="dev")).update == ("environment",)


def test_a_local_environment_is_let_through(call: Call) -> None:
    identity, state = GateResource().create(call, gate(environment="local"))

    assert identity == "gate-prod"
    assert state["passed"]["by"] == "not asked"


@pytest.mark.parametrize(
    "wrong", [{"environment": "production"}, {"commit": "HEAD"}, {"configuration": "abc"}, {"stack": ""}]
)
def test_inputs_that_state_nothing_are_refused(wrong: dict[str, Any]) -> None:
    given = {name: value for name, value in gate().items() if name not in wrong} | wrong

    assert GateResource().check(given)[1]
