"""The Kubernetes cluster on AWS (EKS), from its control plane to the operators that workloads need.

It is made in this order, which the resources state, so that an `up` that failed half-way continues where it stopped:

    log group, role → control plane → access → add-ons of nodes → system nodes → other add-ons
      → namespaces, storage class → Karpenter's definitions → Karpenter → node class → pools
      → operators (which run on system nodes)

Nodes have the cluster's own security group, which admits nobody but its members.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes
from pulumi_aws import cloudwatch, ec2, eks, iam

from components.cloud import Cloud, allow_key, policy, trust
from components.cluster import KubernetesCluster, addons
from components.cluster.disks import DISKS, disk_key_use
from components.cluster.karpenter import Karpenter, KarpenterArgs
from components.cluster.kubernetes import Foundations, FoundationsArgs, kubeconfig
from components.cluster.placement import POOL_LABEL, SYSTEM_POOL, SYSTEM_TAINT, NodePoolArgs
from components.cluster.pod_identity import pod_trust
from components.cluster.quotas import Quota
from components.cluster.service_access import RELEASES
from policies.scheduling.nodes import PODS

LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
"""AWS' own policies that a node needs; whatever pods may do comes by their own roles."""


@dataclass(frozen=True, kw_only=True)
class SystemNodesArgs:
    """The nodes for what the cluster itself runs: instance types, fewest and most nodes."""

    instance_types: Sequence[str]
    min: int
    max: int


@dataclass(frozen=True, kw_only=True)
class AwsClusterArgs:
    """What the cluster is made with.

    Attributes:
        cloud: the environment.
        name: its name.
        version: version of Kubernetes.
        public_cidrs: from where its API server may be reached over the internet; without any it is private.
        admin_roles: ARNs of roles that administer it, besides who created it.
        release_roles: ARNs of roles that may talk to the rollout controller through its API server.
        log_days: control-plane logs are kept this long.
        system: its system nodes.
        pools: the pools that Karpenter fills.
        quotas: what the pods of each namespace may ask for together.
        network_cidr: the network's block.
        isolated: whether the network has no way out to the internet.
        control_subnet_ids: subnets of the API server's interfaces.
        node_subnet_ids: subnets of the nodes.
        logs_key: ARN of the key that encrypts logs.
        secrets_key: ARN of the key that encrypts Kubernetes' secrets.
        disks_key: ARN of the key that encrypts disks.
        queue_key: ARN of the key that encrypts queues.
    """

    cloud: Cloud
    name: str
    version: str
    public_cidrs: Sequence[str]
    admin_roles: Sequence[str]
    release_roles: Sequence[str]
    log_days: int
    system: SystemNodesArgs
    pools: Sequence[NodePoolArgs]
    quotas: Mapping[str, Quota]
    network_cidr: str
    isolated: bool
    control_subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    node_subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    logs_key: pulumi.Input[str]
    secrets_key: pulumi.Input[str]
    disks_key: pulumi.Input[str]
    queue_key: pulumi.Input[str]


class AwsCluster(KubernetesCluster):
    """An EKS cluster. `kubernetes` is the provider for what others put onto it, `namespaces` what they wait for."""

    kubernetes: pulumi_kubernetes.Provider
    authority: pulumi.Output[str]
    """Certificate authority of its API server, in PEM form and base64."""
    namespaces: Sequence[pulumi.Resource]
    """Namespaces with their quotas and network policies, and the operators whose resources others declare."""

    def __init__(self, name: str, args: AwsClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:AwsCluster", name, opts)
        self._args = args
        cluster = self._control_plane()
        security_group = cluster.vpc_config.apply(lambda config: config.cluster_security_group_id)
        access = self._access(cluster)
        roles = self._addon_roles()
        rights = [right for _, found in roles.values() for right in found]
        pinned = addons.AddonsArgs(
            cloud=args.cloud,
            cluster=cluster.name,
            version=args.version,
            roles={addon: role.arn for addon, (role, _) in roles.items()},
        )
        before = addons.install(pinned, addons.BEFORE_NODES, self.child(depends_on=[cluster, *rights]))
        nodes = self._system_nodes(cluster, before)
        after = addons.install(pinned, addons.AFTER_NODES, self.child(depends_on=[nodes]))
        self.kubernetes = pulumi_kubernetes.Provider(
            "kubernetes",
            kubeconfig=kubeconfig(args.cloud, cluster),
            enable_server_side_apply=True,
            opts=self.child(depends_on=[*access, *after]),
        )
        inside = pulumi.ResourceOptions.merge(
            self.child(depends_on=[*access, *after]), pulumi.ResourceOptions(providers={"kubernetes": self.kubernetes})
        )
        foundations = Foundations(
            "foundations",
            FoundationsArgs(
                cloud=args.cloud, network_cidr=args.network_cidr, disks_key=args.disks_key, quotas=args.quotas
            ),
            inside,
        )
        karpenter = Karpenter(
            "karpenter",
            KarpenterArgs(
                cloud=args.cloud,
                cluster=args.name,
                pools=args.pools,
                # A second one waits for ever where there is no second node.
                replicas=min(2, args.system.min),
                isolated=args.isolated,
                security_group_id=security_group,
                disks_key=args.disks_key,
                queue_key=args.queue_key,
            ),
            inside,
        )
        self.namespaces = [*foundations.ready, karpenter]
        self.register(
            cluster_name=cluster.name,
            endpoint=cluster.endpoint,
            node_security_group_id=security_group,
            authority=cluster.certificate_authority.apply(lambda made: made.data),
        )

    def _control_plane(self) -> eks.Cluster:
        args, cloud = self._args, self._args.cloud
        logs = cloudwatch.LogGroup(
            "control-plane",
            # EKS writes to this name and no other, and would make the group itself: unencrypted and for ever.
            name=f"/aws/eks/{args.name}/cluster",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key,
            opts=self.child(),
        )
        role = iam.Role(
            "control-plane",
            name=cloud.names.of("role", "control-plane"),
            assume_role_policy=trust(
                cloud.service("eks"), Condition={"StringEquals": {"aws:SourceAccount": cloud.account}}
            ),
            opts=self.child(),
        )
        managed = self._managed("control-plane", role, ("AmazonEKSClusterPolicy",))
        uses = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:ListGrants"]
        secrets = iam.RolePolicy(
            "control-plane",
            role=role.name,
            policy=policy(allow_key(cloud, "secrets", uses)),
            opts=self.child(),
        )
        return eks.Cluster(
            "cluster",
            name=args.name,
            version=args.version,
            role_arn=role.arn,
            enabled_cluster_log_types=list(LOGS),
            access_config={"authentication_mode": "API", "bootstrap_cluster_creator_admin_permissions": True},
            bootstrap_self_managed_addons=False,
            deletion_protection=cloud.protected,
            encryption_config={"provider": {"key_arn": args.secrets_key}, "resources": ["secrets"]},
            upgrade_policy={"support_type": "STANDARD"},
            vpc_config={
                "subnet_ids": args.control_subnet_ids,
                "endpoint_private_access": True,
                "endpoint_public_access": bool(args.public_cidrs),
                **({"public_access_cidrs": list(args.public_cidrs)} if args.public_cidrs else {}),
            },
            tags={"Name": args.name},
            opts=pulumi.ResourceOptions.merge(
                self.child(depends_on=[logs, secrets, *managed]), pulumi.ResourceOptions(protect=cloud.protected)
            ),
        )

    def _access(self, cluster: eks.Cluster) -> list[pulumi.Resource]:
        """Who may talk to the cluster: people's and pipelines' roles, by the API of EKS instead of a ConfigMap."""
        cloud, made = self._args.cloud, []
        for number, role in enumerate(self._args.admin_roles):
            entry = eks.AccessEntry(
                f"admin-{number}", cluster_name=cluster.name, principal_arn=role, type="STANDARD", opts=self.child()
            )
            made.append(
                eks.AccessPolicyAssociation(
                    f"admin-{number}",
                    cluster_name=cluster.name,
                    principal_arn=role,
                    policy_arn=f"arn:{cloud.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
                    access_scope={"type": "cluster"},
                    opts=self.child(depends_on=[entry]),
                )
            )
        releasers = [
            eks.AccessEntry(
                f"releases-{number}",
                cluster_name=cluster.name,
                principal_arn=role,
                type="STANDARD",
                # What the group may do, the component of inference says.
                kubernetes_groups=[RELEASES],
                opts=self.child(),
            )
            for number, role in enumerate(self._args.release_roles)
        ]
        return [*made, *releasers]

    def _managed(self, name: str, role: iam.Role, policies: Sequence[str]) -> list[pulumi.Resource]:
        return [
            iam.RolePolicyAttachment(
                f"{name}-{one}",
                role=role.name,
                policy_arn=f"arn:{self._args.cloud.partition}:iam::aws:policy/{one}",
                opts=self.child(),
            )
            for one in policies
        ]

    def _addon_roles(self) -> dict[str, tuple[iam.Role, list[pulumi.Resource]]]:
        """Role and rights of the add-ons that call AWS; by AWS' own policies, which follow the add-ons' versions."""
        cloud = self._args.cloud
        policies = {"vpc-cni": "AmazonEKS_CNI_Policy", "aws-ebs-csi-driver": "service-role/AmazonEBSCSIDriverPolicy"}
        found: dict[str, tuple[iam.Role, list[pulumi.Resource]]] = {}
        for addon, managed in policies.items():
            role = iam.Role(
                addon,
                name=cloud.names.of("role", addon),
                assume_role_policy=pod_trust(cloud, self._args.name, "kube-system", addons.SERVICE_ACCOUNTS[addon]),
                opts=self.child(),
            )
            attached = iam.RolePolicyAttachment(
                addon,
                role=role.name,
                policy_arn=f"arn:{cloud.partition}:iam::aws:policy/{managed}",
                opts=self.child(),
            )
            found[addon] = (role, [attached])
        role, rights = found["aws-ebs-csi-driver"]
        uses_key = iam.RolePolicy(
            "aws-ebs-csi-driver",
            role=role.name,
            policy=policy(*disk_key_use(cloud)),
            opts=self.child(),
        )
        rights.append(uses_key)
        return found

    def _system_nodes(self, cluster: eks.Cluster, before: Sequence[pulumi.Resource]) -> eks.NodeGroup:
        args, cloud = self._args, self._args.cloud
        role = iam.Role(
            "nodes",
            name=cloud.names.of("role", "nodes"),
            assume_role_policy=trust(cloud.service("ec2")),
            opts=self.child(),
        )
        managed = self._managed("nodes", role, NODE_POLICIES)
        template = ec2.LaunchTemplate(
            "system",
            name=f"{args.name}-system",
            update_default_version=True,
            # One hop: a pod never reaches the node's own credentials.
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            block_device_mappings=[
                {
                    "device_name": device,
                    "ebs": {
                        "volume_size": size,
                        "volume_type": "gp3",
                        "encrypted": "true",
                        "kms_key_id": args.disks_key,
                        "delete_on_termination": "true",
                    },
                }
                for device, size in DISKS.items()
            ],
            tag_specifications=[
                {"resource_type": kind, "tags": {**cloud.tags, "Name": f"{args.name}-system"}}
                for kind in ("instance", "volume", "network-interface")
            ],
            user_data=base64.b64encode(f"[settings.kubernetes]\nmax-pods = {PODS}\n".encode()).decode(),
            opts=self.child(),
        )
        return eks.NodeGroup(
            "system",
            cluster_name=cluster.name,
            node_group_name=cloud.names.of("node-group", "system"),
            node_role_arn=role.arn,
            subnet_ids=args.node_subnet_ids,
            ami_type="BOTTLEROCKET_x86_64",
            capacity_type="ON_DEMAND",
            instance_types=list(args.system.instance_types),
            labels={POOL_LABEL: SYSTEM_POOL},
            taints=[{"key": SYSTEM_TAINT, "value": "true", "effect": "NO_SCHEDULE"}],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config={
                "min_size": args.system.min,
                "desired_size": args.system.min,
                "max_size": args.system.max,
            },
            update_config={"max_unavailable": 1},
            tags={"Name": f"{args.name}-system"},
            opts=self.child(depends_on=[*managed, *before]),
        )
