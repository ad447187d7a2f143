"""From the settings of a stack to where it lives on AWS; imports nothing of AWS, so that every command may ask."""

from __future__ import annotations

from pathlib import Path

from components.cloud import Cloud
from components.naming import Names
from infra.settings import Settings
from infra.settings.aws import Aws, partition


def cloud_of(settings: Settings, aws: Aws, *, project: Path, stack: str) -> Cloud:
    """Where a stack on AWS lives; arguments as of `infra.arguments_aws.aws_target`."""
    governance = aws.governance
    return Cloud(
        stack=stack,
        names=Names(
            client=settings.client, environment=settings.environment, account=aws.account_id, region=aws.region
        ),
        partition=partition(aws.region),
        tags={
            "client": settings.client,
            "cost-center": governance.cost_center,
            "data-class": governance.data_class,
            "environment": settings.environment,
            "managed-by": "pulumi",
            "owner": governance.owner,
            "project": "mlops",
        },
        protected=aws.protected,
        project=str(project),
    )
