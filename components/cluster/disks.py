"""Disks of nodes: what they are, and what whoever makes them may do with their key. Pure."""

from __future__ import annotations

from components.cloud import Cloud, Statement, allow_key

DISKS = {"/dev/xvda": 4, "/dev/xvdb": 80}
"""Disks of a Bottlerocket node, GiB: its system, and what pods and images take."""

DISKS_KEY = "cluster"
"""Purpose of the key that encrypts them."""


def disk_key_use(cloud: Cloud) -> list[Statement]:
    """Statements for whoever starts instances or makes volumes with encrypted disks: their key, only through EC2.

    Args:
        cloud: the environment.
    """
    via = {"StringEquals": {"kms:ViaService": f"ec2.{cloud.region}.amazonaws.com"}}
    uses = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    grants = {**via, "Bool": {"kms:GrantIsForAWSResource": "true"}}
    return [
        allow_key(cloud, DISKS_KEY, uses, condition=via),
        allow_key(cloud, DISKS_KEY, ["kms:CreateGrant"], condition=grants),
    ]
