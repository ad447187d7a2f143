"""Calls by which the policies of a workload are judged: those that the matrix grants, and some that it must not.

Pure, so that tests and rehearsals ask the same questions, the ones of the policies as they are declared and the others
of those that were really made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from components.cloud import Cloud
from components.identity.matrix import (
    ACTIONS,
    KEYS,
    LISTS,
    LOOKS,
    MATRIX,
    SERVICES,
    Access,
    Grant,
    Identity,
    KeyPurpose,
    Kind,
    arn,
    conditions,
)
from policies.access import Call

DESTROYS = (
    "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutBucketPolicy", "s3:BypassGovernanceRetention",
    "s3:PutObjectRetention", "s3:PutObjectLegalHold",
)  # fmt: skip
"""What nobody may do with the audit bucket."""
ELSEWHERE = "another"
"""Environment of the same client and account to which foreign things belong."""


def granted(one: Identity, cloud: Cloud, keys: Mapping[str, str]) -> Iterator[Call]:
    """Every call that the matrix grants a workload, one for each action of each grant.

    Args:
        one: the workload.
        cloud: the environment.
        keys: ARN of each key by its purpose.
    """
    for grant in one.grants:
        for action in ACTIONS[grant.kind, grant.access]:
            yield Call(action, sample(grant, cloud), _context(grant, cloud))
        if grant.kind == "bucket":
            whole = arn(cloud, "bucket", grant.name)
            for action in LISTS.get(grant.access, ()):
                yield Call(action, whole, {"s3:prefix": grant.prefix})
            for action in LOOKS.get(grant.access, ()):
                yield Call(action, whole, {})
        if grant.kind in KEYS:
            encrypts = grant.access in ("write", "send", "deliver")
            purpose = grant.key or KEYS[grant.kind]
            used = _used(cloud, purpose, SERVICES[grant.kind])
            for action in ("kms:Decrypt", *(("kms:GenerateDataKey",) if encrypts else ())):
                yield Call(action, keys[purpose], used)


def foreign(one: Identity, cloud: Cloud, keys: Mapping[str, str]) -> Iterator[Call]:
    """Calls that a workload must not be allowed.

    The same calls on things of another environment, calls on things of this one that the matrix does not grant it,
    destruction of audit records, rights over roles, and keys used directly or for what is not its own.
    """
    other = dataclasses.replace(cloud, names=dataclasses.replace(cloud.names, environment=ELSEWHERE))
    for grant in one.grants:
        for action in ACTIONS[grant.kind, grant.access]:
            yield Call(action, sample(grant, other), _context(grant, other))
    for grant, access in _things():
        held: set[str] = set()
        for mine in one.grants:
            if (mine.kind, mine.name) == (grant.kind, grant.name) and (not mine.prefix or mine.prefix == grant.prefix):
                held.update(ACTIONS[mine.kind, mine.access])
        for action in ACTIONS[grant.kind, access]:
            if action not in held:
                yield Call(action, sample(grant, cloud), _context(grant, cloud))
    for action in DESTROYS:
        yield Call(action, f"{arn(cloud, 'bucket', 'audit')}/ledger/checkpoint.json", {})
    for action in ("sts:AssumeRole", "iam:PutRolePolicy", "iam:PassRole"):
        yield Call(action, cloud.arn("iam", f"role/{cloud.names.of('role', 'control')}", region=False), {})
    needed = {grant.key or KEYS[grant.kind] for grant in one.grants if grant.kind in KEYS}
    for purpose, key in keys.items():
        yield Call("kms:Decrypt", key, _used(cloud, purpose, "lambda"))
        yield Call("kms:ScheduleKeyDeletion", key, _used(cloud, purpose, "s3"))
        if purpose not in needed:
            for service in sorted(set(SERVICES.values())):
                yield Call("kms:Decrypt", key, _used(cloud, purpose, service))


def sample(grant: Grant, cloud: Cloud) -> str:
    """ARN of one thing that a grant is about."""
    found = arn(cloud, grant.kind, grant.name).replace("??????", "a1b2c3").replace("*", "0000")
    return f"{found}/{grant.prefix}some/object" if grant.kind == "bucket" else found


def _used(cloud: Cloud, purpose: str, service: str) -> dict[str, str]:
    """What is known of the use of a key by way of a service: the service, and the alias that the key carries."""
    return {
        "kms:ViaService": f"{service}.{cloud.region}.amazonaws.com",
        "kms:ResourceAliases": cloud.alias(purpose),
    }


def _context(grant: Grant, cloud: Cloud) -> dict[str, str]:
    return {key: value for keys in conditions(grant, cloud).values() for key, value in keys.items()}


def _things() -> Iterator[tuple[Grant, Access]]:
    """Each thing that the matrix names, with each access that its kind knows."""
    named: set[tuple[Kind, str, str, KeyPurpose | None]] = {
        (grant.kind, grant.name, grant.prefix, grant.key) for one in MATRIX for grant in one.grants
    }
    for kind, name, prefix, key in sorted(named, key=str):
        for known, access in ACTIONS:
            if known == kind:
                yield Grant(kind=kind, name=name, access=access, prefix=prefix, key=key), access
