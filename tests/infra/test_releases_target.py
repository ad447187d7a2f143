"""Where a stack of releases releases to, and whose keys count; the shipped examples are what they say."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.releases import read_manifest, read_previous
from infra.releases_target import REHEARSAL, read_signers, releases_target, require_own_trust
from infra.settings import Settings, load_stack_file
from infra.settings.problems import SettingsError
from policies.releases.decision import EnvironmentRules, decide
from policies.releases.keys import parse_trust_root
from policies.releases.manifest import Manifest

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = [(model, version) for model in ("flight-delay", "mortgage-approval") for version in ("1", "2")]


def settings(stack: str = "prod-releases") -> Settings:
    return load_stack_file(PROJECT / "stacks" / f"Pulumi.{stack}.yaml")


def example(model: str, version: str) -> Manifest:
    return Manifest.model_validate(read_manifest(PROJECT, model, version))


def decided(manifest: Manifest, now: datetime, *, rehearsal: bool = True) -> tuple[bool, str]:
    text = (PROJECT / "stacks/trust/rehearsal.allowed_signers").read_text()
    root = parse_trust_root("rehearsal", text)
    rules = EnvironmentRules(environment="prod", trust_roots=("rehearsal",), rehearsal=rehearsal)
    found = decide(manifest, {"rehearsal": root}, now, rules)
    return found.allowed, "; ".join(found.reasons)


def released(stack: Settings) -> Any:
    assert stack.aws is not None
    return releases_target(stack, stack.aws, stack.foundation or "", project=PROJECT, stack="test")


@pytest.mark.parametrize(("model", "version"), EXAMPLES)
def test_examples_may_start_in_a_rehearsal_while_they_are_approved(model: str, version: str) -> None:
    manifest = example(model, version)
    approved = max(one.approved_at for one in manifest.approvals)

    assert decided(manifest, approved + timedelta(days=1)) == (True, "")
    assert "expired" in decided(manifest, approved + timedelta(days=366))[1]


@pytest.mark.parametrize(("model", "version"), EXAMPLES)
def test_real_environments_refuse_the_examples(model: str, version: str) -> None:
    manifest = example(model, version)

    allowed, reasons = decided(manifest, manifest.approvals[0].approved_at + timedelta(days=1), rehearsal=False)

    assert not allowed
    assert "rehearsal" in reasons


@pytest.mark.parametrize(("model", "version"), EXAMPLES)
def test_examples_come_from_a_training_run_with_a_passed_evaluation(model: str, version: str) -> None:
    manifest = example(model, version)

    assert manifest.evaluation.passed
    assert manifest.trained_by == "trainer@rehearsal"
    assert manifest.trained_by not in {one.principal for one in manifest.approvals}


def test_high_risk_is_approved_by_two_people() -> None:
    manifest = example("mortgage-approval", "2")

    assert manifest.risk_tier == "high"
    assert {(one.principal, one.role) for one in manifest.approvals} == {
        ("owner@rehearsal", "model-owner"),
        ("risk@rehearsal", "model-risk"),
    }


def test_previous_version_is_the_newest_before_the_pinned_one() -> None:
    previous = read_previous(PROJECT, "flight-delay", "2")

    assert previous is not None
    assert previous["version"] == "1"
    assert read_previous(PROJECT, "flight-delay", "1") is None
    assert read_previous(PROJECT, "flight-delay", "latest") is None


def test_releases_know_their_foundation_and_whose_keys_count() -> None:
    target = released(settings())

    assert target.foundation == "prod"
    assert (target.trust.environment, target.trust.approval, target.trust.root) == ("prod", "signatures", "rehearsal")
    assert "owner@rehearsal" in target.trust.signers


def test_trust_root_is_the_environments_own_unless_stated() -> None:
    stated = settings()
    assert stated.aws is not None
    inference = stated.aws.inference.model_copy(update={"trust_root": None, "allowed_signers": None})
    aws = stated.aws.model_copy(update={"inference": inference})

    target = released(stated.model_copy(update={"aws": aws}))

    assert (target.trust.root, target.trust.signers) == ("prod", "")


def test_latest_is_refused_where_nothing_is_trained() -> None:
    stated = settings()
    models = {name: one.model_copy(update={"version": "latest"}) for name, one in stated.models.items()}

    with pytest.raises(SettingsError) as caught:
        released(stated.model_copy(update={"models": models}))

    assert [one.path for one in caught.value.problems] == [
        "models.flight-delay.version",
        "models.mortgage-approval.version",
    ]


def test_a_stack_of_releases_without_models_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one model"):
        released(settings().model_copy(update={"models": {}}))


@pytest.mark.parametrize("stack", ["prod", "prod-releases"])
def test_nothing_real_is_changed_while_the_examples_keys_count(stack: str) -> None:
    with pytest.raises(SettingsError, match=r"aws\.inference\.trustRoot.*Pulumi\.prod\.yaml"):
        require_own_trust(settings(stack), stack, preview=False, environ={})


def test_previews_and_rehearsals_take_the_examples_keys() -> None:
    require_own_trust(settings(), "prod-releases", preview=True, environ={})
    require_own_trust(settings(), "prod-releases", preview=False, environ={REHEARSAL: "true"})


def test_signers_that_cannot_be_read_are_named() -> None:
    with pytest.raises(SettingsError, match="nowhere/signers"):
        read_signers("nowhere/signers", PROJECT)
