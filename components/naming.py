"""Names of cloud resources: the same for everybody who looks for one, and within the limits of each service.

A name is `<client>-<environment>-<purpose>`. Where a service allows fewer characters than that takes, the tail gives
way to a hash of the whole, so that two long names never become one. Names that are unique in the world (buckets) carry
account and region as well, which therefore are the last thing to go.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

LIMITS = {
    "bucket": 63,
    "role": 64,
    "policy": 128,
    "cluster": 100,
    "node-group": 63,
    "database": 63,
    "table": 255,
    "queue": 80,
    "topic": 256,
    "alias": 250,
    "trail": 128,
    "budget": 100,
    "repository": 256,
    "schedule": 64,
    "rule": 64,
    "alarm": 255,
    "sagemaker": 63,
    "pipeline": 256,
    "secret": 512,
    "log-group": 512,
    "parameter-group": 255,
    "namespace": 63,
}
"""Characters that a name of each kind may have, from the API references of the services (S3 bucket naming rules, IAM
quotas, EKS, RDS, DynamoDB, SQS, SNS, KMS, CloudTrail, Budgets, ECR, EventBridge, CloudWatch, SageMaker, Secrets
Manager) and of Kubernetes (RFC 1123 labels)."""

_HASH = 6


def fitted(text: str, limit: int) -> str:
    """A name of at most `limit` characters: itself, or its beginning and a hash of all of it.

    Raises:
        ValueError: the limit leaves no room for a beginning and a hash.
    """
    if limit < _HASH + 3:
        raise ValueError(f"a name of {limit} characters cannot be told from others")
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
    return f"{text[: limit - _HASH - 1].rstrip('-')}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of one environment.

    Attributes:
        client: whose environment it is; lower case letters, digits and hyphens.
        environment: its name; likewise.
        account: AWS account, 12 digits.
        region: AWS region.
    """

    client: str
    environment: str
    account: str
    region: str

    @property
    def prefix(self) -> str:
        """What every name begins with."""
        return f"{self.client}-{self.environment}"

    def of(self, kind: str, purpose: str) -> str:
        """Name of a resource.

        Args:
            kind: kind of name, a key of `LIMITS`.
            purpose: what it is for; lower case letters, digits and hyphens.

        Raises:
            KeyError: the kind is not known.
        """
        return fitted(f"{self.prefix}-{purpose}", LIMITS[kind])

    def bucket(self, purpose: str) -> str:
        """Name of a bucket, unique in the world through account and region."""
        tail = f"-{self.account}-{self.region}"
        return fitted(f"{self.prefix}-{purpose}", LIMITS["bucket"] - len(tail)) + tail

    def path(self, kind: str, purpose: str) -> str:
        """Name with slashes, for services that group by them (repositories, secrets, log groups, aliases)."""
        return fitted(f"{self.client}/{self.environment}/{purpose}", LIMITS[kind])
