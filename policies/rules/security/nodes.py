"""Nodes and images: a pod cannot take its node's identity, and an image is what was scanned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.plan import Resource
from policies.pods import text_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

_METADATA: Mapping[str, tuple[str, ...]] = {
    "aws:ec2/launchTemplate:LaunchTemplate": ("metadataOptions",),
    "aws:ec2/instance:Instance": ("metadataOptions",),
    "aws:ec2/launchConfiguration:LaunchConfiguration": ("metadataOptions",),
    "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass": ("spec", "metadataOptions"),
}
REPOSITORY = "aws:ecr/repository:Repository"


@resource_rule(
    id="security.instance-metadata-guarded",
    title="The metadata of instances asks for a session and does not reach pods",
    severity="high",
    why="A forged request out of a pod would otherwise get the node's credentials, which pull every image.",
    fix="state httpTokens: required and httpPutResponseHopLimit: 1",
    references=("CIS AWS Foundations 3.0 5.6", "AWS FSBP EC2.8", "AWS FSBP EC2.170"),
    types=tuple(_METADATA),
    levels=EVERYWHERE_ON_AWS,
)
def instance_metadata_guarded(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at tokens and hops; without metadata there is nothing to guard."""
    path = _METADATA[resource.type]
    if resource.value(*path, "httpEndpoint") == "disabled":
        return
    tokens = resource.value(*path, "httpTokens")
    if tokens != "required":
        yield Problem(f"httpTokens is {tokens or 'not stated'}; allowed: required", path=text_of((*path, "httpTokens")))
    hops = resource.value(*path, "httpPutResponseHopLimit")
    if hops != 1:
        said = "not stated" if hops is None else hops
        yield Problem(
            f"httpPutResponseHopLimit is {said}; allowed: 1", path=text_of((*path, "httpPutResponseHopLimit"))
        )


@resource_rule(
    id="security.image-tags-immutable",
    title="A tag of an image means the same for ever",
    severity="medium",
    why="Who can move a tag can change what runs without a release.",
    fix="set imageTagMutability to IMMUTABLE",
    references=("AWS FSBP ECR.2",),
    types=(REPOSITORY,),
    levels=EVERYWHERE_ON_AWS,
)
def image_tags_immutable(repository: Resource, world: World) -> Iterator[Answer]:
    """Look at the switch; AWS lets tags move where nothing is stated."""
    if (found := repository.value("imageTagMutability", default="MUTABLE")) != "IMMUTABLE":
        yield Problem(f"imageTagMutability is {found}; allowed: IMMUTABLE", path="imageTagMutability")


@resource_rule(
    id="security.images-scanned",
    title="Images are scanned when they are pushed",
    severity="medium",
    why="A known fault in an image is found by others as easily.",
    fix="set imageScanningConfiguration.scanOnPush to true",
    references=("AWS FSBP ECR.1",),
    types=(REPOSITORY,),
    levels=EVERYWHERE_ON_AWS,
)
def images_scanned(repository: Resource, world: World) -> Iterator[Answer]:
    """Look at the switch."""
    path = ("imageScanningConfiguration", "scanOnPush")
    if repository.value(*path, default=False) is not True:
        yield Problem("scanOnPush is off", path=".".join(path))
