"""What a rule reads of a plan: values, what is not known, and where it comes from."""

import pytest

from policies.plan import MISSING, Plan, Resource, Secret, UndeterminedError, Unknown, known, matches, unknowns
from policies.testing import component, made_from, resource, secret, unknown

BUCKET, BLOCK = "aws:s3/bucket:Bucket", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"


def one(**inputs: object) -> Resource:
    return resource("t:m:T", "one", inputs)


def test_value_is_what_stands_at_the_path() -> None:
    found = one(spec={"replicas": [1, 2]}, name="x")
    assert found.value("spec", "replicas", 1) == 2
    assert found.value("spec", "replicas", -1) == 2
    assert found.value("name") == "x"


@pytest.mark.parametrize("path", [("absent",), ("spec", "absent"), ("spec", "list", 5), ("name", "deeper"), ("none",)])
def test_value_is_the_default_where_nothing_stands(path: tuple[str | int, ...]) -> None:
    found = one(spec={"list": [1]}, name="x", none=None)
    assert found.peek(*path) is MISSING
    assert found.value(*path) is None
    assert found.value(*path, default=7) == 7


def test_whole_numbers_are_ints_and_the_others_are_not() -> None:
    found = one(whole=3, half=0.5, flag=True)
    assert (found.value("whole"), type(found.value("whole"))) == (3, int)
    assert found.value("half") == 0.5
    assert found.value("flag") is True


def test_unknown_value_stops_the_rule_and_says_where_it_comes_from() -> None:
    key = resource("aws:kms/key:Key", "data")
    found = one(encryption={"key": unknown(key)})
    assert found.peek("encryption", "key") == Unknown((key.urn,))
    with pytest.raises(UndeterminedError, match=r"encryption\.key is not known in this plan \(it comes from data\)"):
        found.value("encryption", "key")


def test_what_is_below_an_unknown_is_unknown() -> None:
    with pytest.raises(UndeterminedError):
        one(spec=unknown()).value("spec", "replicas", default=3)


def test_value_with_something_unknown_inside_is_unknown() -> None:
    found = one(tags={"owner": "ann", "key": unknown()}, list=[1, {"a": unknown()}])
    with pytest.raises(UndeterminedError, match=r"tags\.key"):
        found.value("tags")
    assert found.value("tags", "owner") == "ann"
    with pytest.raises(UndeterminedError, match=r"list\.1\.a"):
        found.value("list")


def test_secrets_are_read_without_their_mark_and_not_shown() -> None:
    found = one(login=secret({"password": "hush", "more": secret(unknown())}))
    assert found.value("login", "password") == "hush"
    assert "hush" not in repr(found)
    with pytest.raises(UndeterminedError):
        found.value("login", "more")


def test_items_are_a_list_or_one_thing_or_none() -> None:
    assert one(rules=[{"a": 1}]).items("rules") == ({"a": 1},)
    assert one(rules={"a": 1}).items("rules") == ({"a": 1},)
    assert one(rules="one text").items("rules") == ("one text",)
    assert one().items("rules") == ()
    assert one(rules=secret([1])).items("rules") == (1,)
    assert one(rules=[unknown()]).items("rules") == (Unknown(),)


@pytest.mark.parametrize("value", [unknown(), secret(unknown())])
def test_items_of_an_unknown_list_are_undetermined(value: object) -> None:
    with pytest.raises(UndeterminedError):
        one(rules=value).items("rules")


def test_inputs_cannot_be_changed_by_a_rule() -> None:
    found = one(tags={"a": "b"}, list=[1])
    with pytest.raises(TypeError):
        found.inputs["tags"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        found.peek("tags")["a"] = 1
    with pytest.raises(AttributeError):
        found.peek("list").append(2)
    found.value("tags")["a"] = "changed in a copy"
    assert found.value("tags") == {"a": "b"}


def test_known_and_unknowns_look_at_any_depth() -> None:
    value = {"a": [Secret(1), {"b": Unknown(("u",))}]}
    assert list(unknowns(value)) == [Unknown(("u",))]
    assert list(unknowns("text")) == []
    assert known({"a": (Secret(1), "b")}, "x") == {"a": [1, "b"]}
    with pytest.raises(UndeterminedError, match=r"x\.a\.1\.b"):
        known(value, "x")


def test_origins_are_the_resources_that_a_value_is_made_from_known_or_not() -> None:
    bucket, other = resource(BUCKET, "data"), resource(BUCKET, "other")
    block = resource(BLOCK, "planned", bucket=bucket)
    there = resource(BLOCK, "there", bucket=made_from(bucket, value="data-1"), text="x")
    plan = Plan(stack="s", resources=[bucket, other, block, there])
    assert plan.origins(block, "bucket") == [bucket]
    assert plan.origins(there, "bucket") == [bucket]
    assert plan.origins(there, "text") == []
    assert plan.origins(there) == []


def test_used_by_is_origins_the_other_way_round() -> None:
    bucket, other = resource(BUCKET, "data"), resource(BUCKET, "other")
    block = resource(BLOCK, "planned", bucket=bucket)
    policy = resource("aws:s3/bucketPolicy:BucketPolicy", "data", bucket=bucket, policy=other)
    plan = Plan(stack="s", resources=[bucket, other, block, policy])
    assert plan.used_by(bucket, "bucket") == [block, policy]
    assert plan.used_by(bucket, "bucket", BLOCK) == [block]
    assert plan.used_by(other, "bucket") == []
    assert plan.used_by(other, "policy") == [policy]


def test_children_and_types() -> None:
    outer = component("mlops:storage:Bucket", "data")
    bucket = resource(BUCKET, "data", parent=outer)
    block = resource(BLOCK, "data", parent=outer)
    plan = Plan(stack="s", resources=[outer, bucket, block])
    assert plan.children(outer) == [bucket, block]
    assert plan.children(outer, BUCKET) == [bucket]
    assert plan.children(bucket) == []
    assert plan.of("aws:s3/*") == [bucket, block]
    assert plan.of(BLOCK, BUCKET) == [bucket, block]
    assert plan.of() == []
    assert bucket.urn.endswith("::mlops:storage:Bucket$aws:s3/bucket:Bucket::data")


def test_a_star_stands_for_anything_at_the_end_only() -> None:
    assert matches("aws:s3/bucket:Bucket", ["aws:*"])
    assert matches("aws:s3/bucket:Bucket", ["*"])
    assert not matches("aws:s3/bucket:Bucket", ["*:Bucket", "aws:s3/bucket"])


def test_resources_can_be_held_in_sets_and_a_change_makes_another() -> None:
    assert {one(a=1), one(a=1)} == {one(a=1)}
    assert one(a=1) != one(a=2)
