"""Nodes and images."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.nodes import image_tags_immutable, images_scanned, instance_metadata_guarded
from policies.testing import admit, deny, resource, undetermined, unknown

KINDS = [
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/instance:Instance",
    "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
]
GOOD = {"httpTokens": "required", "httpPutResponseHopLimit": 1}


def node(kind: str, **options: Any) -> Resource:
    inputs = {"metadataOptions": options}
    return resource(kind, "system", {"spec": inputs} if kind.startswith("kubernetes") else inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_asks_for_a_session_and_stays_on_the_node(kind: str) -> None:
    admit(instance_metadata_guarded, node(kind, **GOOD))
    admit(instance_metadata_guarded, node(kind, httpEndpoint="disabled"))
    for tokens in ("optional", None):
        said = tokens or "not stated"
        deny(instance_metadata_guarded, node(kind, **{**GOOD, "httpTokens": tokens}), says=f"httpTokens is {said}")
    for hops in (2, 0, None):
        said = "not stated" if hops is None else str(hops)
        wrong = node(kind, **{**GOOD, "httpPutResponseHopLimit": hops})
        deny(instance_metadata_guarded, wrong, says=f"httpPutResponseHopLimit is {said}")
    undetermined(instance_metadata_guarded, node(kind, **{**GOOD, "httpTokens": unknown()}))
    undetermined(instance_metadata_guarded, node(kind, **{**GOOD, "httpPutResponseHopLimit": unknown()}))


def repository(**inputs: Any) -> Resource:
    return resource("aws:ecr/repository:Repository", "serving", inputs)


def test_tags_of_images_do_not_move() -> None:
    admit(image_tags_immutable, repository(imageTagMutability="IMMUTABLE"))
    for found in (None, "MUTABLE", "IMMUTABLE_WITH_EXCLUSION"):
        deny(image_tags_immutable, repository(imageTagMutability=found), path="imageTagMutability")
    undetermined(image_tags_immutable, repository(imageTagMutability=unknown()))


def test_images_are_scanned() -> None:
    admit(images_scanned, repository(imageScanningConfiguration={"scanOnPush": True}))
    deny(images_scanned, repository(), path="imageScanningConfiguration.scanOnPush")
    deny(images_scanned, repository(imageScanningConfiguration={"scanOnPush": False}))
    undetermined(images_scanned, repository(imageScanningConfiguration={"scanOnPush": unknown()}))
