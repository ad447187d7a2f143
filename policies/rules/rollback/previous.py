"""There is something to go back to, and nobody goes to what was found bad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policies.manifests import RELEASE, ManifestError, candidates, parsed, previous
from policies.plan import Resource, Step
from policies.rule import EVERYWHERE_ON_AWS, GATED, Answer, Deferred, Problem, World, resource_rule, step_rule
from policies.trust import TrustError, decide_release

_REFERENCES: Final = ("EU AI Act Art. 15", "NIST AI RMF MANAGE 2.4", "SR 26-2")


@resource_rule(
    id="rollback.previous-version",
    title="The version before can be gone back to: its manifest is there, and its approvals hold",
    severity="high",
    why="A rollback goes to the last version that was approved and baked; where there is none, serving stays broken.",
    fix="keep the manifest of the version before in `stacks/releases`, and renew its approvals before they expire",
    references=_REFERENCES,
    types=(RELEASE,),
    levels=GATED,
)
def previous_version(release: Resource, world: World) -> Iterator[Answer]:
    """Look at what the release takes the place of, as the rollout controller would before it goes back."""
    new, before = release.value("manifest"), previous(world.plan, release)
    digest = None if before.stated is None else before.stated.get("digest")
    if not before.certain:
        yield Deferred(
            f"that {release.value('model')} serves nothing yet"
            + (f", or {digest}, to which a rollback would go" if digest else ", since there is nothing before it"),
            check="serving-version",
            arguments={
                "model": release.value("model"),
                "digest": None if new is None else new.get("digest"),
                "previous": digest,
            },
        )
    if before.stated is None:
        return
    try:
        manifest = parsed(before.stated)
        reasons = decide_release(release, manifest, world.facts, world.now).reasons
    except ManifestError as error:
        yield Problem(f"the manifest of the version before is not well formed: {error}", path="previous")
        return
    except TrustError:
        return  # governance.release-approved says so
    if reasons:
        yield Problem(f"version {manifest.version} cannot be gone back to: {'; '.join(reasons)}", path="previous")


@resource_rule(
    id="rollback.not-quarantined",
    title="Nothing is released that was found bad",
    severity="critical",
    why="A version that was rolled back on evidence does the same harm the second time.",
    fix="release another version; only a new approval of its manifest lifts the quarantine of a digest",
    references=_REFERENCES,
    types=(RELEASE,),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def not_quarantined(release: Resource, world: World) -> Iterator[Answer]:
    """Look at the digests that the settings name, and leave the others to the rollout controller."""
    listed = set(world.facts.setting("gates", "quarantined", default=()))
    for one in candidates(release):
        digest = (one.stated or {}).get("digest")
        if digest is None:
            continue  # governance.release-approved says so
        if digest in listed:
            yield Problem(
                f"version {one.version} ({digest}) is in quarantine by gates.quarantined",
                path=f"{one.path}.digest",
                setting="gates.quarantined",
            )
            continue
        yield Deferred(
            f"that version {one.version} ({digest}) of {release.value('model')} is not in quarantine",
            check="quarantine",
            arguments={"model": release.value("model"), "digest": digest},
        )


@step_rule(
    id="rollback.last-version-kept",
    title="No step takes away the release of a model that is served",
    severity="high",
    why="Without its release nobody says what a model should serve, and nothing is left that could be gone back to.",
    fix="keep the model in the stack; whoever retires it answers for that by a waiver",
    references=("NIST AI RMF GOVERN 1.7", "SR 26-2"),
    types=(RELEASE,),
    levels={**GATED, "dev": "off"},
)
def last_version_kept(step: Step, _: World) -> Iterator[Answer]:
    """Refuse deletions and replacements of releases."""
    if step.operation in ("delete", "replace"):
        model = step.old.value("model") if step.old is not None else step.urn
        done = "deletes" if step.operation == "delete" else "replaces"
        yield Problem(f"this plan {done} the release of {model}: its history of versions ends", urn=step.urn)
