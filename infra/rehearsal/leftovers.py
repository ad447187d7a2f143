"""What is left in AWS: the ids of every object that the table of kinds can list, compared with those before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.aws.kind import Kind
from infra.rehearsal.aws.resources import KINDS
from infra.rehearsal.moto import MotoServer

Census = Mapping[str, frozenset[str]]


def census(server: MotoServer, region: str) -> Census:
    """Return the ids of everything there is in a region, by type token.

    Kinds without a listing are parts of others (a rule of a group, a policy of a role) and go with them.
    """
    aws = Aws(server.url, region)
    found = {token: frozenset(_listed(aws, kind)) for token, kind in KINDS.items() if kind.listing is not None}
    supplied = {kind: frozenset(names) for kind, names in server.ask("leftovers").items()}
    return {**found, **supplied}


def _listed(aws: Aws, kind: Kind) -> list[str]:
    if callable(kind.listing):
        return kind.listing(aws)
    assert kind.listing is not None
    operation, arguments, path = kind.listing
    return [str(item) for item in aws.every(kind.service, operation, path, dict(arguments))]


def left(before: Census, after: Census) -> dict[str, list[str]]:
    """Return what is there now and was not before, by kind."""
    found = {kind: sorted(ids - before.get(kind, frozenset())) for kind, ids in after.items()}
    return {kind: ids for kind, ids in sorted(found.items()) if ids}


def made(state: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many resources of each type a state holds, without providers and the stack itself."""
    counts: dict[str, int] = {}
    for resource in state:
        kind = str(resource["type"])
        if resource.get("custom") and not kind.startswith("pulumi:"):
            counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items()))
