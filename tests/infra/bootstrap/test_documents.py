"""Who may take the pipelines' roles, and what those may do."""

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest

from components.cloud import policy
from infra.bootstrap.documents import Wanted, role_statements, trust_statement

KEY = "arn:aws:kms:eu-central-1:333333333333:key/k"
STATE = "arn:aws:s3:::acme-prod-state-333333333333-eu-central-1"


def statements(wanted: Wanted, rights: Any) -> list[dict[str, Any]]:
    return list(json.loads(policy(*role_statements(wanted, rights, KEY)))["Statement"])


def may(wanted: Wanted, rights: Any, action: str, resource: str) -> bool:
    """Whether a call is allowed, conditions aside."""
    effects = {
        one["Effect"]
        for one in statements(wanted, rights)
        if any(fnmatchcase(action, pattern) for pattern in one["Action"])
        and any(
            fnmatchcase(resource, pattern)
            for pattern in ([one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"])
        )
    }
    return effects == {"Allow"}


@pytest.mark.parametrize(
    ("rights", "subject"),
    [
        ("foundation", "repo:acme/platform:environment:prod"),
        ("releases", "repo:acme/platform:environment:prod-releases"),
        ("read", "repo:acme/platform:pull_request"),
    ],
)
def test_a_role_is_taken_by_one_kind_of_job_only(wanted: Wanted, rights: Any, subject: str) -> None:
    statement = trust_statement(wanted, rights)

    issuer = "token.actions.githubusercontent.com"
    assert statement["Condition"] == {"StringEquals": {f"{issuer}:aud": "sts.amazonaws.com", f"{issuer}:sub": subject}}
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::333333333333:oidc-provider/{issuer}"}


@pytest.mark.parametrize(
    ("rights", "action", "resource", "allowed"),
    [
        ("foundation", "eks:CreateCluster", "arn:aws:eks:eu-central-1:333333333333:cluster/x", True),
        ("foundation", "iam:CreateRole", "arn:aws:iam::333333333333:role/acme-prod-registry", True),
        ("foundation", "iam:CreateRole", "arn:aws:iam::333333333333:role/somebody", False),
        ("foundation", "iam:PutRolePolicy", "arn:aws:iam::333333333333:role/acme-prod-ci-foundation", False),
        ("foundation", "s3:PutBucketPolicy", STATE, False),
        ("foundation", "s3:PutObject", f"{STATE}/.pulumi/stacks/mlops/prod.json", True),
        ("releases", "eks:DescribeCluster", "arn:aws:eks:eu-central-1:333333333333:cluster/acme-prod-main", True),
        ("releases", "ec2:CreateVpc", "*", False),
        ("releases", "s3:GetObject", f"{STATE}/.pulumi/stacks/mlops/prod.json", True),
        ("releases", "s3:PutObject", f"{STATE}/.pulumi/stacks/mlops/prod.json", False),
        ("releases", "s3:PutObject", f"{STATE}/.pulumi/stacks/mlops/prod-releases.json", True),
        ("read", "ec2:DescribeVpcs", "*", True),
        ("read", "s3:GetObject", f"{STATE}/.pulumi/stacks/mlops/prod.json", True),
        ("read", "s3:PutObject", f"{STATE}/.pulumi/stacks/mlops/prod.json", False),
        ("read", "s3:GetObject", "arn:aws:s3:::acme-prod-data/x", False),
        ("read", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-central-1:3:secret:x", False),
        ("read", "dynamodb:GetItem", "arn:aws:dynamodb:eu-central-1:3:table/x", False),
        ("read", "kms:Encrypt", KEY, False),
    ],
)
def test_a_pipeline_may_do_its_own_work_only(
    wanted: Wanted, rights: Any, action: str, resource: str, allowed: bool
) -> None:
    assert may(wanted, rights, action, resource) is allowed


@pytest.mark.parametrize("rights", ["foundation", "releases", "read"])
def test_rights_fit_a_role(wanted: Wanted, rights: Any) -> None:
    # IAM counts the characters of all inline policies of a role without white space, 10,240 at most.
    assert len("".join(policy(*role_statements(wanted, rights, KEY)).split())) < 10_240
