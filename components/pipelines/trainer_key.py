"""The key that training on AWS signs with: a secret that people fill, and that the trainers' roles alone may read.

Its value is in no state: the program makes the place, with its encryption and its rights, and a person puts the key
there (docs/how-to/deploy-to-aws.md). Whether it counts, the allowed signers of controller and replicas say.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi import Output
from pulumi_aws import secretsmanager

from components.cloud import Cloud
from components.component import Component
from components.secrets import RECOVERY_DAYS

PURPOSE = "signing-key"
"""What its name is made of; the identity matrix grants it by this."""


@dataclass(frozen=True, kw_only=True)
class TrainerKeyArgs:
    """What it is made with: the environment, and the ARN of the key that encrypts secrets."""

    cloud: Cloud
    key: pulumi.Input[str]


class TrainerKey(Component):
    """The place of the trainer's private key."""

    arn: Output[str]
    """ARN of the secret."""

    def __init__(self, name: str, args: TrainerKeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:pipelines:TrainerKey", name, opts)
        kept = secretsmanager.Secret(
            name,
            name=args.cloud.names.path("secret", PURPOSE),
            description="Private SSH key that training signs models with; put there by people",
            kms_key_id=args.key,
            recovery_window_in_days=RECOVERY_DAYS if args.cloud.protected else 0,
            opts=self.child(),
        )
        self.register(arn=kept.arn)


def signing_environment(cloud: Cloud, environment: str, trust_root: str) -> dict[str, str]:
    """Variables by which jobs of training sign, see `training.signing`; no secret is among them.

    Args:
        cloud: the environment.
        environment: its name, in which the trainer signs as `trainer@<environment>`.
        trust_root: trust root that should hold the public half of the key.
    """
    return {
        "MLOPS_SIGNING_KEY": f"secretsmanager:{cloud.names.path('secret', PURPOSE)}",
        "MLOPS_SIGNER": f"trainer@{environment}",
        "MLOPS_TRUST_ROOT": trust_root,
    }
