"""Calls judged by the policies of a state: a right that is missing, too many or undecidable is found."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from components.cloud import Cloud
from components.identity.matrix import MATRIX, statements
from components.naming import Names
from infra.rehearsal.access import judge

CLOUD = Cloud(
    stack="dev",
    names=Names(client="acme", environment="dev", account="111111111111", region="eu-central-1"),
    partition="aws",
    tags={},
    protected=False,
    project="/project",
)
KEYS = {
    purpose: f"arn:aws:kms:eu-central-1:111111111111:key/{purpose}"
    for purpose in ("data", "logs", "secrets", "audit", "cluster")
}
State = list[dict[str, Any]]


@pytest.fixture
def state() -> State:
    """The state of an environment whose roles have what the matrix says."""
    found: State = [
        {"type": "aws:kms/alias:Alias", "outputs": {"name": CLOUD.alias(purpose), "targetKeyArn": arn}}
        for purpose, arn in KEYS.items()
    ]
    for one in MATRIX:
        name = CLOUD.names.of("role", one.name)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements(one, CLOUD)})
        found.append({"type": "aws:iam/role:Role", "outputs": {"name": name}})
        found.append({"type": "aws:iam/rolePolicy:RolePolicy", "outputs": {"role": name, "policy": document}})
    return found


def change(state: State, role: str, how: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> State:
    changed = copy.deepcopy(state)
    for resource in changed:
        if resource["outputs"].get("role") == f"acme-dev-{role}":
            document = json.loads(resource["outputs"]["policy"])
            document["Statement"] = how(document["Statement"])
            resource["outputs"]["policy"] = json.dumps(document)
    return changed


def test_roles_as_the_matrix_says_are_well(state: State) -> None:
    found = judge(state, CLOUD)

    assert found.ok, found.wrong
    assert found.denied > found.allowed > len(MATRIX)


def test_a_right_that_is_missing_is_found(state: State) -> None:
    found = judge(change(state, "serving", lambda statements: statements[1:]), CLOUD)

    assert not found.ok
    assert any(line.startswith("serving: s3:PutObject on") and "is denied" in line for line in found.wrong)


def test_a_right_over_the_key_that_is_missing_is_found(state: State) -> None:
    without = change(state, "registry", lambda found: [one for one in found if "kms:Decrypt" not in one["Action"]])

    assert any("kms:Decrypt" in line for line in judge(without, CLOUD).wrong)


@pytest.mark.parametrize(
    ("more", "call"),
    [
        ({"Action": "s3:*", "Resource": "*"}, "s3:DeleteObjectVersion"),
        ({"Action": "dynamodb:GetItem", "Resource": "*"}, "dynamodb:GetItem"),
        ({"Action": "kms:Decrypt", "Resource": KEYS["secrets"]}, "kms:Decrypt"),
        ({"Action": "sts:AssumeRole", "Resource": "*"}, "sts:AssumeRole"),
    ],
)
def test_a_right_too_many_is_found(state: State, more: dict[str, Any], call: str) -> None:
    widened = change(state, "serving", lambda found: [*found, {"Effect": "Allow", **more}])

    assert any(line.startswith(f"serving: {call} on") and "is allowed" in line for line in judge(widened, CLOUD).wrong)


def test_a_condition_that_cannot_be_evaluated_is_listed_and_no_pass(state: State) -> None:
    condition = {"NumericLessThan": {"s3:max-keys": "10"}}
    found = judge(change(state, "serving", lambda all_: [{**one, "Condition": condition} for one in all_]), CLOUD)

    assert found.unevaluated["serving"] == ["NumericLessThan s3:max-keys"]
    assert any("is undetermined" in line for line in found.wrong)
    assert "NumericLessThan s3:max-keys" in found.said()


def test_a_workload_without_a_role_is_found(state: State) -> None:
    rest = [one for one in state if one["outputs"].get("name") != "acme-dev-control"]

    assert judge(rest, CLOUD).wrong == ["control: there is no role acme-dev-control"]


def test_an_empty_state_is_not_well() -> None:
    assert not judge([], CLOUD).ok
