"""What Karpenter's policy lets through, call by call."""

import pytest

from components.cloud import Cloud, policy
from components.cluster.karpenter_rights import controller_statements
from policies.access import Call, evaluate

OWNED = "kubernetes.io/cluster/acme-prod-main"
POOL = "karpenter.sh/nodepool"
INSTANCE = "arn:aws:ec2:eu-central-1:333333333333:instance/i-1"
KEY = "arn:aws:kms:eu-central-1:333333333333:key/1"
SQS, S3, EC2 = (f"{service}.eu-central-1.amazonaws.com" for service in ("sqs", "s3", "ec2"))
NODE_ROLE = "arn:aws:iam::333333333333:role/acme-prod-karpenter-nodes"


@pytest.fixture
def document(cloud: Cloud) -> str:
    return policy(
        *controller_statements(
            cloud,
            "acme-prod-main",
            node_role=NODE_ROLE,
            profile="arn:aws:iam::333333333333:instance-profile/acme-prod-karpenter-nodes",
            queue="arn:aws:sqs:eu-central-1:333333333333:acme-prod-karpenter",
        )
    )


@pytest.mark.parametrize(
    ("action", "resource", "context", "allowed"),
    [
        (
            "ec2:TerminateInstances",
            INSTANCE,
            {f"aws:ResourceTag/{OWNED}": "owned", f"aws:ResourceTag/{POOL}": "a"},
            True,
        ),
        (
            "ec2:TerminateInstances",
            INSTANCE,
            {f"aws:ResourceTag/{OWNED}": "shared", f"aws:ResourceTag/{POOL}": "a"},
            False,
        ),
        (
            "ec2:RunInstances",
            INSTANCE,
            {
                f"aws:RequestTag/{OWNED}": "owned",
                "aws:RequestTag/eks:eks-cluster-name": "acme-prod-main",
                f"aws:RequestTag/{POOL}": "serving",
            },
            True,
        ),
        (
            "ec2:RunInstances",
            INSTANCE,
            {
                f"aws:RequestTag/{OWNED}": "owned",
                "aws:RequestTag/eks:eks-cluster-name": "another",
                f"aws:RequestTag/{POOL}": "serving",
            },
            False,
        ),
        ("ec2:RunInstances", "arn:aws:ec2:eu-central-1::image/ami-1", {}, True),
        ("iam:PassRole", NODE_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}, True),
        ("iam:PassRole", NODE_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}, False),
        ("iam:PassRole", "arn:aws:iam::333333333333:role/admin", {"iam:PassedToService": "ec2.amazonaws.com"}, False),
        ("iam:CreateInstanceProfile", "arn:aws:iam::333333333333:instance-profile/mine", {}, False),
        ("sqs:SendMessage", "arn:aws:sqs:eu-central-1:333333333333:acme-prod-karpenter", {}, False),
        ("sqs:ReceiveMessage", "arn:aws:sqs:eu-central-1:333333333333:acme-prod-karpenter", {}, True),
        ("kms:Decrypt", KEY, {"kms:ViaService": SQS, "kms:ResourceAliases": "alias/acme/prod/data"}, True),
        ("kms:Decrypt", KEY, {"kms:ViaService": SQS, "kms:ResourceAliases": "alias/acme/prod/audit"}, False),
        ("kms:Decrypt", KEY, {"kms:ViaService": S3, "kms:ResourceAliases": "alias/acme/prod/data"}, False),
        ("kms:CreateGrant", KEY, {"kms:ViaService": EC2, "kms:ResourceAliases": "alias/acme/prod/data"}, False),
    ],
)
def test_karpenter_may_do_its_work_and_no_other(
    document: str, action: str, resource: str, context: dict[str, str], allowed: bool
) -> None:
    verdict = evaluate([document], Call(action=action, resource=resource, context=context))

    assert (verdict.outcome == "allowed") is allowed, verdict
