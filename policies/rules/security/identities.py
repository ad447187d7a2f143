"""Identities of AWS: least privilege, as far as a document tells without an account to ask.

A document that holds an ARN which is not known yet is not known as a whole: state ARNs by the names that things will
have, and keys by their aliases (`kms:ResourceAliases`), so that a review can read every right before it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from policies.documents import Statement, statements
from policies.plan import Plan, Resource, UndeterminedError, Unknown, known
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, plan_rule, resource_rule

ROLE = "aws:iam/role:Role"
_POLICIES = (
    "aws:iam/policy:Policy", "aws:iam/rolePolicy:RolePolicy", "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy", "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy", ROLE,
)  # fmt: skip
_ATTACHMENTS: Mapping[str, str] = {
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment": "policyArn",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": "policyArn",
    "aws:iam/policyAttachment:PolicyAttachment": "policyArn",
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": "policyArns",
    ROLE: "managedPolicyArns",
}
_TOO_MUCH = re.compile(r":aws:policy/(job-function/)?(AdministratorAccess|PowerUserAccess|\w+FullAccess)$")
_USERS = ("aws:iam/user:User", "aws:iam/accessKey:AccessKey", "aws:iam/userLoginProfile:UserLoginProfile")
_READS = re.compile(r"^[a-z0-9-]+:(Describe|List)\w*\*$", re.IGNORECASE)
_SERVICE_WIDE = re.compile(r"^(\*|[a-z0-9-]+:\*|\*:\*)$", re.IGNORECASE)
_WIDE = re.compile(r"^[\w-]*[:/]?\*(/\*)?$")
_BY_NAME = frozenset(
    one.lower()
    for one in (
        "iam:PassRole", "sts:AssumeRole", "iam:AttachRolePolicy", "iam:AttachUserPolicy", "iam:CreateAccessKey",
        "iam:CreateLoginProfile", "iam:CreatePolicyVersion", "iam:PutRolePolicy", "iam:PutUserPolicy",
        "iam:UpdateAssumeRolePolicy", "kms:CreateGrant", "kms:Decrypt", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion",
        "lambda:UpdateFunctionCode", "secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:GetParameters",
        "s3:DeleteObject", "s3:GetObject", "s3:PutBucketPolicy", "s3:PutObject", "dynamodb:GetItem", "dynamodb:Scan",
        "dynamodb:PutItem", "rds-db:connect", "ecr:PutImage", "sagemaker:CreatePresignedDomainUrl",
    )
)  # fmt: skip
"""Actions that read data or gain rights: each must name what it may be done with."""
_NARROWS = (
    "kms:resourcealiases", "kms:encryptioncontext:", "aws:resourcetag/", "secretsmanager:resourcetag/",
    "s3:existingobjecttag/",
)  # fmt: skip
"""Keys of conditions that name a thing as well as its ARN does."""
_PASSED = "iam:passedtoservice"


@resource_rule(
    id="security.no-wildcard-rights",
    title="No identity may do everything, or everything of a kind with everything",
    severity="critical",
    why="Whoever takes over one workload then owns the account, models and audit records included.",
    fix="name the actions, and the things by the names that they will have",
    references=("CIS AWS Foundations 3.0 1.16", "AWS FSBP IAM.1", "AWS FSBP IAM.21"),
    types=_POLICIES,
    levels=EVERYWHERE_ON_AWS,
)
def no_wildcard_rights(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for actions that stand for a whole service, and for any others that stand for several on everything."""
    for path, one in _granted(resource):
        for action in one.actions:
            if _SERVICE_WIDE.match(action):
                yield Problem(f"{one.sid} allows {action} on {_all(one)}; allowed: actions by name", path=path)
            elif "*" in action and not _READS.match(action) and _everything(one):
                yield Problem(f"{one.sid} allows {action} on {_all(one)}; allowed: on things by name", path=path)


@resource_rule(
    id="security.sensitive-rights-narrow",
    title="What reads data or gains rights names what it may be done with",
    severity="high",
    why="Handing on any role, reading any secret or decrypting with any key is as good as being administrator.",
    fix="name the resource; for keys add the condition kms:ResourceAliases, for roles iam:PassedToService besides",
    references=("AWS FSBP KMS.1", "AWS FSBP KMS.2"),
    types=_POLICIES,
    levels=EVERYWHERE_ON_AWS,
)
def sensitive_rights_narrow(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for such actions on all of a kind without a condition that names one, and for roles handed to anything.

    Actions that stand for several are judged by `security.no-wildcard-rights`.
    """
    for path, one in _granted(resource):
        found = [action for action in one.actions if action.lower() in _BY_NAME]
        if found and _everything(one):
            text = f"{one.sid} allows {', '.join(found)} on {_all(one)}; allowed: on things by name"
            yield Problem(text, path=path)
        elif "iam:passrole" in map(str.lower, found) and not any(key == _PASSED for _, key, _ in one.conditions()):
            yield Problem(f"{one.sid} allows iam:PassRole to any service; allowed: with iam:PassedToService", path=path)


@resource_rule(
    id="security.no-administrator",
    title="No identity is given administrator's or full rights by a policy of AWS",
    severity="critical",
    why="Such policies name no resource, and grow with every feature of AWS.",
    fix="write a policy that names actions and resources",
    references=("CIS AWS Foundations 3.0 1.16", "AWS FSBP IAM.1"),
    types=tuple(_ATTACHMENTS),
    levels=EVERYWHERE_ON_AWS,
)
def no_administrator(attachment: Resource, world: World) -> Iterator[Answer]:
    """Look at the names of policies; those that this stack makes are judged by what they say."""
    path = _ATTACHMENTS[attachment.type]
    found = attachment.peek(path)
    for arn in (found,) if isinstance(found, Unknown) else attachment.items(path):
        if isinstance(arn, Unknown):
            if not _ours(world.plan, arn):
                raise UndeterminedError(path, arn.origins)
        elif _TOO_MUCH.search(known(arn, path)):
            yield Problem(f"it attaches {str(known(arn, path)).rpartition('/')[2]}", path=path)


@plan_rule(
    id="security.no-long-lived-keys",
    title="There are no IAM users, access keys or passwords of them",
    severity="high",
    why="A key that does not expire is found in a log or a laptop years later.",
    fix="use a role: pod identity for pods, OIDC for pipelines, IAM Identity Center for people",
    references=("CIS AWS Foundations 3.0 1.14", "AWS FSBP IAM.3"),
    levels=EVERYWHERE_ON_AWS,
)
def no_long_lived_keys(world: World) -> Iterator[Answer]:
    """Each one is one too many, whatever its inputs say."""
    for one in world.plan.of(*_USERS):
        kind = one.type.rpartition(":")[2]
        yield Problem(f"{kind} {one.name}: allowed are roles only", urn=one.urn)


def _granted(resource: Resource) -> Iterator[tuple[str, Statement]]:
    """Yield what a policy, or the policies inside a role, allow."""
    if resource.type == ROLE:
        documents = [
            (f"inlinePolicies[{index}].policy", resource.value("inlinePolicies", index, "policy"))
            for index in range(len(resource.items("inlinePolicies")))
        ]
    else:
        path = "inlinePolicy" if "inlinePolicy" in resource.inputs else "policy"
        documents = [(path, resource.value(path))]
    for path, document in documents:
        for one in statements(document if document is not None else ""):
            if one.allows:
                yield path, one


def _ours(plan: Plan, arn: Unknown) -> bool:
    """Whether an ARN that is not known is that of a policy of the plan."""
    kinds = {plan.by_urn[urn].type for urn in arn.origins if urn in plan.by_urn}
    return kinds == {"aws:iam/policy:Policy"}


def _is_wide(arn: str) -> bool:
    """Whether an ARN stands for all things of a kind; everything in one bucket is a thing by name."""
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return "*" in arn
    return parts[5].startswith("*") if parts[2] == "s3" else bool(_WIDE.match(parts[5]))


def _everything(one: Statement) -> bool:
    return any(_is_wide(arn) for arn in one.resources) and not _narrowed(one)


def _narrowed(one: Statement) -> bool:
    return any(
        operator.removeprefix("ForAnyValue:") in ("StringEquals", "StringLike", "ArnEquals", "ArnLike")
        and key.startswith(_NARROWS)
        and bool(values)
        and "*" not in values
        for operator, key, values in one.conditions()
    )


def _all(one: Statement) -> str:
    return ", ".join(one.resources) or "no resource"
