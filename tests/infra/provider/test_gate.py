"""The gate: what counts as a change, and what it lets through."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from infra.provider.codec import Properties
from infra.provider.gate import GateResource
from infra.provider.resource import Call, Difference, ResourceError
from policies.gates.breakglass import BreakGlass, witnessed
from policies.gates.decision import in_rehearsal
from policies.gates.files import break_glass_file, verdict_file, write
from policies.gates.policy_set import policies_digest
from policies.gates.record import open_ledger
from policies.gates.verdict import LIFETIME, Verdict, signed
from policies.releases.keys import AllowedSigner, key_signer
from policies.releases.signing import public_key

COMMIT, CONFIGURATION = "a" * 40, "sha256:" + "b" * 64
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
KEYS = {name: ed25519.Ed25519PrivateKey.generate() for name in ("ci@acme", "asha@acme", "ben@acme")}
ALLOWED = "".join(
    AllowedSigner((name,), ("mlops-gate:*",), public_key(key)).line() + "\n" for name, key in KEYS.items()
)


def gate(**different: Any) -> Properties:
    given = {
        "environment": "prod",
        "stack": "prod",
        "client": "acme",
        "target": "aws",
        "settings": {"client": "acme"},
        "commit": COMMIT,
        "configuration": CONFIGURATION,
        "trustRoot": "prod",
        "allowedSigners": ALLOWED,
    }
    checked, problems = GateResource().check(given | different)
    assert problems == []
    return checked


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def call(said: list[str]) -> Call:
    return Call("gate", lambda message, _passing: said.append(message))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/rule.py").write_text("RULE = 1\n")
    return tmp_path


Resource = Callable[..., GateResource]


@pytest.fixture
def resource(project: Path) -> Resource:
    """The gate of that project at a time."""

    def make(late: timedelta = timedelta(), **variables: str) -> GateResource:
        return GateResource(project, {"MLOPS_GATE_FOLDER": str(project / "gate"), **variables}, lambda: NOW + late)

    return make


@pytest.fixture
def judged(project: Path) -> Callable[..., None]:
    """Put a signed verdict there."""

    def put(**different: Any) -> None:
        given = {
            "stack": "prod", "environment": "prod", "commit": COMMIT, "configuration": CONFIGURATION,
            "policies": policies_digest(project), "outcome": "passed", "registered": 1, "asked": 1,
            "counts": {"passed": 1}, "made_at": NOW, "expires_at": NOW + LIFETIME, "trust_root": "prod",
        }  # fmt: skip
        made = Verdict.model_validate({**given, **different})
        write(verdict_file(project / "gate"), signed(made, "ci@acme", key_signer(KEYS["ci@acme"])))

    return put


@pytest.fixture
def broken(project: Path) -> Callable[..., None]:
    """Put a break-glass statement there."""

    def put(*people: str) -> None:
        made = BreakGlass(
            stack="prod", commit=COMMIT, reason="the region is down", made_at=NOW,
            expires_at=NOW + timedelta(hours=2), trust_root="prod",
        )  # fmt: skip
        for name in people:
            made = witnessed(made, name, key_signer(KEYS[name]))
        write(break_glass_file(project / "gate"), made)

    return put


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


# --- what a gated environment is let through by ----------------------------------------------------------------------


def test_a_signed_verdict_opens_it_and_is_on_record(
    resource: Resource, call: Call, judged: Callable[..., None], project: Path
) -> None:
    judged()

    _, state = resource().create(call, gate())

    assert (state["passed"]["by"], state["passed"]["people"]) == ("verdict", ["ci@acme"])
    (entry,) = open_ledger(project / "gate").entries()
    assert (entry.kind, entry.person) == ("policy-verdict", "ci@acme")


@pytest.mark.parametrize(
    ("different", "late", "why"),
    [
        ({"commit": "c" * 40}, 0, "for another commit"),
        ({"configuration": "sha256:" + "d" * 64}, 0, "for another configuration"),
        ({"stack": "staging"}, 0, "for another stack"),
        ({"policies": "sha256:" + "d" * 64}, 0, "for another policies"),
        ({}, 24, "has expired"),
    ],
)
def test_it_stays_closed_when_the_verdict_does_not_fit(
    resource: Resource, call: Call, judged: Callable[..., None], different: dict[str, Any], late: int, why: str
) -> None:
    judged(**different)

    with pytest.raises(ResourceError, match=why):
        resource(timedelta(hours=late)).update(call, gate(), gate(commit="c" * 40), {})


def test_it_stays_closed_when_a_rule_was_changed_since(
    resource: Resource, call: Call, judged: Callable[..., None], project: Path
) -> None:
    judged()
    (project / "policies/rule.py").write_text("RULE = 0\n")

    with pytest.raises(ResourceError, match="for another policies"):
        resource().create(call, gate())


def test_it_stays_closed_without_a_verdict_and_says_what_to_do(resource: Resource, call: Call) -> None:
    with pytest.raises(ResourceError, match=r"nothing is changed: there is no verdict.*\./mlops up prod"):
        resource().create(call, gate())


def test_it_stays_closed_when_the_verdict_cannot_be_read(resource: Resource, call: Call, project: Path) -> None:
    (project / "gate").mkdir()
    verdict_file(project / "gate").write_text("{}")

    with pytest.raises(ResourceError, match="is not what it should be"):
        resource().create(call, gate())


def test_two_people_open_it_loudly_and_on_record(
    resource: Resource, call: Call, broken: Callable[..., None], project: Path, said: list[str]
) -> None:
    broken("asha@acme", "ben@acme")

    _, state = resource().create(call, gate())

    assert (state["passed"]["by"], state["passed"]["reason"]) == ("break-glass", "the region is down")
    assert "BREAK-GLASS: asha@acme and ben@acme answer for changing prod" in said[0]
    entries = [(one.kind, one.person) for one in open_ledger(project / "gate").entries()]
    assert entries == [
        ("policy-verdict", "asha@acme"),
        ("policy-verdict", "ben@acme"),
        ("administrative-access", "asha@acme"),
        ("administrative-access", "ben@acme"),
    ]


def test_it_stays_closed_when_the_ledger_cannot_be_written(
    resource: Resource, call: Call, judged: Callable[..., None], project: Path
) -> None:
    judged()
    closed = resource(MLOPS_GATE_LEDGER=f"sqlite:///{project}/missing/ledger.db")

    with pytest.raises(ResourceError, match="its ledger cannot be written"):
        closed.create(call, gate())


def test_an_environment_leaves_the_gates_by_people_only(
    resource: Resource, call: Call, judged: Callable[..., None], broken: Callable[..., None]
) -> None:
    judged(environment="dev")
    with pytest.raises(ResourceError, match="there is no verdict"):
        resource().update(call, gate(environment="dev"), gate(), {})

    broken("asha@acme", "ben@acme")

    assert resource().update(call, gate(environment="dev"), gate(), {})["passed"]["by"] == "break-glass"


@pytest.mark.parametrize(
    ("address", "opens"), [("http://127.0.0.1:5000", True), ("https://s3.amazonaws.com", False), (None, False)]
)
def test_the_rehearsals_keys_count_only_where_aws_is_played(
    resource: Resource, call: Call, judged: Callable[..., None], address: str | None, opens: bool
) -> None:
    judged(trust_root="rehearsal")
    variables = {"AWS_ENDPOINT_URL": address} if address else {}
    rehearsed = gate(trustRoot="rehearsal")

    assert in_rehearsal(variables) is opens
    if opens:
        assert resource(**variables).create(call, rehearsed)[1]["passed"]["by"] == "verdict"
        return
    with pytest.raises(ResourceError, match="this is no rehearsal"):
        resource(**variables).create(call, rehearsed)


def test_a_stated_clock_revives_no_verdict(project: Path, call: Call, judged: Callable[..., None]) -> None:
    judged()
    environ = {"MLOPS_GATE_FOLDER": str(project / "gate"), "MLOPS_NOW": NOW.isoformat()}

    with pytest.raises(ResourceError, match=r"has expired|a clock is wrong"):
        GateResource(project, environ).create(call, gate())
