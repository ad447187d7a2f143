"""IAM policies are evaluated as AWS does, and what is not known is never a pass."""

from typing import Any

import pytest

from policies.access import Call, evaluate
from policies.documents import DocumentError

READ = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::a/*"}
OBJECT = Call("s3:GetObject", "arn:aws:s3:::a/x", {})


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    ("statements", "call", "outcome"),
    [
        ([READ], OBJECT, "allowed"),
        ([READ], Call("S3:getobject", "arn:aws:s3:::a/x", {}), "allowed"),
        ([READ], Call("s3:PutObject", "arn:aws:s3:::a/x", {}), "denied"),
        ([READ], Call("s3:GetObject", "arn:aws:s3:::ab/x", {}), "denied"),
        ([], OBJECT, "denied"),
        ([READ, READ | {"Effect": "Deny"}], OBJECT, "denied"),
        ([{"Effect": "Allow", "NotAction": ["s3:Put*"], "Resource": "*"}], OBJECT, "allowed"),
        ([{"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::a/*"}], OBJECT, "denied"),
        ([READ | {"Resource": "arn:aws:s3:::a/?"}], OBJECT, "allowed"),
        ([READ | {"Resource": "arn:aws:s3:::a/?"}], Call("s3:GetObject", "arn:aws:s3:::a/xy", {}), "denied"),
    ],
)
def test_statements_are_weighed(statements: list[dict[str, Any]], call: Call, outcome: str) -> None:
    assert evaluate([policy(*statements)], call).outcome == outcome


@pytest.mark.parametrize(
    ("condition", "context", "outcome"),
    [
        ({"StringEquals": {"aws:SourceAccount": "1"}}, {"aws:SourceAccount": "1"}, "allowed"),
        ({"StringEquals": {"aws:SourceAccount": ["1", "2"]}}, {"AWS:sourceaccount": "2"}, "allowed"),
        ({"StringEquals": {"aws:SourceAccount": "1"}}, {"aws:SourceAccount": "2"}, "denied"),
        ({"StringNotEquals": {"aws:SourceAccount": "1"}}, {"aws:SourceAccount": "2"}, "allowed"),
        ({"StringLike": {"s3:prefix": "a/*"}}, {"s3:prefix": "a/b"}, "allowed"),
        ({"StringNotLike": {"s3:prefix": "a/*"}}, {"s3:prefix": "a/b"}, "denied"),
        ({"ArnLike": {"aws:SourceArn": "arn:*:x"}}, {"aws:SourceArn": "arn:aws:x"}, "allowed"),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"aws:SecureTransport": "True"}, "allowed"),
        ({"StringEquals": {"aws:SourceAccount": "1"}}, {}, "undetermined"),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": "10.1.1.1"}, "undetermined"),
    ],
)
def test_conditions_are_weighed(condition: dict[str, Any], context: dict[str, str], outcome: str) -> None:
    verdict = evaluate([policy(READ | {"Condition": condition})], Call("s3:GetObject", "arn:aws:s3:::a/x", context))

    assert verdict.outcome == outcome
    if outcome == "undetermined":
        (operator, keys), *_ = condition.items()
        assert verdict.unevaluated == (f"{operator} {next(iter(keys)).lower()}",)


def test_a_deny_that_may_hold_is_not_a_pass() -> None:
    maybe = READ | {"Effect": "Deny", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}

    assert evaluate([policy(READ, maybe)], OBJECT).outcome == "undetermined"


def test_an_unknown_condition_of_one_statement_does_not_matter_when_another_allows() -> None:
    maybe = READ | {"Condition": {"StringEquals": {"aws:PrincipalTag/team": "ml"}}}

    assert evaluate([policy(maybe, READ)], OBJECT).outcome == "allowed"


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"Statement": [{"Effect": "Maybe"}]}', '{"Statement": [{"Effect": "Allow", "Resource": "*"}]}', "{}"],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        evaluate([text], OBJECT)
