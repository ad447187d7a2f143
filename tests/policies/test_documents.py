"""Policy documents: what a statement says."""

import json
from typing import Any

import pytest

from policies.documents import DocumentError, denies_plain_transport, like, statements

TLS: dict[str, Any] = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": "*",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def test_one_statement_or_several_one_action_or_several() -> None:
    one = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Principal": {"Service": "a.amazonaws.com"}}
    assert [found.actions for found in statements({"Statement": one})] == [("s3:GetObject",)]
    several = json.dumps({"Statement": [one, {**one, "Action": ["s3:Get*", "s3:List*"], "Sid": "More"}]})
    first, second = statements(several)
    assert first.sid == "a statement without Sid"
    assert (second.sid, second.actions, second.resources) == ("More", ("s3:Get*", "s3:List*"), ("*",))
    assert second.principals("Service") == ("a.amazonaws.com",)
    assert second.covers("S3:getobject")
    assert not second.covers("s3:PutObject")


def test_what_is_not_named_is_everything() -> None:
    (one,) = statements(
        {"Statement": {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "x", "NotPrincipal": "y"}}
    )
    assert (one.actions, one.resources, one.everyone) == (("*",), ("*",), True)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"Statement": 7}', '{"Statement": [{"Effect": "Maybe"}]}'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        statements(text)


@pytest.mark.parametrize(
    "broken",
    [{"Effect": "Maybe", "Action": "*"}, {"Effect": "Allow", "Resource": "*"}, "Allow", ["Effect"]],
    ids=["effect", "action", "text", "list"],
)
def test_one_broken_statement_among_good_ones_is_refused(broken: Any) -> None:
    with pytest.raises(DocumentError):
        statements({"Statement": [TLS, broken]})


def test_a_pattern_heeds_case_unless_told() -> None:
    assert like("arn:aws:s3:::Data*", "arn:aws:s3:::Data1")
    assert not like("arn:aws:s3:::Data*", "arn:aws:s3:::data1")
    assert like("S3:Get?bject", "s3:getObject", ignore_case=True)


@pytest.mark.parametrize(
    ("condition", "narrowed"),
    [
        ({"StringEquals": {"aws:SourceAccount": "333333333333"}}, True),
        ({"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-1/*"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, False),
        ({"StringNotEquals": {"aws:SourceAccount": "333333333333"}}, False),
        ({"StringLike": {"aws:SourceAccount": "*"}}, False),
        ({"StringLike": {"aws:SourceAccount": ["333333333333", "*"]}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({}, False),
    ],
)
def test_a_condition_narrows_by_naming_somebody(condition: dict[str, Any], narrowed: bool) -> None:
    (one,) = statements({"Statement": {"Effect": "Allow", "Action": "*", "Principal": "*", "Condition": condition}})
    assert one.narrowed is narrowed


def test_plain_transport_is_denied_to_everybody_under_no_other_condition() -> None:
    assert denies_plain_transport({"Statement": [TLS]})
    assert denies_plain_transport({"Statement": [{**TLS, "Condition": {"Bool": {"aws:SecureTransport": ["False"]}}}]})
    for changed in (
        {"Effect": "Allow"},
        {"Principal": {"AWS": "arn:aws:iam::333333333333:root"}},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": ["true", "false"]}}},
        {"Condition": {"BoolIfExists": {"aws:SecureTransport": "false"}}},
        {"Condition": {**TLS["Condition"], "StringEquals": {"a": "b"}}},
    ):
        assert not denies_plain_transport({"Statement": [{**TLS, **changed}]})
        assert denies_plain_transport({"Statement": [{**TLS, **changed}, TLS]})
