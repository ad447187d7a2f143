"""Bad releases: each is signed and approved as well as it can be, so that only the one thing is wrong with it.

The shipped examples are signed by keys that were thrown away. Here the same manifests are signed anew, under the same
names, by keys of the test.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from policies.plan import Plan
from policies.releases.approval import approve, sign_artifact, with_approval
from policies.releases.evaluation import check
from policies.releases.keys import DemoKeys, key_signer, make_demo_keys, read_private_key
from policies.releases.manifest import Manifest, Statement
from tests.policies.bad_changes.draft import Bad, Draft

RELEASE, LOW, HIGH = "index:ModelRelease", "flight-delay", "mortgage-approval"
Edit = Callable[[dict[str, Any]], object]
_UNSIGNED: Final = ("signature", "approvals")


@functools.cache
def keys() -> DemoKeys:
    """The keys of the test."""
    return make_demo_keys(Path(tempfile.mkdtemp(prefix="bad-changes-")), "rehearsal")


def signed(plan: Plan) -> Plan:
    """Return the plan with its releases signed by the keys of the test."""
    draft = Draft(plan)
    for name in (LOW, HIGH):
        draft.set(RELEASE, name, "trust.signers", keys().allowed_signers.read_text())
        for path in ("manifest", "previous"):
            draft.set(RELEASE, name, path, _signed(draft.one(RELEASE, name).value(path)))
    found = draft.plan()
    # nothing has changed yet: what was there before is what there is
    steps = [one if one.old is None else replace(one, old=one.new) for one in found.steps or ()]
    return Plan(stack=found.stack, resources=found.resources, steps=steps)


def _signed(stated: dict[str, Any], statements: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return a manifest with a new signature, and with the statements that it has or those that are given."""
    statements = stated["approvals"] if statements is None else statements
    manifest = Manifest.model_validate({name: one for name, one in stated.items() if name not in _UNSIGNED})
    signer = key_signer(read_private_key(keys().trainer.key))
    signature = sign_artifact(manifest.model, manifest.digest, keys().trainer.principal, "rehearsal", signer)
    manifest = manifest.model_copy(update={"signature": signature})
    for one in statements:
        person = next(each for each in keys().approvers if each.role == one["role"])
        statement = Statement.model_validate({name: value for name, value in one.items() if name != "signature"})
        manifest = with_approval(manifest, approve(manifest, statement, key_signer(read_private_key(person.key))))
    return manifest.to_json()


def changed(name: str, edit: Edit, path: str = "manifest") -> Callable[[Draft], None]:
    """Change a manifest before people sign it."""

    def change(draft: Draft) -> None:
        stated = draft.one(RELEASE, name).value(path)
        edit(stated)
        draft.set(RELEASE, name, path, _signed(stated))

    return change


def approvals(
    name: str, edit: Callable[[list[dict[str, Any]]], object], path: str = "manifest"
) -> Callable[[Draft], None]:
    """Change what people stated."""

    def change(draft: Draft) -> None:
        stated = draft.one(RELEASE, name).value(path)
        edit(stated["approvals"])
        draft.set(RELEASE, name, path, _signed(stated))

    return change


def _checked(family: str, name: str, value: float | None = None, limit: float | None = None) -> Edit:
    """Let a check of the evaluation say something else; verdict and reasons follow, as training would write them."""

    def edit(stated: dict[str, Any]) -> None:
        report = stated["evaluation"]
        for index, one in enumerate(report["checks"]):
            if (one["family"], one["name"]) != (family, name):
                continue
            found = check(
                one["family"], one["name"], one["value"] if value is None else value, one["comparison"],
                one["limit"] if limit is None else limit,
            )  # fmt: skip
            report["checks"][index] = found.to_json()
        failed = [one["reason"] for one in report["checks"] if not one["passed"]]
        report.update(passed=not failed, reasons=failed)

    return edit


def _without(family: str) -> Edit:
    def edit(stated: dict[str, Any]) -> None:
        report = stated["evaluation"]
        report["checks"] = [one for one in report["checks"] if one["family"] != family]

    return edit


def _tampered(draft: Draft) -> None:
    """Change the intended use after people had signed."""
    draft.set(RELEASE, HIGH, "manifest.intendedUse", "Decisions about people.")


def _trainer_approves(draft: Draft) -> None:
    """Let the person who owns the model train it, too."""
    stated = draft.one(RELEASE, LOW).value("manifest")
    stated["trainedBy"] = stated["approvals"][0]["principal"]
    draft.set(RELEASE, LOW, "manifest", _signed(stated))


CHANGES = [
    Bad("dropped approval", "released before anybody had approved", "governance.release-approved",
        approvals(LOW, lambda stated: stated.clear())),
    Bad("one approver for high risk", "went without the second approval", "governance.release-approved",
        approvals(HIGH, lambda stated: stated.pop())),
    Bad("expired approval", "released on last year's approval", "governance.release-approved",
        approvals(LOW, lambda stated: stated[0].update(expiresAt="2026-11-23T00:00:00Z"))),
    Bad("approval of another environment", "took the approval for dev", "governance.release-approved",
        approvals(LOW, lambda stated: stated[0].update(environments=["dev"]))),
    Bad("trainer approves", "approved a model of one's own", "governance.release-approved", _trainer_approves),
    Bad("edited after approval", "changed the intended use after it was approved", "governance.release-approved",
        _tampered),
    Bad("no manifest", "released a version without a manifest", "governance.release-approved",
        lambda d: d.set(RELEASE, LOW, "manifest", None)),
    Bad("approval by rule", "let a rule approve in production", "governance.release-approved",
        lambda d: d.set(RELEASE, LOW, "trust.approval", "rule")),
    Bad("failed evaluation", "released a version whose loss by noise is too large", "governance.release-evaluated",
        changed(LOW, _checked("robustness", "loss by noise", value=0.2))),
    Bad("latency not measured", "left the check of latency out", "governance.release-evaluated",
        changed(LOW, _without("latency"))),
    Bad("worse than the version before", "released a version with a worse ranking", "governance.release-no-worse",
        changed(LOW, _checked("quality", "rocAuc", value=0.701))),
    Bad("laxer limit", "lowered the limit of a metric", "governance.release-no-worse",
        changed(HIGH, _checked("quality", "rocAuc", limit=0.6))),
    Bad("unfair", "released a version that selects one group less often", "governance.release-fair",
        changed(HIGH, _checked("fairness", "selectionRatio by afam", value=0.7))),
    Bad("dirty commit", "trained from files that no commit holds", "governance.release-lineage",
        changed(LOW, lambda stated: stated.update(run="0"))),
    Bad("quarantined digest", "released again what was rolled back", "rollback.not-quarantined",
        lambda d: d.setting("gates.quarantined", [d.one(RELEASE, LOW).value("manifest", "digest")])),
    Bad("no way back", "let the approval of the version before expire", "rollback.previous-version",
        approvals(LOW, lambda stated: stated[0].update(expiresAt="2026-11-23T00:00:00Z"), "previous")),
    Bad("all at once", "gave everybody the new version at once", "rollback.release-gradual",
        lambda d: d.set(RELEASE, LOW, "strategy", {"kind": "all-at-once"})),
    Bad("no bake time", "stopped the version before right after promotion", "rollback.release-gradual",
        lambda d: d.set(RELEASE, HIGH, "strategy.bakeMinutes", 0)),
    Bad("half of the traffic first", "began a canary with half of the traffic", "rollback.release-gradual",
        lambda d: d.set(RELEASE, HIGH, "strategy.steps.0.weight", 50)),
    Bad("lax analysis", "called three times as many failures healthy", "rollback.release-watched",
        lambda d: d.set(RELEASE, LOW, "strategy.limits", {"failureRate": 0.3})),
    Bad("no rollback after promotion", "asked for an alarm instead of a rollback", "rollback.release-watched",
        lambda d: d.set(RELEASE, LOW, "strategy.after.action", "alarm")),
    Bad("nobody waits", "let `up` end before the rollout does", "rollback.release-watched",
        lambda d: d.set(RELEASE, LOW, "wait", False)),
    Bad("release taken away", "removed a model that is served", "rollback.last-version-kept",
        lambda d: d.step("delete", RELEASE, LOW)),
]  # fmt: skip
