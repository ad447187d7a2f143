"""Roles of pods (EKS Pod Identity): one service account of one cluster gets one role, without any key."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_aws import iam

from components.cloud import Cloud, Statement, policy, trust


def pod_trust(cloud: Cloud, cluster: str, namespace: str, account: str) -> str:
    """Trust policy of the role of one service account.

    The conditions are on the session tags that EKS sets when it hands out the role (Amazon EKS user guide, "IAM roles
    for EKS Pod Identity"), so that an association made by mistake for another account of the cluster gets nothing.

    Args:
        cloud: the environment.
        cluster: name of the cluster.
        namespace: namespace of the service account.
        account: the service account.
    """
    tags = {
        "aws:RequestTag/eks-cluster-arn": cloud.arn("eks", f"cluster/{cluster}"),
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": account,
    }
    return trust(
        cloud.service("pods.eks"), actions=("sts:AssumeRole", "sts:TagSession"), Condition={"StringEquals": tags}
    )


def pod_role(
    name: str,
    cloud: Cloud,
    cluster: str,
    account: tuple[str, str],
    statements: pulumi.Input[Sequence[Statement]],
    opts: pulumi.ResourceOptions,
) -> tuple[iam.Role, iam.RolePolicy]:
    """Role of one service account, and its rights. Whatever uses it waits for both,
    so that on the way down it is gone before its rights are.

    Args:
        name: what it is for.
        cloud: the environment.
        cluster: name of the cluster.
        account: namespace and name of the service account.
        statements: what it may do.
        opts: options of role and policy.
    """
    role = iam.Role(
        name,
        name=cloud.names.of("role", name),
        assume_role_policy=pod_trust(cloud, cluster, *account),
        opts=opts,
    )
    document = pulumi.Output.from_input(statements).apply(lambda found: policy(*found))
    return role, iam.RolePolicy(name, role=role.name, policy=document, opts=opts)
