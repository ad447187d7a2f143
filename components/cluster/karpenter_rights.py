"""What Karpenter may do: start and end the nodes of its own cluster, and no other instance. Pure.

Which calls it makes is in its reference ("CloudFormation", policies of the controller). Every resource that it makes
carries two tags, the cluster's and the pool's; what it may change or end must carry them.
"""

from __future__ import annotations

from components.cloud import Cloud, Statement, allow, allow_key
from components.cluster.disks import disk_key_use

_MADE = ("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
_READ = (
    "ec2:DescribeCapacityReservations", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplates",
    "ec2:DescribePlacementGroups", "ec2:DescribeSecurityGroups", "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets",
)  # fmt: skip


def controller_statements(cloud: Cloud, cluster: str, *, node_role: str, profile: str, queue: str) -> list[Statement]:
    """Statements of the controller's role.

    Args:
        cloud: the environment.
        cluster: name of the cluster.
        node_role: ARN of the role of its nodes.
        profile: ARN of the instance profile of its nodes.
        queue: ARN of the queue of interruptions.
    """

    def ec2(*kinds: str) -> list[str]:
        # Images and snapshots of AWS belong to no account.
        return [cloud.arn("ec2", f"{kind}/*", account=kind not in ("image", "snapshot")) for kind in kinds]

    owned = f"kubernetes.io/cluster/{cluster}"

    def tagged(where: str, **more: str) -> dict[str, dict[str, str]]:
        return {
            "StringEquals": {f"aws:{where}/{owned}": "owned", **more},
            "StringLike": {f"aws:{where}/karpenter.sh/nodepool": "*"},
        }

    start = ["ec2:RunInstances", "ec2:CreateFleet"]
    asked = tagged("RequestTag", **{"aws:RequestTag/eks:eks-cluster-name": cluster})
    making = {"ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]}
    tagging = {**asked, "StringEquals": {**asked["StringEquals"], **making}}
    later = {
        **tagged("ResourceTag"),
        "ForAllValues:StringEquals": {"aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]},
    }
    return [
        allow(start, ec2("image", "snapshot", "security-group", "subnet", "capacity-reservation"), Sid="StartWith"),
        allow(start, ec2("launch-template"), Sid="StartByItsTemplates", Condition=tagged("ResourceTag")),
        allow([*start, "ec2:CreateLaunchTemplate"], ec2(*_MADE), Sid="StartTagged", Condition=asked),
        allow(["ec2:CreateTags"], ec2(*_MADE), Sid="TagWhatItMakes", Condition=tagging),
        allow(["ec2:CreateTags"], ec2("instance"), Sid="TagItsNodes", Condition=later),
        allow(
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            ec2("instance", "launch-template"),
            Sid="EndItsNodes",
            Condition=tagged("ResourceTag"),
        ),
        allow(_READ, "*", Sid="Look", Condition={"StringEquals": {"aws:RequestedRegion": cloud.region}}),
        allow(["ssm:GetParameter"], cloud.arn("ssm", "parameter/aws/service/*", account=False), Sid="FindImages"),
        allow(["pricing:GetProducts"], "*", Sid="Prices"),
        allow(["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"], queue, Sid="Interruptions"),
        allow_key(
            cloud,
            "data",
            ["kms:Decrypt"],
            condition={"StringEquals": {"kms:ViaService": f"sqs.{cloud.region}.amazonaws.com"}},
        ),
        allow(
            ["iam:PassRole"],
            node_role,
            Sid="GiveNodesTheirRole",
            Condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
        # The profile is ours: it makes and deletes none.
        allow(["iam:GetInstanceProfile"], profile, Sid="FindTheProfile"),
        allow(
            ["iam:ListInstanceProfiles"], cloud.arn("iam", "instance-profile/*", region=False), Sid="LookForItsProfiles"
        ),
        allow(["eks:DescribeCluster"], cloud.arn("eks", f"cluster/{cluster}"), Sid="FindTheCluster"),
        *disk_key_use(cloud),
    ]
