"""Who approved a release: people other than its trainer, enough of them, and the approvals hold now."""

import json
from datetime import timedelta
from typing import Any

import pytest

from policies.plan import Resource
from policies.releases.keys import REHEARSAL
from policies.rules.governance.approvals import approvals_enforced, release_approved
from policies.testing import NOW, admit, deny, resource, undetermined, unknown
from tests.policies.rules.releases import OWNER, RISK, ROOT, SIGNERS, TRAINER, Person, checks, manifest, release

TRUST = {"environment": "prod", "approval": "signatures", "root": ROOT, "signers": SIGNERS}


def test_signed_and_approved_release_is_admitted() -> None:
    admit(release_approved, release())
    admit(release_approved, release(manifest(tier="high", approvers=(OWNER, RISK))))


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (manifest(approvers=()), "risk tier medium needs 1 approval"),
        (manifest(tier="high"), "2 different people"),
        (manifest(tier="high", approvers=(OWNER, OWNER)), "2 different people"),
        (manifest(signed=False), "is not signed"),
        (manifest(expires=NOW - timedelta(minutes=1)), "it expired at"),
        (manifest(environments=("staging",)), "it is for staging, not for prod"),
        (manifest(approvers=(Person(TRAINER.principal, "model-owner"),)), "1 approval"),
        (manifest() | {"intendedUse": "something else"}, "edited after it was approved"),
    ],
)
def test_release_that_not_enough_people_stand_for_is_denied(stated: dict[str, Any], says: str) -> None:
    deny(release_approved, release(stated), path="manifest", setting="models.loans.version", says=says)


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"trust": None}, "trust", "does not say whose approvals count"),
        ({"trust": TRUST | {"signers": ""}}, "trust", "holds no signer"),
        ({"trust": TRUST | {"signers": "nonsense"}}, "trust", "line 1"),
        ({"trust": TRUST | {"environment": "dev"}}, "trust.environment", "judged for 'dev'; the environment is 'prod'"),
        ({"trust": TRUST | {"approval": "rule"}}, "trust.approval", "people approve"),
        ({"version": "3"}, "manifest.version", "of version 2, but 3 is released"),
        ({"model": "other"}, "manifest.model", "of model loans, but other is released"),
    ],
)
def test_release_of_something_else_or_without_trust_is_denied(changes: Any, path: str, says: str) -> None:
    deny(release_approved, release(**changes), path=path, says=says)


def test_keys_of_another_trust_root_do_not_count() -> None:
    deny(release_approved, release(trust=TRUST | {"root": "other"}), says="'company' is not accepted here")


def test_release_without_a_manifest_or_with_a_broken_one_is_denied() -> None:
    deny(
        release_approved, resource(release().type, "loans", {**release().inputs, "manifest": None}), says="no manifest"
    )
    broken = {name: value for name, value in manifest().items() if name != "commit"}
    deny(release_approved, release(broken), says="not well formed: commit")


def test_shadow_needs_the_approvals_that_a_release_needs() -> None:
    def shadow(stated: Any) -> Resource:
        return release(shadows=[{"version": "3", "sample": 100, "manifest": stated}])

    admit(release_approved, shadow(manifest("3")))
    deny(
        release_approved,
        shadow(manifest("3", approvers=())),
        path="shadows[0].manifest",
        setting="models.loans.shadows",
    )
    deny(release_approved, shadow(None), path="shadows[0].manifest", says="version 3 has no manifest")


def test_rule_of_the_environment_approves_in_dev_and_still_asks_for_the_signature() -> None:
    by_rule = TRUST | {"approval": "rule", "environment": "dev"}
    admit(release_approved, release(manifest(approvers=()), trust=by_rule), environment="dev")
    deny(release_approved, release(manifest(approvers=(), signed=False), trust=by_rule), environment="dev")


def test_dev_asks_for_people_where_its_settings_do() -> None:
    people, unapproved = TRUST | {"environment": "dev"}, manifest(approvers=(), environments=("dev",))
    deny(release_approved, release(unapproved, trust=people), environment="dev", says="1 approval")


def test_examples_are_judged_by_the_keys_of_rehearsals() -> None:
    shipped = release(manifest(root=REHEARSAL), trust=TRUST | {"root": REHEARSAL})
    admit(release_approved, shipped)


def test_first_fault_of_a_broken_manifest_is_told() -> None:
    broken = {name: value for name, value in manifest().items() if name not in ("version", "commit")}
    deny(release_approved, release(broken), says="not well formed: version")


def test_time_is_that_of_the_gate() -> None:
    admit(release_approved, release(), now=NOW + timedelta(days=89))
    deny(release_approved, release(), now=NOW + timedelta(days=91), says="1 approval")


def test_failed_evaluation_is_for_another_rule_to_say() -> None:
    admit(release_approved, release(manifest(judged=checks(rocAuc=0.6))))


def test_release_that_is_not_known_leaves_it_open() -> None:
    undetermined(release_approved, release(unknown()), path="manifest")
    undetermined(release_approved, release(trust=unknown()))


def config(key: str = "etc.mlops.control.json", **document: Any) -> Resource:
    stated = {"approval": "signatures", "signature": "required"} | document
    return resource("kubernetes:core/v1:ConfigMap", "control", data={key: json.dumps(stated)})


def test_controller_that_asks_for_people_is_admitted() -> None:
    admit(approvals_enforced, config())
    admit(approvals_enforced, config("dashboard.json", approval="rule"))
    admit(approvals_enforced, config(approval="rule"), environment="dev")
    admit(approvals_enforced, resource("kubernetes:core/v1:ConfigMap", "empty"))


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_controller_that_asks_for_less_is_denied(environment: str) -> None:
    said: dict[str, Any] = {"setting": "aws.inference.approval", "environment": environment}
    deny(approvals_enforced, config(approval="rule"), says="approval is 'rule'", **said)
    deny(approvals_enforced, config(signature=None), says="signature is None", environment=environment)


def test_controller_whose_configuration_is_not_known_leaves_it_open() -> None:
    undetermined(approvals_enforced, resource("kubernetes:core/v1:ConfigMap", "control", data=unknown()))
    hidden = resource("kubernetes:core/v1:ConfigMap", "control", data={"control.json": unknown()})
    undetermined(approvals_enforced, hidden, path="data.control.json")


def test_every_document_of_a_config_map_is_looked_at() -> None:
    data = {"a.json": "{}", "b.control.json": json.dumps({"approval": "rule", "signature": "required"})}
    deny(approvals_enforced, resource("kubernetes:core/v1:ConfigMap", "control", data=data), path="data.b.control.json")


def test_each_controller_of_a_config_map_is_looked_at() -> None:
    wrong = json.dumps({"approval": "rule", "signature": "required"})
    data = {f"{name}.json": "{}" for name in "abcdefgh"} | {"i.control.json": wrong, "j.control.json": wrong}
    deny(approvals_enforced, resource("kubernetes:core/v1:ConfigMap", "control", data=data), times=2)
