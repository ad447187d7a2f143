"""The `aws` provider of a plan checks and compares like the rehearsal's, and makes up what AWS would answer."""

from __future__ import annotations

import grpc
import pytest

from infra.provider.codec import UNKNOWN
from tests.infra.planning.conftest import Client

ROLE = "aws:iam/role:Role"
DATABASE = "aws:rds/instance:Instance"
TRUST = '{"Version": "2012-10-17", "Statement": []}'


def test_a_name_is_the_same_each_time(aws: Client) -> None:
    first, _ = aws.check(ROLE, "reader", {"assumeRolePolicy": TRUST})
    second, _ = aws.check(ROLE, "reader", {"assumeRolePolicy": TRUST})
    other, _ = aws.check(ROLE, "writer", {"assumeRolePolicy": TRUST})
    assert first["name"] == second["name"]
    assert first["name"] != other["name"]


def test_an_input_that_does_not_exist_is_refused(aws: Client) -> None:
    _, reasons = aws.check(ROLE, "reader", {"assumeRolePolicy": TRUST, "assumeRolePolice": TRUST})
    assert any("assumeRolePolice" in reason for reason in reasons)


@pytest.mark.parametrize("clients", [False], indirect=True)
def test_a_base_is_not_judged_again(aws: Client) -> None:
    _, reasons = aws.check(ROLE, "reader", {"assumeRolePolicy": TRUST, "assumeRolePolice": TRUST})
    assert reasons == []


def test_what_did_not_change_is_not_judged_again(aws: Client) -> None:
    inputs, _ = aws.check(ROLE, "reader", {"assumeRolePolicy": TRUST})
    _, reasons = aws.check(ROLE, "reader", inputs, {**inputs})
    assert reasons == []


def test_a_create_only_property_replaces_and_another_does_not(aws: Client) -> None:
    old = {"identifier": "main", "instanceClass": "db.t4g.medium", "backupRetentionPeriod": 7}
    moved = aws.diff(DATABASE, "main", old, {**old, "identifier": "other"})
    grown = aws.diff(DATABASE, "main", old, {**old, "backupRetentionPeriod": 35})
    assert list(moved.replaces) == ["identifier"]
    assert list(grown.replaces) == []
    assert "backupRetentionPeriod" in grown.diffs


def test_a_preview_knows_no_arn_and_a_plan_makes_one_up(aws: Client) -> None:
    inputs = {"name": "acme-prod-reader", "assumeRolePolicy": TRUST}
    _, promised = aws.create(ROLE, "reader", inputs, preview=True)
    identity, made = aws.create(ROLE, "reader", inputs)
    assert promised["arn"] is UNKNOWN
    assert made["arn"] == "arn:aws:iam::111111111111:role/acme-prod-reader"
    assert identity == "acme-prod-reader"
    assert made["tagsAll"] == {"client": "acme"}


def test_what_is_made_up_is_the_same_each_time(aws: Client) -> None:
    inputs = {"identifier": "main", "instanceClass": "db.t4g.medium", "manageMasterUserPassword": True}
    assert aws.create(DATABASE, "main", inputs) == aws.create(DATABASE, "main", inputs)


def test_zones_are_answered_without_an_account(aws: Client) -> None:
    answer = aws.invoke("aws:index/getAvailabilityZones:getAvailabilityZones", {"state": "available"})
    assert answer["names"] == ["eu-central-1a", "eu-central-1b", "eu-central-1c"]


def test_a_question_to_the_account_is_refused_in_words(aws: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        aws.invoke("aws:ec2/getInstanceTypes:getInstanceTypes", {})
    assert "a plan does not call AWS" in error.value.details()
