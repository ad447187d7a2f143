"""Calls of every workload, judged by the policies that were really made: pure over the state of a stack.

What the identity matrix grants must pass, foreign calls must be denied, and a condition that cannot be evaluated is
listed: it is never read as a pass. moto's own enforcement does not tell resources of one service apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.cloud import Cloud
from components.governance.keys import PURPOSES
from components.identity.calls import foreign, granted
from components.identity.matrix import MATRIX, Identity
from policies.access import Call, evaluate

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Access:
    """What became of the calls.

    Attributes:
        allowed: Calls of the matrix that were allowed.
        denied: Foreign calls that were denied.
        wrong: Those that came out otherwise, in words.
        unevaluated: Conditions that could not be evaluated, by workload.
    """

    allowed: int = 0
    denied: int = 0
    wrong: Sequence[str] = ()
    unevaluated: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all came out as they must; without any call nothing was judged."""
        return self.allowed > 0 and self.denied > 0 and not self.wrong

    def said(self) -> str:
        """Return it in words."""
        unevaluated = [f"{one}: {', '.join(found)}" for one, found in self.unevaluated.items()]
        lines = [
            f"{self.allowed} granted calls allowed, {self.denied} foreign calls denied",
            "conditions that were not evaluated: " + ("; ".join(unevaluated) or "none"),
        ]
        return "\n".join([*lines, *self.wrong])


def judge(state: Sequence[Resource], cloud: Cloud) -> Access:
    """Judge the calls of every workload of the identity matrix.

    Args:
        state: The resources of a stack's state.
        cloud: The environment.
    """
    keys = dict(_keys(state, cloud))
    wrong: list[str] = []
    unevaluated: dict[str, Sequence[str]] = {}
    allowed = denied = 0
    for one in MATRIX:
        policies = _policies(state, cloud.names.of("role", one.name))
        if policies is None:
            wrong.append(f"{one.name}: there is no role {cloud.names.of('role', one.name)}")
            continue
        missing = _needed(one, cloud) - keys.keys()
        if missing:
            wrong.append(f"{one.name}: there is no key for {', '.join(sorted(missing))}")
            continue
        unknown: set[str] = set()
        for call, expected in _asked(one, cloud, keys):
            verdict = evaluate(policies, call)
            unknown.update(verdict.unevaluated)
            if verdict.outcome != expected:
                wrong.append(f"{one.name}: {call.action} on {call.resource} is {verdict.outcome}, not {expected}")
            elif expected == "allowed":
                allowed += 1
            else:
                denied += 1
        if unknown:
            unevaluated[one.name] = sorted(unknown)
    return Access(allowed, denied, wrong, unevaluated)


def _asked(one: Identity, cloud: Cloud, keys: Mapping[str, str]) -> Iterator[tuple[Call, str]]:
    for call in granted(one, cloud, keys):
        yield call, "allowed"
    for call in foreign(one, cloud, keys):
        yield call, "denied"


def _needed(one: Identity, cloud: Cloud) -> set[str]:
    """Purposes of the keys that a workload's grants need."""
    asked: dict[str, str] = {purpose: purpose for purpose in ("data", "secrets", "audit")}
    return {call.resource for call in granted(one, cloud, asked) if call.action.startswith("kms:")}


def _keys(state: Sequence[Resource], cloud: Cloud) -> Iterator[tuple[str, str]]:
    """Yield purpose and ARN of each key, by the alias that it carries: rights over keys are given by those."""
    purposes = {cloud.alias(purpose): purpose for purpose in PURPOSES}
    for resource in state:
        if resource["type"] == "aws:kms/alias:Alias" and resource["outputs"].get("name") in purposes:
            yield purposes[resource["outputs"]["name"]], resource["outputs"]["targetKeyArn"]


def _policies(state: Sequence[Resource], role: str) -> list[Mapping[str, Any]] | None:
    """Return the policies of a role, inline and attached; None where there is no such role."""
    of_type: dict[str, list[Mapping[str, Any]]] = {}
    for resource in state:
        of_type.setdefault(str(resource["type"]), []).append(resource.get("outputs") or {})
    if not any(found.get("name") == role for found in of_type.get("aws:iam/role:Role", [])):
        return None
    documents = {found["arn"]: found["policy"] for found in of_type.get("aws:iam/policy:Policy", [])}
    inline = [found["policy"] for found in of_type.get("aws:iam/rolePolicy:RolePolicy", []) if found["role"] == role]
    attached = [
        documents[found["policyArn"]]
        for found in of_type.get("aws:iam/rolePolicyAttachment:RolePolicyAttachment", [])
        if found["role"] == role and found["policyArn"] in documents
    ]
    return [json.loads(one) for one in (*inline, *attached)]
