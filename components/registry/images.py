"""Repositories of the platform's images on AWS (ECR): what was pushed under a tag stays what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi import Output
from pulumi_aws import ecr

from components.cloud import Cloud, policy
from components.component import Component

Image = Literal["serving", "training", "runner"]
IMAGES: tuple[Image, ...] = ("serving", "training", "runner")
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
UNTAGGED_DAYS = 7
"""Images that lost their tag, or were never given one, are deleted after this long."""


@dataclass(frozen=True, kw_only=True)
class ImagesArgs:
    """What the repositories are made with.

    Attributes:
        cloud: the environment.
        key: ARN of the key that encrypts the images.
        kept: how many images are kept in each, the newest.
        pullers: purposes of the roles that may pull.
    """

    cloud: Cloud
    key: pulumi.Input[str]
    kept: int
    pullers: Sequence[str]


class Images(Component):
    """The repositories."""

    urls: Output[dict[str, str]]
    """Address of each repository, without a tag or digest."""

    def __init__(self, name: str, args: ImagesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:registry:Images", name, opts)
        urls = {}
        for image in IMAGES:
            repository = ecr.Repository(
                image,
                name=args.cloud.names.path("repository", image),
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration={"scan_on_push": True},
                encryption_configurations=[{"encryption_type": "KMS", "kms_key": args.key}],
                force_delete=not args.cloud.protected,
                opts=pulumi.ResourceOptions.merge(self.child(), pulumi.ResourceOptions(protect=args.cloud.protected)),
            )
            ecr.LifecyclePolicy(image, repository=repository.name, policy=lifecycle(args.kept), opts=self.child())
            ecr.RepositoryPolicy(
                image, repository=repository.name, policy=pull_policy(args.cloud, args.pullers), opts=self.child()
            )
            urls[image] = repository.repository_url
        self.register(urls=urls)


def reference(cloud: Cloud, image: Image, digest: str) -> str:
    """Where an image of a digest is pulled from."""
    suffix = "amazonaws.com.cn" if cloud.partition == "aws-cn" else "amazonaws.com"
    host = f"{cloud.account}.dkr.ecr.{cloud.region}.{suffix}"
    return f"{host}/{cloud.names.path('repository', image)}@{digest}"


def lifecycle(kept: int) -> str:
    """What is deleted: images without a tag soon, and all but the newest."""
    untagged = {
        "rulePriority": 1,
        "description": "without a tag",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": UNTAGGED_DAYS,
        },
        "action": {"type": "expire"},
    }
    old = {
        "rulePriority": 2,
        "description": "all but the newest",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": kept},
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [untagged, old]})


def pull_policy(cloud: Cloud, pullers: Sequence[str]) -> str:
    """Who may pull: the roles of the environment, and nobody else whatever the account's own policies allow them."""
    roles = [cloud.arn("iam", f"role/{cloud.names.of('role', one)}", region=False) for one in pullers]
    # Statements of a repository have no resource: they speak of their repository.
    return policy(
        {
            "Sid": "Pull",
            "Effect": "Allow",
            "Principal": cloud.root(),
            "Action": list(_PULL),
            "Condition": {"ArnEquals": {"aws:PrincipalArn": roles}},
        },
        {
            "Sid": "NobodyElse",
            "Effect": "Deny",
            "Principal": "*",
            "Action": list(_PULL),
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": roles}},
        },
    )
