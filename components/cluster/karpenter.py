"""Karpenter: starts a node when a pod needs one, and gives it back when none does.

Interruptions (Spot, maintenance, health) reach it through a queue before they happen, so that pods move in time. Pools
come from the settings; they all share one class of nodes: Bottlerocket, encrypted disks, credentials out of the reach
of pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Output
from pulumi_aws import cloudwatch, eks, iam, servicequotas, sqs
from pulumi_kubernetes.apiextensions import CustomResource

from components.cloud import Cloud, allow, deny, policy, trust
from components.cluster.charts import release, requests
from components.cluster.disks import DISKS
from components.cluster.karpenter_rights import controller_statements
from components.cluster.placement import POOL_LABEL, NodePoolArgs
from components.cluster.pod_identity import pod_role
from components.component import Component
from policies.scheduling.nodes import PODS, instances
from policies.scheduling.quotas import GPU_QUOTAS

NAMESPACE, ACCOUNT = "kube-system", "karpenter"
"""Where it runs, and its service account. There its pods count as critical to the cluster."""
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
"""AWS' own policies that a node needs; whatever pods may do comes by their own roles."""
NODE_CLASS = "bottlerocket"
NODE_DAYS = 14
"""A node is replaced by one with the newest image after this many days."""
EVENTS: Mapping[str, tuple[str, str]] = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
    "capacity": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}
"""Events that announce the end of a node, by source and detail type."""


@dataclass(frozen=True, kw_only=True)
class KarpenterArgs:
    """What it is made with.

    Attributes:
        cloud: the environment.
        cluster: name of the cluster.
        pools: the pools.
        replicas: how many controllers there are, each on a node of its own.
        isolated: whether the network has no way out to the internet.
        security_group_id: security group of the nodes.
        disks_key: ARN of the key that encrypts the nodes' disks.
        queue_key: ARN of the key that encrypts queues.
    """

    cloud: Cloud
    cluster: str
    pools: Sequence[NodePoolArgs]
    replicas: int
    isolated: bool
    security_group_id: pulumi.Input[str]
    disks_key: pulumi.Input[str]
    queue_key: pulumi.Input[str]


class Karpenter(Component):
    """Karpenter with its pools."""

    queue: Output[str]
    """Name of the queue of interruptions."""

    def __init__(self, name: str, args: KarpenterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:cluster:Karpenter", name, opts)
        self._args = args
        cloud = args.cloud
        queue = self._interruptions()
        profile, admitted = self._nodes()
        nodes = cloud.names.of("role", "karpenter-nodes")
        rights = controller_statements(
            cloud,
            args.cluster,
            node_role=cloud.arn("iam", f"role/{nodes}", region=False),
            profile=cloud.arn("iam", f"instance-profile/{nodes}", region=False),
            queue=cloud.arn("sqs", cloud.names.of("queue", "karpenter")),
        )
        role, granted = pod_role("karpenter", cloud, args.cluster, (NAMESPACE, ACCOUNT), rights, self.child())
        identity = eks.PodIdentityAssociation(
            "karpenter",
            cluster_name=args.cluster,
            namespace=NAMESPACE,
            service_account=ACCOUNT,
            role_arn=role.arn,
            opts=self.child(depends_on=[granted]),
        )
        definitions = release("karpenter-crd", NAMESPACE, {}, self.child())
        controller = release(
            "karpenter",
            NAMESPACE,
            self._values(queue),
            self.child(depends_on=[definitions, identity]),
            skip_crds=True,
        )
        node_class = CustomResource(
            NODE_CLASS,
            api_version="karpenter.k8s.aws/v1",
            kind="EC2NodeClass",
            metadata={"name": NODE_CLASS},
            spec=node_class_spec(args, profile.name),
            # What its nodes are admitted by goes after them.
            opts=self.child(depends_on=[controller, *admitted]),
        )
        for pool in args.pools:
            CustomResource(
                f"pool-{pool.name}",
                api_version="karpenter.sh/v1",
                kind="NodePool",
                metadata={"name": pool.name},
                spec=pool_spec(pool, self._limit(pool)),
                opts=self.child(depends_on=[node_class]),
            )
        self.register(queue=queue.name)

    def _interruptions(self) -> sqs.Queue:
        args, cloud = self._args, self._args.cloud
        called = cloud.names.of("queue", "karpenter")
        arn = cloud.arn("sqs", called)
        queue = sqs.Queue(
            "interruptions",
            name=called,
            kms_master_key_id=args.queue_key,
            message_retention_seconds=300,
            tags={"Name": called},
            opts=self.child(),
        )
        mine = {"StringEquals": {"aws:SourceAccount": cloud.account}}
        plain = {"Bool": {"aws:SecureTransport": "false"}}
        sqs.QueuePolicy(
            "interruptions",
            queue_url=queue.url,
            policy=policy(
                allow(["sqs:SendMessage"], arn, Sid="Events", Principal=cloud.service("events"), Condition=mine),
                deny(["sqs:*"], arn, Sid="TlsOnly", Principal="*", Condition=plain),
            ),
            opts=self.child(),
        )
        for purpose, (source, detail) in EVENTS.items():
            rule = cloudwatch.EventRule(
                f"interruption-{purpose}",
                name=cloud.names.of("rule", f"karpenter-{purpose}"),
                description=f"Karpenter hears of: {detail}",
                event_pattern=json.dumps({"source": [source], "detail-type": [detail]}),
                opts=self.child(),
            )
            cloudwatch.EventTarget(
                f"interruption-{purpose}", rule=rule.name, target_id="karpenter", arn=queue.arn, opts=self.child()
            )
        return queue

    def _nodes(self) -> tuple[iam.InstanceProfile, list[pulumi.Resource]]:
        """Profile of its nodes, and what they need besides to be nodes of the cluster."""
        args, cloud = self._args, self._args.cloud
        role = iam.Role(
            "karpenter-nodes",
            name=cloud.names.of("role", "karpenter-nodes"),
            assume_role_policy=trust(cloud.service("ec2")),
            opts=self.child(),
        )
        admitted: list[pulumi.Resource] = [
            iam.RolePolicyAttachment(
                f"karpenter-nodes-{managed}",
                role=role.name,
                policy_arn=f"arn:{cloud.partition}:iam::aws:policy/{managed}",
                opts=self.child(),
            )
            for managed in NODE_POLICIES
        ]
        profile = iam.InstanceProfile(
            "karpenter-nodes", name=cloud.names.of("role", "karpenter-nodes"), role=role.name, opts=self.child()
        )
        entry = eks.AccessEntry(
            "karpenter-nodes",
            cluster_name=args.cluster,
            principal_arn=role.arn,
            type="EC2_LINUX",
            opts=self.child(),
        )
        return profile, [*admitted, entry]

    def _values(self, queue: sqs.Queue) -> dict[str, Any]:
        """Values of the chart. By default it runs on nodes that it did not start, and tolerates the system taint."""
        args = self._args
        return {
            "replicas": args.replicas,
            # It must run before there is DNS in the cluster.
            "dnsPolicy": "Default",
            "serviceAccount": {"name": ACCOUNT},
            "settings": {
                "clusterName": args.cluster,
                "eksControlPlane": True,
                "interruptionQueue": queue.name,
                "isolatedVPC": args.isolated,
            },
            "controller": {
                "resources": requests("250m", "768Mi"),
                # Nothing tells it the region: the nodes' metadata is out of the reach of pods.
                "env": [{"name": "AWS_REGION", "value": args.cloud.region}],
            },
        }

    def _limit(self, pool: NodePoolArgs) -> pulumi.Input[str]:
        """Limit of a pool's CPUs, once the account's quota was found to allow it: a refusal stops a preview."""
        families = sorted({kind[0] for kind in pool.instance_types}) if pool.gpus else []
        asked = [GPU_QUOTAS[family, pool.capacity] for family in families if (family, pool.capacity) in GPU_QUOTAS]
        within = pulumi.InvokeOutputOptions(parent=self)
        found = [
            servicequotas.get_service_quota_output(service_code="ec2", quota_code=code, opts=within).value
            for code, _ in asked
        ]

        def allowed(values: Sequence[float]) -> str:
            for (_, title), value in zip(asked, values, strict=True):
                require_quota(pool, title, value)
            return str(pool.cpus)

        return Output.all(*found).apply(allowed) if found else str(pool.cpus)


def require_quota(pool: NodePoolArgs, title: str, vcpus: float) -> None:
    """Refuse a pool that the account's service quota does not allow.

    Args:
        pool: the pool.
        title: name of the quota.
        vcpus: its value.

    Raises:
        pulumi.RunError: the quota is below the pool's limit.
    """
    if vcpus < pool.cpus:
        raise pulumi.RunError(
            f"aws.kubernetes.pools.{pool.name}: its limit is {pool.cpus} vCPU, but this account's quota "
            f"'{title}' is {vcpus:g}: ask for more in Service Quotas (EC2), or lower the limit"
        )


def node_class_spec(args: KarpenterArgs, profile: pulumi.Input[str]) -> dict[str, Any]:
    """Specification of the class of nodes."""
    return {
        # The newest image of the cluster's version; a node lives for some days, so that it is never an old one.
        "amiSelectorTerms": [{"alias": "bottlerocket@latest"}],
        "instanceProfile": profile,
        "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": args.cluster}}],
        "securityGroupSelectorTerms": [{"id": args.security_group_id}],
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpPutResponseHopLimit": 1,
            "httpTokens": "required",
        },
        "blockDeviceMappings": [
            {
                "deviceName": device,
                "ebs": {
                    "volumeSize": f"{size}Gi",
                    "volumeType": "gp3",
                    "encrypted": True,
                    "kmsKeyID": args.disks_key,
                    "deleteOnTermination": True,
                },
            }
            for device, size in DISKS.items()
        ],
        "kubelet": {"maxPods": PODS},
        "tags": {**args.cloud.tags, "Name": f"{args.cluster}-karpenter"},
    }


def pool_spec(pool: NodePoolArgs, cpus: pulumi.Input[str]) -> dict[str, Any]:
    """Specification of a pool, with its limit of CPUs as the account allows it."""
    known = instances()
    architectures = sorted({known[kind].architecture for kind in pool.instance_types if kind in known})
    requirements: list[dict[str, Any]] = [
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(pool.instance_types)},
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [pool.capacity]},
        {
            "key": "kubernetes.io/arch",
            "operator": "In",
            "values": ["amd64" if one == "x86_64" else one for one in architectures] or ["amd64"],
        },
    ]
    if pool.gpu_name is not None:
        requirements.append({"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "In", "values": [pool.gpu_name]})
    taints = [{"key": key, "value": "true", "effect": "NoSchedule"} for key in pool.taints]
    gpus = {"nvidia.com/gpu": str(pool.gpus)} if pool.gpus else {}
    return {
        "template": {
            "metadata": {"labels": {POOL_LABEL: pool.name}},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": NODE_CLASS},
                "requirements": requirements,
                **({"taints": taints} if taints else {}),
                "expireAfter": f"{NODE_DAYS * 24}h",
                "terminationGracePeriod": "1h",
            },
        },
        "limits": {"cpu": cpus, "memory": f"{pool.memory_gib}Gi", **gpus},
        "disruption": {
            "consolidationPolicy": "WhenEmptyOrUnderutilized",
            "consolidateAfter": f"{pool.idle_seconds}s",
            "budgets": [{"nodes": "20%"}],
        },
    }
