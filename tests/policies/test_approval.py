"""Approvals: who may let which release start, where, and until when."""

import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from policies.releases import evaluation as ev
from policies.releases.approval import (
    approval_namespace,
    approve,
    check_artifact,
    manifest_digest,
    sign_artifact,
    with_approval,
)
from policies.releases.decision import EnvironmentRules, TierRule, decide, default_tiers
from policies.releases.keys import (
    AllowedSigner,
    KeyFileError,
    TrustRoot,
    key_signer,
    make_demo_keys,
    parse_trust_root,
    read_private_key,
    read_trust_root,
)
from policies.releases.manifest import ARTIFACT_NAMESPACE, Manifest, RiskTier, Statement, signed_bytes
from policies.releases.signing import SignatureError, public_key

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PROD = EnvironmentRules(environment="prod", trust_roots=("company",))


@dataclass(frozen=True)
class Person:
    principal: str
    role: str | None
    key: ed25519.Ed25519PrivateKey

    def signer(self, **changes: Any) -> AllowedSigner:
        namespace = ARTIFACT_NAMESPACE if self.role is None else approval_namespace(self.role)
        return replace(AllowedSigner((self.principal,), (namespace,), public_key(self.key)), **changes)


def person(principal: str, role: str | None) -> Person:
    return Person(principal, role, ed25519.Ed25519PrivateKey.generate())


TRAINER = person("trainer@example.com", None)
OWNER = person("asha@example.com", "model-owner")
RISK = person("ravi@example.com", "model-risk")
PLATFORM = person("kim@example.com", "platform")
ROOTS = {"company": TrustRoot("company", tuple(one.signer() for one in (TRAINER, OWNER, RISK, PLATFORM)))}


def make_manifest(tier: RiskTier = "medium", value: float = 0.8, signed: bool = True) -> Manifest:
    checks = (ev.check("quality", "auc", value, "at-least", 0.7),)
    passed, reasons = ev.verdict(checks)
    evaluation = ev.Evaluation(
        model="flight-delay",
        digest=DIGEST,
        data_digest="sha256:" + "d" * 64,
        seed=7,
        evaluated_at=NOW - timedelta(days=2),
        architecture="x86_64",
        held_out=ev.HeldOut(kind="random", rows=100, training_rows=900, positives=20),
        metrics={"auc": ev.Metric(value=value)},
        baseline=ev.Baseline(name="prior", description="", metrics={"auc": ev.Metric(value=0.5)}),
        latency=ev.Latency(runtime="onnx", predictions=10, rounds=1, p50_ms=0.1, p99_ms=0.2),
        checks=checks,
        passed=passed,
        reasons=reasons,
    )
    signature = sign_artifact("flight-delay", DIGEST, TRAINER.principal, "company", key_signer(TRAINER.key))
    return Manifest(
        model="flight-delay",
        version="7",
        digest=DIGEST,
        source="models:/flight-delay/7",
        files={"model.onnx": "e" * 64},
        run="r1",
        commit="c" * 40,
        trained_by=TRAINER.principal,
        trained_at=NOW - timedelta(days=2),
        data_digest="sha256:" + "d" * 64,
        seed=7,
        lock_digest="sha256:" + "f" * 64,
        architecture="x86_64",
        risk_tier=tier,
        intended_use="warn passengers early",
        evaluation=evaluation,
        signature=signature if signed else None,
    )


def approved(manifest: Manifest, *people: Person, **changes: Any) -> Manifest:
    for one in people:
        stated: dict[str, Any] = {
            "principal": one.principal,
            "role": one.role,
            "environments": ("prod",),
            "approved_at": NOW - timedelta(hours=1),
            "expires_at": NOW + timedelta(days=90),
            "trust_root": "company",
        } | changes
        manifest = with_approval(manifest, approve(manifest, Statement(**stated), key_signer(one.key)))
    return manifest


def reason(manifest: Manifest, **changes: Any) -> str:
    arguments: dict[str, Any] = {"roots": ROOTS, "now": NOW, "rules": PROD} | changes
    decision = decide(manifest, **arguments)
    assert not decision.allowed
    assert decision.reasons
    return "\n".join(decision.reasons)


def test_release_may_start_when_its_tier_is_satisfied() -> None:
    decision = decide(approved(make_manifest(), RISK), ROOTS, NOW, PROD)
    assert decision.allowed, decision.reasons
    assert [(one.principal, one.role) for one in decision.approvers] == [("ravi@example.com", "model-risk")]
    assert decision.valid_until == NOW + timedelta(days=90)
    assert decision.rule is None


@pytest.mark.parametrize(
    ("tier", "people", "allowed"),
    [
        ("low", [], False),
        ("low", [PLATFORM], True),
        ("medium", [PLATFORM], False),
        ("medium", [OWNER], True),
        ("high", [RISK], False),
        ("high", [OWNER], False),
        ("high", [OWNER, PLATFORM], False),
        ("high", [OWNER, RISK], True),
    ],
)
def test_each_tier_needs_its_people_and_roles(tier: RiskTier, people: list[Person], allowed: bool) -> None:
    assert decide(approved(make_manifest(tier), *people), ROOTS, NOW, PROD).allowed is allowed


def test_two_people_without_the_role_that_must_be_there_are_refused() -> None:
    second = person("lee@example.com", "model-owner")
    roots = {"company": TrustRoot("company", (*ROOTS["company"].signers, second.signer()))}
    assert "in the role model-risk" in reason(approved(make_manifest("high"), OWNER, second), roots=roots)


def test_one_person_with_two_roles_is_one_person() -> None:
    again = Person(RISK.principal.upper(), "model-owner", ed25519.Ed25519PrivateKey.generate())
    roots = {"company": TrustRoot("company", (*ROOTS["company"].signers, again.signer()))}
    assert "2 different people" in reason(approved(make_manifest("high"), RISK, again), roots=roots)


def test_two_names_with_one_key_are_one_person() -> None:
    again = Person("other@example.com", "model-owner", RISK.key)
    roots = {"company": TrustRoot("company", (*ROOTS["company"].signers, again.signer()))}
    assert "2 different people" in reason(approved(make_manifest("high"), RISK, again), roots=roots)


def test_trainer_can_not_approve_under_own_name() -> None:
    trainer = Person(TRAINER.principal, "model-risk", ed25519.Ed25519PrivateKey.generate())
    roots = {"company": TrustRoot("company", (*ROOTS["company"].signers, trainer.signer()))}
    assert "who trained a model can't approve it" in reason(approved(make_manifest(), trainer), roots=roots)


def test_trainer_can_not_approve_under_another_name_with_the_same_key() -> None:
    trainer = Person("somebody@example.com", "model-risk", TRAINER.key)
    roots = {"company": TrustRoot("company", (*ROOTS["company"].signers, trainer.signer()))}
    assert "who trained a model can't approve it" in reason(approved(make_manifest(), trainer), roots=roots)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", "8"),
        ("source", "models:/flight-delay/8"),
        ("files", {"model.onnx": "0" * 64}),
        ("commit", "1" * 40),
        ("risk_tier", "low"),
        ("intended_use", "decide on loans"),
        ("trained_by", "nobody@example.com"),
        ("signature", None),
    ],
)
def test_approval_is_void_when_the_manifest_is_edited_after_it(field: str, value: object) -> None:
    manifest = approved(make_manifest(), RISK).model_copy(update={field: value})
    assert "does not match" in reason(manifest)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environments", ("prod", "staging")),
        ("expires_at", NOW + timedelta(days=900)),
        ("approved_at", NOW - timedelta(days=1)),
        ("comment", "fine"),
        ("principal", OWNER.principal),
    ],
)
def test_approval_is_void_when_its_statement_is_edited(field: str, value: object) -> None:
    manifest = approved(make_manifest(), RISK)
    edited = manifest.approvals[0].model_copy(update={field: value})
    assert reason(manifest.model_copy(update={"approvals": (edited,)}))


def test_approval_of_another_manifest_does_not_count() -> None:
    other = approved(make_manifest().model_copy(update={"version": "6"}), RISK)
    assert "does not match" in reason(make_manifest().model_copy(update={"approvals": other.approvals}))


def test_role_is_bound_to_the_key() -> None:
    pretender = Person(OWNER.principal, "model-risk", OWNER.key)
    assert "does not let asha@example.com sign for" in reason(approved(make_manifest(), pretender))


def test_unknown_signer_is_refused() -> None:
    stranger = Person(RISK.principal, "model-risk", ed25519.Ed25519PrivateKey.generate())
    assert "unknown signer" in reason(approved(make_manifest(), stranger))


@pytest.mark.parametrize(
    ("stated", "now", "expected"),
    [
        ({"expires_at": NOW}, NOW, "it expired at 2026-11-20T09:00Z"),
        ({}, NOW + timedelta(days=90), "it expired"),
        ({"approved_at": NOW + timedelta(minutes=6)}, NOW, "yet to come"),
        ({"environments": ("staging",)}, NOW, "it is for staging, not for prod"),
    ],
)
def test_approval_counts_only_then_and_there(stated: dict[str, Any], now: datetime, expected: str) -> None:
    assert expected in reason(approved(make_manifest(), RISK, **stated), now=now)


@pytest.mark.parametrize(
    "window",
    [
        {"valid_before": NOW},  # expired since
        {"valid_after": NOW - timedelta(minutes=1)},  # not valid yet when the approval was given
    ],
)
def test_key_must_be_valid_when_it_approved_and_now(window: dict[str, datetime]) -> None:
    roots = {"company": TrustRoot("company", (TRAINER.signer(), RISK.signer(**window)))}
    assert "is not valid at" in reason(approved(make_manifest(), RISK), roots=roots)


def test_decision_ends_with_the_key_when_that_is_earlier() -> None:
    end = NOW + timedelta(days=3)
    roots = {"company": TrustRoot("company", (TRAINER.signer(), RISK.signer(valid_before=end)))}
    assert decide(approved(make_manifest(), RISK), roots, NOW, PROD).valid_until == end


def test_decision_lasts_as_long_as_enough_approvals_are_left() -> None:
    manifest = approved(make_manifest(), OWNER, expires_at=NOW + timedelta(days=1))
    manifest = approved(manifest, RISK, expires_at=NOW + timedelta(days=5))
    assert decide(manifest, ROOTS, NOW, PROD).valid_until == NOW + timedelta(days=5)
    high = approved(make_manifest("high"), OWNER, expires_at=NOW + timedelta(days=1))
    high = approved(high, RISK, expires_at=NOW + timedelta(days=5))
    assert decide(high, ROOTS, NOW, PROD).valid_until == NOW + timedelta(days=1)


def test_rehearsal_keys_are_refused_outside_of_a_rehearsal() -> None:
    roots = {"rehearsal": TrustRoot("rehearsal", ROOTS["company"].signers)}
    manifest = make_manifest()
    signature = sign_artifact(manifest.model, DIGEST, TRAINER.principal, "rehearsal", key_signer(TRAINER.key))
    manifest = approved(manifest.model_copy(update={"signature": signature}), RISK, trust_root="rehearsal")
    real = EnvironmentRules(environment="prod", trust_roots=("rehearsal", "company"))
    assert "'rehearsal' is for rehearsals" in reason(manifest, roots=roots, rules=real)
    rehearsing = EnvironmentRules(environment="prod", trust_roots=("rehearsal",), rehearsal=True)
    assert decide(manifest, roots, NOW, rehearsing).allowed


def test_rehearsal_key_is_refused_under_the_name_of_a_real_root() -> None:
    roots = ROOTS | {"rehearsal": TrustRoot("rehearsal", (RISK.signer(),))}
    assert "unknown signer" in reason(approved(make_manifest(), RISK), roots=roots)


def test_trust_root_counts_only_where_the_rules_name_it() -> None:
    rules = EnvironmentRules(environment="prod", trust_roots=("other",))
    assert "'company' is not accepted here" in reason(approved(make_manifest(), RISK), rules=rules)


def test_failed_evaluation_is_refused_whoever_approves() -> None:
    assert "auc is 0.6, must be at least 0.7" in reason(approved(make_manifest(value=0.6), RISK))


def test_artifact_without_signature_is_refused_where_one_is_required() -> None:
    manifest = approved(make_manifest(signed=False), RISK)
    assert "is not signed" in reason(manifest)
    assert decide(manifest, ROOTS, NOW, PROD.model_copy(update={"signature": "optional"})).allowed


def test_quarantined_digest_starts_only_with_a_later_approval() -> None:
    manifest = approved(make_manifest(), RISK)
    quarantined = {DIGEST: NOW - timedelta(minutes=30)}
    text = reason(manifest, quarantined=quarantined)
    assert "in quarantine" in text
    assert "given before the quarantine" in text
    lifted = approved(manifest, RISK, approved_at=NOW - timedelta(minutes=10))
    assert decide(lifted, ROOTS, NOW, PROD, quarantined).allowed
    assert decide(manifest, ROOTS, NOW, PROD, {OTHER: NOW}).allowed


def test_rule_of_the_baseline_approves_what_passed_and_is_not_quarantined() -> None:
    rules = EnvironmentRules(environment="local", approval="rule", trust_roots=("company",))
    decision = decide(make_manifest(), ROOTS, NOW, rules)
    assert decision.allowed
    assert decision.rule == "local: evaluation passed"
    assert decision.approvers == ()
    assert "evaluation failed" in reason(make_manifest(value=0.6), rules=rules)
    assert "in quarantine" in reason(make_manifest(), rules=rules, quarantined={DIGEST: NOW})


def test_rules_refuse_a_high_tier_with_one_person() -> None:
    tiers = default_tiers() | {"high": TierRule(people=1, roles=("model-risk",))}
    with pytest.raises(ValueError, match="at least 2"):
        EnvironmentRules(environment="prod", tiers=tiers)


def test_artifact_signature_is_good_for_its_model_and_digest_only() -> None:
    signature = make_manifest().signature
    trained = NOW - timedelta(days=2)
    assert check_artifact("flight-delay", DIGEST, signature, ROOTS, trained) == public_key(TRAINER.key)
    for model, digest in (("flight-delay", OTHER), ("mortgage-approval", DIGEST)):
        with pytest.raises(SignatureError, match="does not match"):
            check_artifact(model, digest, signature, ROOTS, trained)
    with pytest.raises(SignatureError, match="is not signed"):
        check_artifact("flight-delay", DIGEST, None, ROOTS, trained)
    with pytest.raises(SignatureError, match="is not accepted here"):
        check_artifact("flight-delay", DIGEST, signature, {}, trained)


def test_artifact_stays_loadable_when_the_key_expires_and_not_when_it_is_removed() -> None:
    signature, trained = make_manifest().signature, NOW - timedelta(days=2)
    expired = {"company": TrustRoot("company", (TRAINER.signer(valid_before=NOW - timedelta(days=1)),))}
    assert check_artifact("flight-delay", DIGEST, signature, expired, trained) == public_key(TRAINER.key)
    removed = {"company": TrustRoot("company", (RISK.signer(),))}
    with pytest.raises(SignatureError, match="unknown signer"):
        check_artifact("flight-delay", DIGEST, signature, removed, trained)


def test_approver_key_does_not_sign_artifacts() -> None:
    signature = sign_artifact("flight-delay", DIGEST, RISK.principal, "company", key_signer(RISK.key))
    with pytest.raises(SignatureError, match=r"does not let ravi@example\.com sign"):
        check_artifact("flight-delay", DIGEST, signature, ROOTS, NOW)


def test_manifest_digest_ignores_approvals_only() -> None:
    manifest = make_manifest()
    assert manifest_digest(approved(manifest, RISK)) == manifest_digest(manifest)
    assert manifest_digest(manifest.model_copy(update={"seed": 8})) != manifest_digest(manifest)


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if items is None:
        yield path
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


APPROVED = approved(make_manifest("high"), OWNER, RISK)
WIRE = APPROVED.to_json()
LEAVES = [path for path in leaves(WIRE) if path[0] != "approvals"]


@given(path=st.sampled_from(LEAVES), data=st.data())
def test_no_edited_manifest_starts(path: tuple[Any, ...], data: st.DataObject) -> None:
    edited = Manifest.model_validate(WIRE).to_json()
    at = edited
    for key in path[:-1]:
        at = at[key]
    old = at[path[-1]]
    at[path[-1]] = data.draw(
        st.one_of(st.none(), st.text(max_size=5), st.integers(0, 9), st.sampled_from([OTHER, "high", "low", True, 0.9]))
    )
    try:
        manifest = Manifest.model_validate(edited)
    except ValueError:
        return  # not even a manifest
    if manifest.to_json() == WIRE:
        return  # the same said in another way
    decision = decide(manifest, ROOTS, NOW, PROD)
    assert not decision.allowed, f"{path}: {old!r} → {at[path[-1]]!r}"


@given(
    people=st.lists(st.sampled_from([OWNER, RISK, PLATFORM, TRAINER]), unique=True),
    tier=st.sampled_from(["low", "medium", "high"]),
    value=st.sampled_from([0.6, 0.8]),
    quarantined=st.booleans(),
    days=st.integers(0, 120),
)
def test_allowed_means_every_condition_holds(
    people: list[Person], tier: RiskTier, value: float, quarantined: bool, days: int
) -> None:
    people = [one for one in people if one.role is not None]
    now = NOW + timedelta(days=days)
    manifest = approved(make_manifest(tier, value), *people)
    decision = decide(manifest, ROOTS, now, PROD, {DIGEST: NOW} if quarantined else {})
    roles = {one.role for one in people}
    enough = {"low": bool(roles), "medium": bool(roles - {"platform"}), "high": {"model-owner", "model-risk"} <= roles}
    assert decision.allowed == (enough[tier] and value > 0.7 and not quarantined and days < 90)
    assert decision.allowed == (not decision.reasons)


# Trust roots and demo keys


def test_trust_root_is_what_its_lines_say() -> None:
    signer = RISK.signer(valid_after=NOW, valid_before=NOW + timedelta(days=1))
    root = parse_trust_root("company", f"# people\n\n{signer.line()} a comment\n")
    assert root == TrustRoot("company", (signer,))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a@b {key}", 'namespaces="…" is missing'),
        ('a@b valid-before="20270101Z" {key}', "namespaces"),
        ('*@b namespaces="x" {key}', "patterns are not accepted"),
        ('a@b,!c namespaces="x" {key}', "patterns are not accepted"),
        ('a@b cert-authority,namespaces="x" {key}', "cert-authority is not accepted"),
        ('a@b namespaces="x",cert-authority {key}', "cert-authority is not accepted"),
        ('a@b namespaces="x",valid-before="20270101" {key}', "in UTC"),
        ('a@b namespaces="x",valid-before="20271301Z" {key}', "month"),
        ('a@b namespaces="x",roles="y" {key}', "option 'roles' is not known"),
        ('a@b namespaces="x",namespaces="y" {key}', "stands twice"),
        ('a@b namespaces="" {key}', "namespace ''"),
        ('a@b namespaces="x" ssh-ed25519', "not a public key"),
        ("", "holds no signer"),
    ],
)
def test_bad_line_of_a_trust_root_is_refused_with_its_place(line: str, expected: str) -> None:
    text = "# first line\n" + line.format(key=public_key(RISK.key).line())
    with pytest.raises(KeyFileError, match="signers") as caught:
        parse_trust_root("company", text, "stacks/signers")
    assert expected in str(caught.value)
    assert not line or "line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("namespaces", "granted"),
    [
        (("mlops-release-approval:*",), True),
        (("*", "!mlops-release-approval:*"), False),
        (("mlops-release-approval:model-owner",), False),
        (("mlops-release-approval",), False),
    ],
)
def test_patterns_of_namespaces_work_as_in_openssh(namespaces: tuple[str, ...], granted: bool) -> None:
    signer = RISK.signer(namespaces=namespaces)
    assert signer.may_sign("mlops-release-approval:model-risk") is granted


def test_demo_keys_are_private_and_stay_the_same(tmp_path: Path) -> None:
    first = make_demo_keys(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for one in (first.trainer, *first.approvers):
        assert stat.S_IMODE(one.key.stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == sorted(
        ["trainer", "trainer.pub", "owner", "owner.pub", "risk", "risk.pub", "allowed_signers"]
    )
    again = make_demo_keys(tmp_path / "keys")
    assert again.trust_root == first.trust_root == read_trust_root("local", first.allowed_signers)


def test_demo_people_can_approve_each_tier(tmp_path: Path) -> None:
    keys = make_demo_keys(tmp_path / "keys")
    rules = EnvironmentRules(environment="local", trust_roots=("local",))
    trainer = key_signer(read_private_key(keys.trainer.key))
    manifest = make_manifest("high").model_copy(
        update={
            "trained_by": keys.trainer.principal,
            "signature": sign_artifact("flight-delay", DIGEST, keys.trainer.principal, "local", trainer),
        }
    )
    for one in keys.approvers:
        key = read_private_key(one.key)
        assert isinstance(key, ed25519.Ed25519PrivateKey)
        manifest = approved(manifest, Person(one.principal, one.role, key), environments=("local",), trust_root="local")
    assert decide(manifest, {"local": keys.trust_root}, NOW, rules).allowed


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
@pytest.mark.parametrize(("role", "accepted"), [("model-risk", True), ("model-owner", False)])
def test_openssh_agrees_on_signature_and_role_by_the_same_file(role: str, accepted: bool, tmp_path: Path) -> None:
    signing = Person(RISK.principal, role, RISK.key)
    manifest = approved(make_manifest(), signing)
    (tmp_path / "signers").write_text("".join(f"{one.line()}\n" for one in ROOTS["company"].signers))
    (tmp_path / "signature").write_text(manifest.approvals[0].signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", RISK.principal, "-n", approval_namespace(role)]
    done = subprocess.run(
        [*command, "-s", "signature"],
        input=signed_bytes(manifest, manifest.approvals[0]),
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode == 0) is accepted
    assert decide(manifest, ROOTS, NOW, PROD).allowed is accepted


def test_manifest_that_was_edited_after_its_approval_is_refused_where_a_rule_approves_too() -> None:
    rule = EnvironmentRules(environment="local", approval="rule", signature="optional", trust_roots=("company",))
    manifest = approved(make_manifest(), OWNER)
    edited = manifest.model_copy(update={"intended_use": "anything"})
    assert decide(manifest, ROOTS, NOW, rule).allowed
    refused = decide(edited, ROOTS, NOW, rule)
    assert not refused.allowed
    assert "was edited after it was approved: restore the text" in refused.reasons[0]
    assert f"./mlops release approve {edited.model} --version {edited.version} --role model-owner" in refused.reasons[0]
