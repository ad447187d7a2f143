"""Identities of AWS: least privilege."""

import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.identities import (
    no_administrator,
    no_long_lived_keys,
    no_wildcard_rights,
    sensitive_rights_narrow,
)
from policies.testing import admit, deny, reads_nothing_unknown, resource, undetermined, unknown

RIGHTS = "aws:iam/rolePolicy:RolePolicy"
ROLE = "aws:iam/role:Role"
OBJECT = "arn:aws:s3:::acme-prod-models/*"
KEYS = "arn:aws:kms:eu-central-1:333333333333:key/*"
ROLES = "arn:aws:iam::333333333333:role/*"


def document(actions: Any, resources: Any = OBJECT, **more: Any) -> str:
    statement = {"Sid": "Some", "Effect": "Allow", "Action": actions, "Resource": resources, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def rights(actions: Any, resources: Any = OBJECT, **more: Any) -> Resource:
    return resource(RIGHTS, "serving", policy=document(actions, resources, **more))


@pytest.mark.parametrize(
    ("actions", "resources"),
    [
        ("s3:GetObject", OBJECT),
        (["s3:Get*"], "arn:aws:s3:::acme-prod-models/artifacts/*"),
        ("ec2:Describe*", "*"),
        (["iam:List*"], "*"),
        ("ecr:GetAuthorizationToken", "*"),
    ],
)
def test_rights_by_name_are_admitted(actions: Any, resources: Any) -> None:
    admit(no_wildcard_rights, rights(actions, resources))


@pytest.mark.parametrize("action", ["*", "s3:*", "*:*", "S3:*", "resource-groups:*"])
def test_a_whole_service_is_denied_whatever_it_is_about(action: str) -> None:
    deny(no_wildcard_rights, rights(["s3:GetObject", action], OBJECT), says=action, path="policy")


@pytest.mark.parametrize("wide", ["*", "arn:aws:s3:::*", KEYS, ROLES, "arn:aws:sqs:eu-central-1:333333333333:*"])
def test_several_actions_on_everything_are_denied(wide: str) -> None:
    deny(no_wildcard_rights, rights("kms:GenerateDataKey*", [OBJECT, wide]), says=wide)
    deny(no_wildcard_rights, rights("secretsmanager:Get*", wide))


def test_what_a_statement_leaves_out_is_everything() -> None:
    deny(no_wildcard_rights, rights(None, OBJECT, NotAction="iam:*"), says="allows *")
    deny(no_wildcard_rights, rights("s3:Put*", None, NotResource=OBJECT), says="s3:Put*")


def test_a_condition_on_the_alias_of_a_key_names_it() -> None:
    carries = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/acme/prod/data"}}
    admit(no_wildcard_rights, rights("kms:GenerateDataKey*", KEYS, Condition=carries))
    admit(sensitive_rights_narrow, rights("kms:Decrypt", KEYS, Condition=carries))
    for condition in (
        {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}},
        {"ForAnyValue:StringLike": {"kms:ResourceAliases": "*"}},
        {"StringNotEquals": {"kms:ResourceAliases": "alias/acme/prod/data"}},
    ):
        deny(sensitive_rights_narrow, rights("kms:Decrypt", KEYS, Condition=condition), says="kms:Decrypt")


def test_what_is_denied_may_be_wide() -> None:
    for rule in (no_wildcard_rights, sensitive_rights_narrow):
        admit(rule, rights("*", "*", Effect="Deny"))


def test_policies_inside_roles_count() -> None:
    role = resource(ROLE, "serving", inlinePolicies=[{"policy": document("s3:GetObject")}, {"policy": document("*")}])
    deny(no_wildcard_rights, role, path="inlinePolicies[1].policy")
    admit(no_wildcard_rights, resource(ROLE, "serving"))
    undetermined(no_wildcard_rights, resource(ROLE, "serving", inlinePolicies=[{"policy": unknown()}]))


def test_rights_of_a_permission_set_count() -> None:
    kind = "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy"
    deny(no_wildcard_rights, resource(kind, "people", inlinePolicy=document("iam:*")), path="inlinePolicy")


def test_a_document_that_is_not_known_is_undetermined() -> None:
    for rule in (no_wildcard_rights, sensitive_rights_narrow):
        undetermined(rule, resource(RIGHTS, "serving", policy=unknown()), path="policy")


@pytest.mark.parametrize(
    ("action", "wide"),
    [
        ("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-central-1:333333333333:secret:*"),
        ("s3:GetObject", "arn:aws:s3:::*"),
        ("s3:PutObject", "*"),
        ("sts:AssumeRole", ROLES),
        ("iam:PassRole", "*"),
        ("KMS:Decrypt", "arn:aws:kms:*:333333333333:key/*"),
    ],
)
def test_sensitive_rights_over_all_of_a_kind_are_denied(action: str, wide: str) -> None:
    deny(sensitive_rights_narrow, rights(["logs:PutLogEvents", action], wide), says=[action, wide], path="policy")


def test_sensitive_rights_over_things_by_name_are_admitted() -> None:
    admit(sensitive_rights_narrow, rights("s3:GetObject", OBJECT))
    admit(
        sensitive_rights_narrow, rights("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:a:1:secret:rds!db-*")
    )
    admit(sensitive_rights_narrow, rights("logs:PutLogEvents", "*"))


def test_a_role_is_handed_to_one_service() -> None:
    role = "arn:aws:iam::333333333333:role/acme-prod-nodes"
    passed = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    admit(sensitive_rights_narrow, rights("iam:PassRole", role, Condition=passed))
    deny(sensitive_rights_narrow, rights("iam:PassRole", role), says="to any service")


ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


def test_policies_of_aws_that_give_everything_are_denied() -> None:
    own = "arn:aws:iam::aws:policy/"
    for name in ("AdministratorAccess", "PowerUserAccess", "AmazonS3FullAccess", "job-function/PowerUserAccess"):
        deny(no_administrator, resource(ATTACHMENT, "one", policyArn=own + name), says=name.rpartition("/")[2])
        deny(no_administrator, resource(ROLE, "one", managedPolicyArns=[own + "ReadOnly", own + name]))
    admit(no_administrator, resource(ATTACHMENT, "one", policyArn=own + "AmazonEKSWorkerNodePolicy"))
    admit(no_administrator, resource(ROLE, "one"))


def test_an_attached_policy_of_the_stack_is_judged_by_what_it_says() -> None:
    policy = resource("aws:iam/policy:Policy", "mine")
    admit(no_administrator, policy, resource(ATTACHMENT, "one", policyArn=policy))
    both = resource(ROLE, "one", managedPolicyArns=[policy, "arn:aws:iam::aws:policy/AdministratorAccess"])
    deny(no_administrator, policy, both, says="AdministratorAccess")
    elsewhere = resource("pulumi:pulumi:StackReference", "other")
    undetermined(no_administrator, elsewhere, resource(ATTACHMENT, "one", policyArn=elsewhere), path="policyArn")
    undetermined(no_administrator, resource(ROLE, "one", managedPolicyArns=unknown()))
    mixed = unknown(policy, elsewhere)
    undetermined(no_administrator, policy, elsewhere, resource(ATTACHMENT, "one", policyArn=mixed))


def test_there_are_no_users_keys_or_passwords() -> None:
    user = resource("aws:iam/user:User", "anna", name="anna")
    key = resource("aws:iam/accessKey:AccessKey", "anna", user=user)
    admit(no_long_lived_keys, resource(ROLE, "serving"))
    deny(no_long_lived_keys, user, says="User anna: allowed are roles only", at=user)
    deny(no_long_lived_keys, user, key, says="AccessKey anna", at=key, times=2)
    deny(
        no_long_lived_keys, resource("aws:iam/userLoginProfile:UserLoginProfile", "anna"), says="UserLoginProfile anna"
    )
    reads_nothing_unknown(no_long_lived_keys, user, why="that there is one is what is wrong, whatever it says")


def test_a_policy_of_the_stack_beside_an_unknown_one_leaves_it_open() -> None:
    policy, elsewhere = resource("aws:iam/policy:Policy", "mine"), resource("pulumi:pulumi:StackReference", "other")
    undetermined(no_administrator, policy, elsewhere, resource(ROLE, "one", managedPolicyArns=[policy, elsewhere]))


def test_each_document_and_statement_is_looked_at() -> None:
    harmless = {"Sid": "First", "Effect": "Allow", "Action": "s3:GetObject", "Resource": OBJECT}
    wide = {"Sid": "Second", "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    both = json.dumps({"Statement": [harmless, wide]})
    deny(sensitive_rights_narrow, resource(RIGHTS, "serving", policy=both), says="Second")


def test_an_arn_of_fewer_parts_is_judged_by_its_star() -> None:
    deny(sensitive_rights_narrow, rights("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu*:333333333333"))
