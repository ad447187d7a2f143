"""Bootstrap makes what lacks, says what it made, changes nothing that is right, and goes on after a failure."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import boto3
import pytest

from infra.bootstrap.account import Account, BootstrapError, Outcome
from infra.bootstrap.documents import Wanted
from infra.rehearsal.moto import MotoServer

pytestmark = pytest.mark.slow


def client(service: str) -> Any:
    return boto3.client(service, region_name="eu-central-1")


def done(outcomes: list[Outcome]) -> set[str]:
    return {one.done for one in outcomes}


def keys() -> int:
    return len(client("kms").list_keys()["Keys"])


def test_everything_is_made_once(account: MotoServer, wanted: Wanted) -> None:
    first = Account(wanted).run()
    second = Account(wanted).run()

    assert done(first) - {"kept"} == {"made", "changed"}
    assert [one for one in second if one.done != "kept"] == []
    assert keys() == 1
    s3, name = client("s3"), wanted.bucket
    assert name == "acme-prod-state-333333333333-eu-central-1"
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    [rule] = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    arn = client("kms").describe_key(KeyId=wanted.alias)["KeyMetadata"]["Arn"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}
    [statement] = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert client("kms").get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]


def test_a_dry_run_touches_nothing(account: MotoServer, wanted: Wanted) -> None:
    outcomes = Account(wanted, dry=True).run()

    assert done(outcomes) == {"would make"}
    assert keys() == 0
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    names = Counter((one.what, one.name) for one in outcomes)
    Account(wanted).run()
    assert set(names) <= {(one.what, one.name) for one in Account(wanted).run()}


def test_what_was_changed_by_hand_is_put_right(account: MotoServer, wanted: Wanted) -> None:
    Account(wanted).run()
    role = wanted.role("releases")
    wide = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    anybody = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    open_ = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
    client("iam").put_role_policy(RoleName=role, PolicyName="releases", PolicyDocument=wide)
    client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=open_)

    seen = [one for one in Account(wanted, dry=True).run() if one.done != "kept"]
    changed = [one for one in Account(wanted).run() if one.done != "kept"]

    assert [(one.what, one.name, one.done) for one in seen] == [
        ("trust", role, "would change"),
        ("rights", role, "would change"),
    ]
    assert [(one.what, one.name, one.done) for one in changed] == [
        ("trust", role, "changed"),
        ("rights", role, "changed"),
    ]


@pytest.mark.parametrize(
    "operation", ["kms.CreateAlias", "s3.PutBucketEncryption", "s3.CreateBucket", "iam.CreateRole", "iam.PutRolePolicy"]
)
def test_a_run_that_broke_off_goes_on_and_makes_nothing_twice(
    account: MotoServer, wanted: Wanted, operation: str
) -> None:
    account.ask("faults", [{"operation": operation, "code": "AccessDenied", "message": "no", "status": 403}])

    with pytest.raises(BootstrapError, match=r"AWS refused .* AccessDenied") as caught:
        Account(wanted).run()
    assert "repeat the command" in caught.value.hint
    Account(wanted).run()

    assert done(Account(wanted).run()) == {"kept"}
    assert keys() == 1


def test_throttled_calls_are_repeated(account: MotoServer, wanted: Wanted) -> None:
    account.ask("faults", [{"operation": "kms.CreateKey", "times": 2}])

    assert Account(wanted).run()
    assert keys() == 1


def test_credentials_that_expire_half_way_say_how_to_go_on(account: MotoServer, wanted: Wanted) -> None:
    account.ask("faults", [{"operation": "iam.*", "code": "ExpiredToken", "message": "x", "status": 403, "times": -1}])

    with pytest.raises(BootstrapError, match="have expired") as caught:
        Account(wanted).run()

    assert "log in again and repeat" in caught.value.hint
    account.ask("faults", [])
    assert "made" in done(Account(wanted).run())


def test_credentials_of_another_account_are_refused_before_anything_is_touched(
    account: MotoServer, wanted: Wanted
) -> None:
    names = replace(wanted.cloud.names, account="111111111111")
    other = replace(wanted, cloud=replace(wanted.cloud, names=names))

    with pytest.raises(BootstrapError, match=r"of account 333333333333 .* pinned to 111111111111") as caught:
        Account(other).run()

    assert "nothing was touched" in str(caught.value)
    assert keys() == 0
    assert client("s3").list_buckets()["Buckets"] == []


def test_missing_credentials_say_what_to_do(
    account: MotoServer, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(BootstrapError, match="no credentials") as caught:
        Account(wanted).run()

    assert "AWS_PROFILE" in caught.value.hint


def test_a_key_that_is_going_away_is_not_used(account: MotoServer, wanted: Wanted) -> None:
    Account(wanted).run()
    arn = client("kms").describe_key(KeyId=wanted.alias)["KeyMetadata"]["KeyId"]
    client("kms").schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)

    with pytest.raises(BootstrapError, match="PendingDeletion"):
        Account(wanted).run()


def test_without_pipelines_no_roles_are_made(account: MotoServer, wanted: Wanted) -> None:
    Account(replace(wanted, trust=None)).run()

    assert client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
