"""Roles of an environment on AWS, made of the identity matrix: one for each workload, with its rights and no others.

Pods get their role from EKS Pod Identity: no key is kept anywhere, and a role is given to one service account of one
cluster. An association must be there before the pod starts, since credentials are injected when it is admitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi import Output
from pulumi_aws import eks, iam

from components.cloud import Cloud, policy, trust
from components.cluster.pod_identity import pod_trust
from components.component import Component
from components.identity.matrix import MATRIX, Identity, statements


@dataclass(frozen=True, kw_only=True)
class AwsIdentitiesArgs:
    """What the roles are made with.

    Attributes:
        cloud: the environment.
        cluster: name of the Kubernetes cluster.
        cluster_made: the same, known once the cluster is there; associations wait for it.
    """

    cloud: Cloud
    cluster: str
    cluster_made: pulumi.Input[str]


class AwsIdentities(Component):
    """The roles of the matrix."""

    roles: Output[dict[str, str]]
    """ARN of each role by its workload."""

    def __init__(self, name: str, args: AwsIdentitiesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:identity:AwsIdentities", name, opts)
        self._args = args
        self._made: dict[str, list[pulumi.Resource]] = {}
        self._roles = {one.name: self._role(one) for one in MATRIX}
        self.register(roles={workload: role.arn for workload, role in self._roles.items()})

    def arn(self, workload: str) -> Output[str]:
        """ARN of the role of a workload, known once its rights are there."""
        arn: Output[str] = self._roles[workload].arn
        return arn

    def ready(self, workload: str) -> list[pulumi.Resource]:
        """What must be there before a workload starts: its rights, and its association with the role."""
        return list(self._made[workload])

    def _role(self, one: Identity) -> iam.Role:
        cloud = self._args.cloud
        role = iam.Role(
            one.name,
            name=cloud.names.of("role", one.name),
            description=one.why,
            assume_role_policy=trust_of(one, cloud, self._args.cluster),
            opts=self.child(),
        )
        rights = iam.RolePolicy(
            one.name,
            role=role.name,
            policy=policy(*statements(one, cloud)),
            opts=self.child(),
        )
        self._made[one.name] = [rights]
        if one.namespace is not None:
            self._made[one.name].append(
                eks.PodIdentityAssociation(
                    one.name,
                    cluster_name=self._args.cluster_made,
                    namespace=one.namespace,
                    service_account=one.service_account,
                    role_arn=role.arn,
                    opts=self.child(depends_on=[rights]),
                )
            )
        return role


def trust_of(one: Identity, cloud: Cloud, cluster: str) -> str:
    """Who may take a role: the pods of its service account in this cluster, or its AWS service in this account."""
    if one.namespace is not None and one.service_account is not None:
        return pod_trust(cloud, cluster, one.namespace, one.service_account)
    assert one.service is not None
    return trust(cloud.service(one.service), Condition={"StringEquals": {"aws:SourceAccount": cloud.account}})
