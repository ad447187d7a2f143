"""Regions: only those that are allowed for the class of the data."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.governance.regions import region_allowed
from policies.testing import admit, deny, resource, undetermined, unknown


def facts(kind: str = "confidential", **regions: list[str]) -> dict[str, Any]:
    allowed = regions or {"confidential": ["eu-central-1", "eu-west-1"], "public": ["*"]}
    return {"settings": {"aws.governance.dataClass": kind, "gates.regions": allowed}}


def provider(region: Any) -> Resource:
    return resource("pulumi:providers:aws", "aws", region=region, provider="")


@pytest.mark.parametrize("kind", ["confidential", "public"])
def test_region_that_is_allowed_is_admitted(kind: str) -> None:
    admit(region_allowed, provider("eu-west-1"), resource("aws:sqs/queue:Queue", "q"), **facts(kind))


def test_region_that_is_not_allowed_is_denied() -> None:
    says = "us-east-1 is not allowed for confidential data; allowed are eu-central-1, eu-west-1"
    deny(region_allowed, provider("us-east-1"), says=says, path="region", setting="aws.region", **facts())


def test_resource_with_a_region_of_its_own_is_asked_as_well() -> None:
    queue = resource("aws:sqs/queue:Queue", "q", region="us-east-1")
    deny(region_allowed, provider("eu-west-1"), queue, at=queue, **facts())


def test_class_that_is_not_named_may_be_nowhere() -> None:
    deny(region_allowed, provider("eu-west-1"), says="does not name the class", **facts("restricted"))


def test_provider_without_a_region_is_denied() -> None:
    deny(region_allowed, provider(None), says="states no region", **facts())


def test_region_that_is_not_known_leaves_it_open() -> None:
    undetermined(region_allowed, provider(unknown()), path="region", **facts())
