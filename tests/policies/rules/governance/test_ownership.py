"""Owner, client, environment, cost centre and class of data: on resources, machines, namespaces and workloads."""

import json
from typing import Any

import pytest

from policies.ownership import label_value, labels
from policies.plan import Resource
from policies.rules.governance.ownership import namespace_labelled, nodes_tagged, resource_tagged
from policies.taggable import FILE, taggable
from policies.testing import admit, deny, resource, undetermined, unknown

SETTINGS = {
    "environment": "prod",
    "aws.governance": {"owner": "ML platform", "costCenter": "4711", "dataClass": "confidential"},
}
TAGS = {
    "owner": "ML platform", "client": "acme", "environment": "prod", "cost-center": "4711",
    "data-class": "confidential",
}  # fmt: skip
LABELS = {f"mlops/{mark}": value for mark, value in TAGS.items()} | {"mlops/owner": "ML-platform"}
QUEUE = "aws:sqs/queue:Queue"
NODES = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
FACTS: dict[str, Any] = {"settings": SETTINGS, "client": "acme"}


def provider(tags: Any) -> Resource:
    return resource("pulumi:providers:aws", "aws", defaultTags=tags, provider="")


def made_by(its: Resource, kind: str = QUEUE, **inputs: Any) -> Resource:
    return resource(kind, "one", inputs, provider=its.urn)


@pytest.mark.parametrize("tags", [{"tags": TAGS}, json.dumps({"tags": TAGS})], ids=["object", "JSON text"])
def test_default_tags_of_the_provider_count(tags: Any) -> None:
    aws = provider(tags)
    admit(resource_tagged, aws, made_by(aws), **FACTS)


def test_own_tags_count_without_default_tags() -> None:
    aws = provider({})
    admit(resource_tagged, aws, made_by(aws, tags=TAGS), **FACTS)


def test_own_tag_wins_over_the_default() -> None:
    aws = provider({"tags": TAGS})
    found = made_by(aws, tags={"owner": "nobody"})
    deny(resource_tagged, aws, found, at=found, says="owner is 'nobody' (the stack states 'ML platform')", **FACTS)


@pytest.mark.parametrize("mark", sorted(TAGS))
def test_each_mark_is_asked_for(mark: str) -> None:
    aws = provider({"tags": {name: value for name, value in TAGS.items() if name != mark}})
    deny(resource_tagged, aws, made_by(aws), says=f"{mark} is missing", path="tags", **FACTS)


def test_blank_mark_is_none() -> None:
    aws = provider({"tags": {**TAGS, "owner": " "}})
    deny(resource_tagged, aws, made_by(aws), says="owner is missing", **FACTS)


def test_mark_must_be_there_where_the_settings_do_not_say_which() -> None:
    aws = provider({"tags": {"client": "acme", "environment": "prod"}})
    deny(resource_tagged, aws, made_by(aws), says="owner is missing", settings={"environment": "prod"}, client="acme")


def test_resource_of_a_provider_that_is_not_in_the_plan_has_no_default_tags() -> None:
    deny(resource_tagged, resource(QUEUE, "one"), says="client is missing", **FACTS)


def test_default_tags_do_not_reach_every_type() -> None:
    aws = provider({"tags": TAGS})
    deny(resource_tagged, aws, made_by(aws, "aws:autoscaling/group:Group"), says="owner is missing", **FACTS)


def test_type_that_carries_no_tags_is_not_asked_for_them() -> None:
    aws = provider({})
    admit(resource_tagged, aws, made_by(aws, "aws:iam/rolePolicy:RolePolicy"), **FACTS)


def test_type_that_the_table_does_not_know_is_judged_by_the_tags_that_it_states() -> None:
    aws = provider({"tags": TAGS})
    deny(resource_tagged, aws, made_by(aws, "aws:new/thing:Thing", tags={"a": "b"}), says="owner is missing", **FACTS)


def test_tags_that_are_not_known_leave_it_open() -> None:
    aws = provider({"tags": TAGS})
    undetermined(resource_tagged, aws, made_by(aws, tags={"owner": unknown()}), path="tags.owner", **FACTS)
    hidden = provider(unknown())
    undetermined(resource_tagged, hidden, made_by(hidden), **FACTS)
    half = provider({"tags": unknown()})
    undetermined(resource_tagged, half, made_by(half), **FACTS)


def node_class(tags: Any) -> Resource:
    return resource(NODES, "nodes", spec={"tags": tags})


def template(*kinds: str, tags: Any = TAGS) -> Resource:
    specifications = [{"resourceType": kind, "tags": tags} for kind in kinds]
    return resource("aws:ec2/launchTemplate:LaunchTemplate", "system", tagSpecifications=specifications)


def test_machines_with_all_tags_are_admitted() -> None:
    admit(nodes_tagged, node_class(TAGS), template("network-interface", "instance", "volume"), **FACTS)


def test_machines_without_tags_are_denied() -> None:
    deny(nodes_tagged, node_class({}), says="owner is missing", path="spec.tags", **FACTS)
    deny(nodes_tagged, template("instance"), says="no tags are stated for each volume", **FACTS)
    deny(nodes_tagged, template("instance", "volume", tags={**TAGS, "owner": "x"}), says="'x'", times=2, **FACTS)


def test_machines_whose_tags_are_not_known_leave_it_open() -> None:
    undetermined(nodes_tagged, node_class({**TAGS, "client": unknown()}), path="spec.tags.client", **FACTS)
    undetermined(nodes_tagged, template("instance", "volume", tags=unknown()), **FACTS)


def space(labels: Any, kind: str = "kubernetes:core/v1:Namespace") -> Resource:
    return resource(kind, "serving", metadata={"name": "serving", "labels": labels})


def test_namespace_and_workload_with_all_labels_are_admitted() -> None:
    admit(namespace_labelled, space(LABELS), space(LABELS, "kubernetes:apps/v1:Deployment"), **FACTS)


def test_namespace_without_a_label_or_with_that_of_another_is_denied() -> None:
    deny(namespace_labelled, space({}), says="mlops/owner is missing (the stack states 'ML-platform')", **FACTS)
    deny(namespace_labelled, space({**LABELS, "mlops/client": "b"}), says="mlops/client is 'b'", **FACTS)


def test_namespace_whose_labels_are_not_known_leaves_it_open() -> None:
    undetermined(namespace_labelled, space(unknown()), path="metadata.labels.mlops/owner", **FACTS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("ml-platform", "ml-platform"), ("a b@c/d", "a-b-c-d"), ("x" * 70, "x" * 63), ("team (eu)", "team--eu")],
)
def test_label_has_only_what_kubernetes_takes(value: str, expected: str) -> None:
    assert label_value(value) == expected


def test_every_kind_that_a_template_starts_is_looked_at() -> None:
    deny(nodes_tagged, template("network-interface"), times=2, path="tagSpecifications", **FACTS)
    second = template("instance", "volume")
    stated = [dict(one) for one in second.inputs["tagSpecifications"]]
    stated[1]["tags"] = {}
    changed = resource(second.type, "system", tagSpecifications=stated)
    deny(nodes_tagged, changed, path="tagSpecifications[1].tags", **FACTS)


def test_only_marks_become_labels() -> None:
    assert labels({"owner": "ML platform", "team": "x"}) == {"mlops/owner": "ML-platform"}


def test_table_of_types_is_read_from_its_first_row_on() -> None:
    rows = [line.split(",") for line in FILE.read_text("utf-8").splitlines()[1:]]
    assert taggable() == {token: reached == "yes" for token, reached in rows}
    assert all(token.startswith("aws:") for token in taggable())
