"""Who said yes: an environment that people depend on serves only what was signed and approved, and still is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from policies.manifests import RELEASE, Candidate, ManifestError, candidates, parsed
from policies.plan import MISSING, Resource, UndeterminedError, Unknown
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.trust import PEOPLE, TrustError, decide_release, environment_of

_CONTROL: Final = "control.json"


@resource_rule(
    id="governance.release-approved",
    title="What is released is signed by who trained it and approved by enough others, and the approvals hold now",
    severity="critical",
    why="A model decides over people: who lets it do so is known, is not who made it, and is asked again in time.",
    fix="let the roles that the risk tier asks for approve the manifest: `./mlops release approve MODEL --version …`",
    references=(
        "EU AI Act Art. 9", "EU AI Act Art. 14", "NIST AI RMF GOVERN 1.2", "NIST AI RMF MANAGE 1.1", "SR 26-2",
        "ISO/IEC 42001 A.6.2.5",
    ),
    types=(RELEASE,),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)  # fmt: skip
def release_approved(release: Resource, world: World) -> Iterator[Answer]:
    """Decide as the rollout controller does, by the trust root of the environment and the time of the gate."""
    facts = world.facts
    if release.value("trust", "approval") == "rule" and facts.environment in PEOPLE:
        yield Problem(
            f"approval is 'rule'; in {facts.environment} people approve: it must be 'signatures'",
            path="trust.approval",
            setting="aws.inference.approval",
        )
    stated, environment = release.value("trust", "environment", default=environment_of(facts)), environment_of(facts)
    if stated != environment:
        yield Problem(
            f"approvals would be judged for {stated!r}; the environment is {environment!r}", path="trust.environment"
        )
    try:
        for one in candidates(release):
            yield from _judged(release, one, world)
    except TrustError as error:
        yield Problem(str(error), path="trust", setting="aws.inference.allowedSigners")


def _judged(release: Resource, one: Candidate, world: World) -> Iterator[Answer]:
    """Judge one version: it may start, or every reason why not.

    Raises:
        TrustError: the release does not say whose approvals count.
    """
    model = release.value("model")
    setting = f"models.{model}.{'shadows' if one.shadow else 'version'}"
    if one.stated is None:
        yield Problem(f"version {one.version} has no manifest, which is what people approve", "", one.path, setting)
        return
    try:
        manifest = parsed(one.stated)
    except ManifestError as error:
        yield Problem(f"the manifest of version {one.version} is not well formed: {error}", "", one.path, setting)
        return
    for name, found, asked in (("model", manifest.model, model), ("version", manifest.version, one.version)):
        if found != asked:
            yield Problem(f"the manifest is of {name} {found}, but {asked} is released", "", f"{one.path}.{name}")
    reasons = decide_release(release, manifest, world.facts, world.now).reasons
    # What its evaluation says is for release-evaluated and release-fair to tell.
    if against := [reason for reason in reasons if not reason.startswith("the evaluation failed: ")]:
        yield Problem(f"version {one.version}: {'; '.join(against)}", "", one.path, setting)


@resource_rule(
    id="governance.approvals-enforced",
    title="The rollout controller itself asks for approvals and signatures",
    severity="critical",
    why="A release can be asked for without a stack, through the controller's own interface: it must ask the same.",
    fix="state `aws.inference.approval: signatures`, and leave the signature of artifacts required",
    references=("EU AI Act Art. 14", "NIST AI RMF GOVERN 1.2", "SR 26-2"),
    types=("kubernetes:core/v1:ConfigMap",),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def approvals_enforced(config: Resource, world: World) -> Iterator[Answer]:
    """Read the configuration of the controller."""
    data = config.peek("data")
    if isinstance(data, Unknown):
        raise UndeterminedError("data", data.origins)
    for key in data if data is not MISSING else ():
        if not key.endswith(_CONTROL):
            continue
        document = json.loads(config.value("data", key))
        wanted = {"signature": "required"}
        if world.facts.environment in PEOPLE:
            wanted["approval"] = "signatures"
        for name, value in wanted.items():
            if document.get(name) != value:
                yield Problem(
                    f"{name} is {document.get(name)!r}, it must be {value!r}",
                    path=f"data.{key}",
                    setting="aws.inference.approval" if name == "approval" else "",
                )
