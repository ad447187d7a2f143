"""Disks of nodes: what they are, and what whoever makes them may do with their key. Pure."""

from __future__ import annotations

from components.cloud import Cloud, Statement, allow

DISKS = {"/dev/xvda": 4, "/dev/xvdb": 80}
"""Disks of a Bottlerocket node, GiB: its system, and what pods and images take."""


def disk_key_use(cloud: Cloud, key: str) -> list[Statement]:
    """Statements for whoever starts instances or makes volumes with encrypted disks: their key, only through EC2.

    Args:
        cloud: the environment.
        key: ARN of the key.
    """
    via = {"StringEquals": {"kms:ViaService": f"ec2.{cloud.region}.amazonaws.com"}}
    uses = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    grants = {**via, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    return [allow(uses, key, Condition=via), allow(["kms:CreateGrant"], key, Condition=grants)]
