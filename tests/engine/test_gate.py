"""The gate before the real engine: what waits for it is not touched unless it opens."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from components.blueprint import Token, TokenArgs
from components.component import Component
from components.gate import Gate, GateArgs, behind, only_through
from components.keeping import keeping
from policies.gates.breakglass import BreakGlass, witnessed
from policies.gates.files import break_glass_file, verdict_file, write
from policies.gates.policy_set import policies_digest
from policies.gates.record import open_ledger
from policies.gates.verdict import Verdict, signed
from policies.releases.keys import AllowedSigner, key_signer
from policies.releases.signing import public_key
from policies.stateful import Stateful
from tests.engine.conftest import ROOT, Project

pytestmark = [pytest.mark.engine, pytest.mark.slow]

COMMIT, CONFIGURATION = "a" * 40, "sha256:" + "b" * 64
_URN = "urn:pulumi:local::mlops::test:index:Platform$blueprint:index:"
SECRET, GATE_URN = f"{_URN}Token::secret", f"{_URN}Gate::gate"
KEYS = {name: ed25519.Ed25519PrivateKey.generate() for name in ("ci@acme", "asha@acme", "ben@acme")}
ALLOWED = "".join(
    AllowedSigner((name,), ("mlops-gate:*",), public_key(key)).line() + "\n" for name, key in KEYS.items()
)


class _Platform(Component):
    """A component whose children wait for its gate, as those of the platform do."""

    def __init__(self, args: GateArgs, secret: int) -> None:
        gate: list[Gate] = []
        transformations = [behind(gate)]
        if args.environment == "prod":
            transformations.append(only_through(gate, args))
        super().__init__("test:index:Platform", "platform", pulumi.ResourceOptions(transformations=transformations))
        gate.append(Gate("gate", args, pulumi.ResourceOptions(parent=self)))
        pulumi.export("passed", gate[0].passed)
        Token("secret", TokenArgs(bytes=secret), pulumi.ResourceOptions(parent=self))


@pytest.fixture
def gated(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """A project of a production environment."""
    monkeypatch.setenv("MLOPS_GATE_FOLDER", str(project.folder / "gate"))

    def make(commit: str = COMMIT, environment: Any = "prod", secret: int = 32) -> Project:
        args = GateArgs(
            environment=environment, stack="local", client="acme", target="aws", commit=commit,
            configuration=CONFIGURATION, trust_root="prod", allowed_signers=ALLOWED,
        )  # fmt: skip

        def program() -> None:
            _Platform(args, secret)

        project.program = program
        return project

    return make


@pytest.fixture
def judged(project: Project) -> Callable[..., Verdict]:
    """Put a signed verdict into the gate's folder."""

    def put(age: timedelta = timedelta(), **different: Any) -> Verdict:
        made = datetime.now(UTC) - age
        given = {
            "stack": "local", "environment": "prod", "commit": COMMIT, "configuration": CONFIGURATION,
            "policies": policies_digest(ROOT), "outcome": "passed", "registered": 1, "asked": 1,
            "counts": {"passed": 1}, "made_at": made, "expires_at": made + timedelta(hours=1), "trust_root": "prod",
        }  # fmt: skip
        verdict = signed(Verdict.model_validate({**given, **different}), "ci@acme", key_signer(KEYS["ci@acme"]))
        write(verdict_file(project.folder / "gate"), verdict)
        return verdict

    return put


def made(project: Project) -> bool:
    return "blueprint:index:Token::secret" in project.state_text()


def test_nothing_is_made_without_a_verdict_and_a_preview_needs_none(gated: Callable[..., Project]) -> None:
    project = gated()

    assert not project.preview().failed
    outcome = project.failing_up()

    assert "the gate of local stays closed, and nothing is changed: there is no verdict" in outcome.text
    assert not made(project)


def test_a_good_verdict_lets_it_be_made_once_and_for_the_next_commit_another_one_is_needed(
    gated: Callable[..., Project], judged: Callable[..., Verdict]
) -> None:
    judged()
    project = gated()
    project.up()
    assert made(project)
    assert project.preview().changes == {"same": 4}
    assert project.up().changes == {"same": 4}

    outcome = gated(commit="c" * 40, secret=48).failing_up()

    assert "the verdict is for another commit" in outcome.text
    judged(commit="c" * 40)
    assert gated(commit="c" * 40, secret=48).up().changes["update"] == 1
    entries = open_ledger(project.folder / "gate").entries()
    assert [one.kind for one in entries] == ["policy-verdict", "policy-verdict"]
    project.destroy()


@pytest.mark.parametrize("without", [{"target": [SECRET]}, {"exclude": [GATE_URN]}], ids=["target", "exclude"])
def test_what_leaves_the_gate_out_touches_nothing_of_another_commit(
    gated: Callable[..., Project], judged: Callable[..., Verdict], without: dict[str, Any]
) -> None:
    judged()
    gated().up()

    outcome = gated(commit="c" * 40, secret=48)._run("up", **without)

    assert outcome.failed
    assert f"secret is not touched: the gate of local has not opened for commit {'c' * 40}" in outcome.text
    assert '"bytes": 48' not in gated().state_text()
    # Of the commit for which it opened, part is as good as the whole: drift is mended so.
    assert not gated()._run("up", **without).failed
    assert not gated(commit="c" * 40)._run("destroy", run_program=True).failed


@pytest.mark.parametrize(
    ("put", "why"),
    [
        ({"age": timedelta(hours=2)}, "has expired"),
        ({"commit": "c" * 40}, "for another commit"),
        ({"stack": "other"}, "for another stack"),
    ],
    ids=["expired", "commit", "stack"],
)
def test_nothing_is_made_by_a_verdict_that_does_not_fit(
    gated: Callable[..., Project], judged: Callable[..., Verdict], put: dict[str, Any], why: str
) -> None:
    judged(**put)
    project = gated()

    assert why in project.failing_up().text
    assert not made(project)


def test_nothing_is_made_by_a_verdict_that_was_changed(
    gated: Callable[..., Project], judged: Callable[..., Verdict]
) -> None:
    project = gated()
    changed = judged(commit="c" * 40).model_copy(update={"commit": COMMIT})
    write(verdict_file(project.folder / "gate"), changed)

    assert "what was signed is not what is here" in project.failing_up().text
    assert not made(project)


def test_two_people_break_the_glass_and_it_is_seen(gated: Callable[..., Project]) -> None:
    project, now = gated(), datetime.now(UTC)
    statement = BreakGlass(
        stack="local", commit=COMMIT, reason="the region is down", made_at=now, expires_at=now + timedelta(hours=1),
        trust_root="prod",
    )  # fmt: skip
    for name in ("asha@acme", "ben@acme"):
        statement = witnessed(statement, name, key_signer(KEYS[name]))
    write(break_glass_file(project.folder / "gate"), statement)

    assert "BREAK-GLASS: asha@acme and ben@acme" in project.up().text
    people = {one.person for one in open_ledger(project.folder / "gate").entries()}
    assert people == {"asha@acme", "ben@acme"}


def test_a_development_environment_asks_for_nothing_and_a_commit_is_no_change(gated: Callable[..., Project]) -> None:
    project = gated(environment="dev")
    project.up()

    assert gated(environment="dev", commit="c" * 40).preview().changes == {"same": 4}


# --- hooks -----------------------------------------------------------------------------------------------------------


class _Claim(pulumi.CustomResource):
    """Something of a type that holds state, made by the provider that is here."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
        super().__init__("blueprint:index:Token", name, {"bytes": 32, "keepers": {}, "value": None}, opts)


@pytest.fixture
def claims(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """A project of a production environment whose tokens count as what holds state."""
    monkeypatch.setenv("MLOPS_GATE_FOLDER", str(project.folder / "gate"))
    kind = "blueprint:index:Token"
    for table in ("components.keeping.STATEFUL", "policies.gates.deletion.STATEFUL"):
        monkeypatch.setattr(table, {kind: Stateful(type=kind, holds="the secret")})
    (project.folder / "stacks").mkdir()
    args = GateArgs(
        environment="prod", stack="local", client="acme", target="aws", commit=COMMIT, configuration=CONFIGURATION,
        trust_root="prod", allowed_signers=ALLOWED, project=str(project.folder),
    )  # fmt: skip

    def make(*names: str) -> Project:
        def program() -> None:
            options = pulumi.ResourceOptions(transformations=[keeping(args)])
            parent = pulumi.ComponentResource("test:index:Keeper", "keeper", None, options)
            for name in names:
                _Claim(name, pulumi.ResourceOptions(parent=parent))

        project.program = program
        return project

    return make


def waived(project: Project, resource: str, expires: str = "2999-01-01") -> None:
    waiver = {
        "rule": "rollback.state-kept", "stack": "local", "resource": resource, "owner": "asha@acme",
        "reason": "it was moved to the other table", "expires": expires,
    }  # fmt: skip
    (project.folder / "stacks/waivers.yaml").write_text(json.dumps({"waivers": [waiver]}))


@pytest.mark.parametrize("waiver", [None, ("other", "2999-01-01"), ("data", "2001-01-01")])
def test_what_holds_state_is_not_deleted_without_a_waiver(
    claims: Callable[..., Project], waiver: tuple[str, str] | None
) -> None:
    claims("data", "kept").up()
    if waiver:
        waived(claims("kept"), *waiver)

    outcome = claims("kept").failing_up()

    assert "data is not deleted, and the secret with it: a waiver of rollback.state-kept" in outcome.text
    assert "::data" in claims("kept").state_text()


def test_a_waiver_lets_it_be_deleted_and_a_destroy_asks_too(claims: Callable[..., Project]) -> None:
    claims("data", "kept").up()
    waived(claims("kept"), "data")

    assert claims("kept").up().changes["delete"] == 1
    refused = claims("kept")._run("destroy", run_program=True)
    assert refused.failed
    assert "kept is not deleted" in refused.text

    waived(claims("kept"), "kept")

    assert not claims("kept")._run("destroy", run_program=True).failed
