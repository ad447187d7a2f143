"""The identity matrix: what it grants is allowed, everything else is denied, and taking one entry away is noticed."""

import dataclasses
from collections.abc import Iterator, Mapping

import pytest

from components.cloud import Cloud
from components.identity.__main__ import PAGE, page
from components.identity.calls import DESTROYS, foreign, granted, sample
from components.identity.matrix import (
    ACTIONS,
    KEYS,
    MATRIX,
    SERVICES,
    Grant,
    Identity,
    arn,
    conditions,
    identity,
    statements,
    table,
)
from components.naming import Names
from policies.access import Call, evaluate

CLOUD = Cloud(
    stack="prod",
    names=Names(client="acme", environment="prod", account="333333333333", region="eu-central-1"),
    partition="aws",
    tags={},
    protected=True,
    project="/project",
)
FOREIGN = dataclasses.replace(CLOUD, names=dataclasses.replace(CLOUD.names, environment="staging"))
PURPOSES = ("data", "secrets", "audit", "logs", "cluster")
ARNS = {purpose: f"arn:aws:kms:eu-central-1:333333333333:key/{purpose}" for purpose in PURPOSES}
GRANTS = [
    pytest.param(one, grant, id=f"{one.name}-{grant.kind}-{grant.name}-{grant.access}")
    for one in MATRIX
    for grant in one.grants
]


def rendered(one: Identity) -> Mapping[str, object]:
    return {"Version": "2012-10-17", "Statement": statements(one, CLOUD)}


def calls(grant: Grant, cloud: Cloud = CLOUD) -> Iterator[Call]:
    context = {key: value for keys in conditions(grant, cloud).values() for key, value in keys.items()}
    for action in ACTIONS[grant.kind, grant.access]:
        yield Call(action, sample(grant, cloud), context)


@pytest.mark.parametrize(("one", "grant"), GRANTS)
def test_what_the_matrix_grants_is_allowed(one: Identity, grant: Grant) -> None:
    for call in calls(grant):
        assert evaluate([rendered(one)], call).outcome == "allowed", call


@pytest.mark.parametrize(("one", "grant"), GRANTS)
def test_without_its_entry_it_is_denied(one: Identity, grant: Grant) -> None:
    rest = tuple(other for other in one.grants if (other.kind, other.name) != (grant.kind, grant.name))
    without = dataclasses.replace(one, grants=rest)

    for call in calls(grant):
        assert evaluate([rendered(without)], call).outcome == "denied", call


@pytest.mark.parametrize(("one", "grant"), GRANTS)
def test_the_same_thing_of_another_environment_is_denied(one: Identity, grant: Grant) -> None:
    for call in calls(grant, FOREIGN):
        assert evaluate([rendered(one)], call).outcome == "denied", call


@pytest.mark.parametrize("one", MATRIX, ids=lambda one: one.name)
def test_nobody_can_change_audit_records(one: Identity) -> None:
    record = f"{arn(CLOUD, 'bucket', 'audit')}/ledger/checkpoint.json"

    for action in (*DESTROYS, *(() if one.name == "control" else ("s3:GetObject",))):
        assert evaluate([rendered(one)], Call(action, record, {})).outcome == "denied"


@pytest.mark.parametrize("one", MATRIX, ids=lambda one: one.name)
def test_keys_are_used_by_way_of_the_services_alone(one: Identity) -> None:
    needed = {grant.key or KEYS[grant.kind] for grant in one.grants if grant.kind in KEYS}
    for purpose in PURPOSES:
        carried = {"kms:ResourceAliases": CLOUD.alias(purpose)}
        direct = Call("kms:Decrypt", ARNS[purpose], {"kms:ViaService": "lambda.eu-central-1.amazonaws.com", **carried})
        assert evaluate([rendered(one)], direct).outcome == "denied"
        outcomes = {
            evaluate(
                [rendered(one)],
                Call(
                    "kms:Decrypt",
                    ARNS[purpose],
                    {"kms:ViaService": f"{service}.eu-central-1.amazonaws.com", **carried},
                ),
            ).outcome
            for service in set(SERVICES.values())
        }
        assert ("allowed" in outcomes) == (purpose in needed)


@pytest.mark.parametrize("one", MATRIX, ids=lambda one: one.name)
def test_no_right_is_a_wildcard(one: Identity) -> None:
    for statement in statements(one, CLOUD):
        assert not any("*" in action for action in statement["Action"])
        if statement["Resource"] == "*":
            assert statement["Action"] == ["ecr:GetAuthorizationToken"]


def test_each_workload_runs_as_one_thing() -> None:
    assert len({one.name for one in MATRIX}) == len(MATRIX)
    for one in MATRIX:
        assert (one.service is None) == (one.namespace is not None) == (one.service_account is not None)
    with pytest.raises(KeyError):
        identity("nobody")


def test_the_table_says_every_right() -> None:
    text = table()

    assert "| serving | `serving/inference` | send to bucket `captures` |" in text
    assert text.count("\n") == len(MATRIX) + 2


@pytest.mark.parametrize("one", MATRIX, ids=lambda one: one.name)
def test_every_granted_call_is_allowed_and_every_foreign_one_denied(one: Identity) -> None:
    assert {evaluate([rendered(one)], call).outcome for call in granted(one, CLOUD, ARNS)} == {"allowed"}
    assert {
        call.action for call in foreign(one, CLOUD, ARNS) if evaluate([rendered(one)], call).outcome != "denied"
    } == set()


def test_the_password_of_another_database_is_denied() -> None:
    call = next(call for call in calls(Grant(kind="database-secret", name="main", access="read"), FOREIGN))

    assert evaluate([rendered(identity("secrets"))], call).outcome == "denied"
    assert evaluate([rendered(identity("secrets"))], Call(call.action, call.resource, {})).outcome != "allowed"


def test_the_page_in_the_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m components.identity --write`"
