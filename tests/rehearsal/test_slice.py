"""A small program through its whole life: the protocol with the real engine, end to end."""

from collections.abc import Callable

import pytest

from infra.rehearsal.aws.clients import Aws
from tests.rehearsal.conftest import Rehearsed

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_a_program_lives_from_preview_to_destroy_and_leaves_nothing(
    rehearsed: Callable[[str], Rehearsed], aws: Aws
) -> None:
    slice_ = rehearsed("slice")

    assert slice_.run("preview").changes == {"create": 8}
    assert slice_.run("up").changes == {"create": 8}
    assert slice_.run("preview", "--expect-no-changes").ok
    assert slice_.run("up", purpose="second").changes == {"same": 6, "update": 2}
    assert not slice_.run("refresh", purpose="second").changed

    [role] = [one for one in aws.call("iam", "list_roles", {})["Roles"] if one["RoleName"].startswith("reader-")]
    assert role["Description"] == "second"
    vpc = slice_.outputs_of("aws:ec2/vpc:Vpc")
    assert vpc["tagsAll"] == {"stack": "test", "Name": "network"}
    assert vpc["enableDnsHostnames"] is True

    aws.call("iam", "update_role", {"RoleName": role["RoleName"], "Description": "changed by hand"})
    assert slice_.run("refresh", purpose="second").changes.get("update") == 1
    assert slice_.run("up", purpose="second").changes == {"same": 7, "update": 1}

    assert slice_.run("destroy").changes == {"delete": 8}
    assert [one["CidrBlock"] for one in aws.call("ec2", "describe_vpcs", {})["Vpcs"]] == ["172.31.0.0/16"]
    assert not aws.call("s3", "list_buckets", {}).get("Buckets")
    assert not [one for one in aws.call("iam", "list_roles", {})["Roles"] if one["RoleName"].startswith("reader-")]


def test_credentials_of_another_account_are_refused_before_anything_is_touched(
    rehearsed: Callable[[str], Rehearsed], aws: Aws
) -> None:
    slice_ = rehearsed("slice")

    result = slice_.run("up", account="999999999999")

    assert not result.ok
    assert "this stack is pinned to 999999999999" in " ".join(result.errors)
    assert len(aws.call("ec2", "describe_vpcs", {})["Vpcs"]) == 1
