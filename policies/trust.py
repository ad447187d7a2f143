"""Whose approvals count for a release: the trust root that it names, and the rules of its environment."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from policies.facts import Facts
from policies.plan import Resource
from policies.releases.decision import Decision, EnvironmentRules, decide
from policies.releases.keys import REHEARSAL, KeyFileError, TrustRoot, parse_trust_root
from policies.releases.manifest import Manifest

PEOPLE: Final = ("staging", "prod")
"""Kinds of environment in which people approve, whatever the settings say."""


class TrustError(Exception):
    """A release does not say whose approvals count; the message says what is missing."""


def environment_of(facts: Facts) -> str:
    """Return the name of the environment, for which approvals must be."""
    return str(facts.setting("environment", default=facts.environment))


def decide_release(release: Resource, manifest: Manifest, facts: Facts, now: datetime) -> Decision:
    """Decide about a manifest of a release as the rollout controller of its environment does.

    Raises:
        TrustError: the release does not say whose approvals count.
        UndeterminedError: that is not known.
    """
    root, rules = trust_of(release, facts)
    return decide(manifest, {root.name: root}, now, rules)


def trust_of(release: Resource, facts: Facts) -> tuple[TrustRoot, EnvironmentRules]:
    """Return the trust root of a release, and what its environment asks for.

    Raises:
        TrustError: it does not say, or its allowed signers cannot be read.
        UndeterminedError: it is not known.
    """
    stated: Any = release.value("trust")
    if stated is None:
        raise TrustError("the release does not say whose approvals count: `trust` is missing")
    try:
        root = parse_trust_root(str(stated.get("root")), str(stated.get("signers") or ""), "trust.signers")
    except KeyFileError as error:
        raise TrustError(str(error)) from None
    by_rule = stated.get("approval") == "rule" and facts.environment not in PEOPLE
    return root, EnvironmentRules(
        environment=environment_of(facts),
        approval="rule" if by_rule else "people",
        trust_roots=(root.name,),
        # The examples that are shipped are judged by their own keys; `up` outside of a rehearsal refuses those.
        rehearsal=root.name == REHEARSAL,
    )
