"""The whole program under the longest names that settings take: every text is within the limits of AWS and Kubernetes.

`tests/components/test_naming.py` holds the same of the names alone, for any client, environment and region.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.platform import Platform
from components.testing import Recording, record
from infra.arguments import platform_args
from infra.rehearsal.aws.convert import key
from infra.rehearsal.aws.replacement import schema
from infra.rehearsal.aws.resources import KINDS
from infra.settings.sources import load_stack_file
from tests.components.aws.conftest import answer

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[3]
LONGEST = {"client": "c" * 31, "environment": "e-" * 15 + "e"}
REGION = "ap-southeast-5"
ZONES = "aws:index/getAvailabilityZones:getAvailabilityZones"
CLUSTER = {"certificateAuthority": {"data": "Y2E="}, "endpoint": "https://cluster.example"}


def answers(token: str, name: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    found = dict(answer(token, name, inputs))
    if token == "aws:eks/cluster:Cluster":
        found |= {**CLUSTER, "vpcConfig": {**inputs["vpcConfig"], "clusterSecurityGroupId": "sg-1"}}
    return found


@pytest.fixture(scope="module")
def program() -> Recording:
    stated = load_stack_file(PROJECT / "stacks" / "Pulumi.prod.yaml")
    assert stated.aws is not None
    settings = stated.model_copy(update={**LONGEST, "aws": stated.aws.model_copy(update={"region": REGION})})
    args = platform_args(settings, project=PROJECT, stack="prod", python=sys.executable, prometheus="", commit="a" * 40)
    zones = {"names": [f"{REGION}{zone}" for zone in "abc"], "zoneIds": [], "id": REGION}
    return record(lambda: Platform("platform", args), answers, functions={ZONES: zones})


def beyond(value: Any, allowed: Mapping[str, Any], root: Mapping[str, Any], where: str) -> Iterator[str]:
    """Texts that CloudFormation's schema of a type would not take."""
    while "$ref" in allowed:
        found: Any = root
        for step in allowed["$ref"].split("/")[1:]:
            found = found[step]
        allowed = found
    match value:
        case dict():
            known = {key(name): one for name, one in (allowed.get("properties") or {}).items()}
            for name, one in value.items():
                yield from beyond(one, known.get(key(name), {}), root, f"{where}.{name}")
        case list():
            for one in value:
                yield from beyond(one, allowed.get("items") or {}, root, where)
        case str() if not value.startswith("arn:"):  # those that the test answers with are none of AWS
            if len(value) > allowed.get("maxLength", len(value)):
                yield f"{where}: {value!r} has more than {allowed['maxLength']} characters"
            if "pattern" in allowed and not re.search(allowed["pattern"], value):
                yield f"{where}: {value!r} does not match {allowed['pattern']}"


def test_no_text_is_beyond_what_cloudformation_knows_of_its_type(program: Recording) -> None:
    judged = [(one, KINDS[one.type].cloudformation) for one in program if one.type in KINDS]
    found = [
        said
        for one, kind in judged
        if kind
        for said in beyond(one.inputs, schema(kind), schema(kind), f"{one.type} {one.name}")
    ]

    assert found == []
    names = [value for one, _ in judged for value in one.inputs.values() if isinstance(value, str)]
    assert sum(name.startswith(LONGEST["client"][:20]) for name in names) > 50, (
        "it is the longest names that are judged"
    )


def test_every_object_has_a_name_that_kubernetes_takes(program: Recording) -> None:
    for one in program:
        if not one.type.startswith("kubernetes:"):
            continue
        metadata = one.inputs.get("metadata") or {}
        name = str(metadata.get("name") or one.inputs.get("name"))
        limit = 53 if one.type.endswith(":Release") else 63  # Helm adds to the names of its releases
        assert len(name) <= limit, name
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.:-]*[a-z0-9])?", name), name
        assert all(len(str(value)) <= 63 for value in (metadata.get("labels") or {}).values()), name
