"""The table of kinds without an engine: names, replacement, what is refused."""

import subprocess
import sys
from typing import Any

import pytest

from infra.provider.codec import UNKNOWN, Secret
from infra.rehearsal.aws import schema
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.aws.convert import NoPlaceError, pairs_to_map, seen, to_api
from infra.rehearsal.aws.perform import Performer
from infra.rehearsal.aws.resources import KINDS

pytestmark = [  # the SDK and botocore's models take seconds to load, and the SDK warns of its own old names
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pulumi_aws"),
]


@pytest.fixture(scope="module")
def nowhere() -> Aws:
    """An API that nobody serves: enough for botocore's models."""
    return Aws("http://127.0.0.1:9", "eu-central-1", attempts=1)


@pytest.mark.parametrize("token", sorted(KINDS))
def test_every_call_and_output_of_a_kind_exists(token: str, nowhere: Aws) -> None:
    kind = KINDS[token]
    known = schema.resource(token)

    for call in (*kind.calls, *kind.delete):
        members = nowhere.shape(kind.service, call.operation).members
        assert set(call.arguments) <= set(members), call.operation
    for look in kind.looks:
        assert set(look.arguments) <= set(nowhere.shape(kind.service, look.operation).members), look.operation
    assert set(kind.outputs) <= set(known.outputs)
    named = {*kind.replaces, *kind.updates, *kind.local, *kind.defaults}
    assert named <= set(known.inputs)


@pytest.mark.parametrize(
    ("token", "changed", "replaced"),
    [
        ("aws:ec2/vpc:Vpc", {"cidrBlock", "enableDnsSupport"}, {"cidrBlock"}),
        ("aws:sqs/queue:Queue", {"name", "delaySeconds", "fifoQueue"}, {"name", "fifoQueue"}),
        ("aws:iam/role:Role", {"path", "description"}, {"path"}),
        ("aws:rds/instance:Instance", {"storageEncrypted", "allocatedStorage"}, {"storageEncrypted"}),
        ("aws:sagemaker/featureGroup:FeatureGroup", {"tags", "roleArn"}, {"roleArn"}),
    ],
)
def test_what_replaces_comes_from_cloudformation_and_the_table(
    token: str, changed: set[str], replaced: set[str]
) -> None:
    assert set(Performer(KINDS[token]).replacing(changed)) == replaced


def test_unknown_property_is_refused_with_the_nearest_known_one(nowhere: Aws) -> None:
    problems = Performer(KINDS["aws:sqs/queue:Queue"]).problems(nowhere, {"delaySecond": 1})

    assert problems == ["`delaySecond` is not known; did you mean `delaySeconds`?"]


def test_property_that_the_sdk_knows_and_the_table_does_not_is_refused(nowhere: Aws) -> None:
    problems = Performer(KINDS["aws:eks/cluster:Cluster"]).problems(
        nowhere,
        {
            "roleArn": "r",
            "vpcConfig": {"subnetIds": []},
            "kubernetesNetworkConfig": {"ipFamily": 4},
            "storageConfig": 1,
        },
    )

    assert problems == ["`storageConfig` must be object, not a number"]


def test_missing_and_mistyped_properties_are_told_without_values(nowhere: Aws) -> None:
    problems = Performer(KINDS["aws:eks/cluster:Cluster"]).problems(
        nowhere, {"vpcConfig": {"subnetIds": Secret("s3cr")}}
    )

    assert problems == ["`roleArn` is missing", "`vpcConfig.subnetIds` must be list, not a text"]


def test_unknown_values_of_a_preview_pass(nowhere: Aws) -> None:
    inputs: dict[str, Any] = {"roleArn": UNKNOWN, "vpcConfig": {"subnetIds": [UNKNOWN]}}

    assert Performer(KINDS["aws:eks/cluster:Cluster"]).problems(nowhere, inputs) == []


def test_made_up_name_is_kept_from_last_time() -> None:
    performer = Performer(KINDS["aws:iam/role:Role"])

    first = performer.named({}, {}, "reader", b"seed")
    again = performer.named({}, first, "reader", b"other seed")
    stated = performer.named({"name": "mine"}, first, "reader", b"seed")

    assert first["name"].startswith("reader-")
    assert first["__defaults"] == ["name"]
    assert again == first
    assert stated == {"name": "mine"}


def test_nested_property_without_a_place_in_the_call_is_an_error(nowhere: Aws) -> None:
    shape = nowhere.shape("ec2", "create_vpc_endpoint").members["DnsOptions"]

    with pytest.raises(NoPlaceError, match="recordType"):
        to_api({"recordType": "ipv4"}, shape, {})


def test_tags_are_read_in_every_form() -> None:
    assert pairs_to_map([{"Key": "a", "Value": "1"}]) == {"a": "1"}
    assert pairs_to_map([{"TagKey": "a", "TagValue": "1"}]) == {"a": "1"}
    assert pairs_to_map({"a": "1"}) == {"a": "1"}


@pytest.mark.parametrize(
    ("stated", "world", "found"),
    [
        ("a", "b", "b"),
        ('{"a": 1}', '{"a":1}', '{"a": 1}'),
        (["b", "a"], ["a", "b"], ["b", "a"]),
        (["a"], ["a", "c"], ["a", "c"]),
        (True, "false", False),
        (5, "5", 5),
        ({"httpTokens": "required"}, {"HttpTokens": "optional", "State": "x"}, {"httpTokens": "optional"}),
        (Secret("a"), "b", Secret("b")),
        ("kept where the API does not tell", None, "kept where the API does not tell"),
    ],
)
def test_drift_is_seen_in_what_is_stated_and_only_there(stated: Any, world: Any, found: Any) -> None:
    assert seen(stated, world, {}) == found


def test_asking_for_a_type_leaves_the_sdk_whole() -> None:
    code = (
        "from infra.rehearsal.aws import schema; schema.resource('aws:s3/bucket:Bucket'); "
        "from pulumi_aws import s3; s3.Bucket"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
