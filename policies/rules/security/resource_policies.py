"""Policies on topics, queues, secrets, repositories, functions and file systems: none lets everybody in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.documents import statements
from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

_INPUTS: Mapping[str, str] = {
    "aws:sns/topic:Topic": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:sqs/queue:Queue": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
    "aws:secretsmanager/secret:Secret": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:ecr/registryPolicy:RegistryPolicy": "policy",
    "aws:efs/fileSystemPolicy:FileSystemPolicy": "policy",
    "aws:opensearch/domain:Domain": "accessPolicies",
    "aws:opensearch/domainPolicy:DomainPolicy": "accessPolicies",
    "aws:dynamodb/resourcePolicy:ResourcePolicy": "policy",
    "aws:backup/vaultPolicy:VaultPolicy": "policy",
    "aws:cloudwatch/eventBusPolicy:EventBusPolicy": "policy",
}
_PERMISSION = "aws:lambda/permission:Permission"


@resource_rule(
    id="security.policy-not-public",
    title="No policy on a resource lets everybody in",
    severity="critical",
    why="A policy with the principal * lets every account of AWS in, not only ours.",
    fix="name the principals, or narrow the statement by account, organisation or network",
    references=("AWS FSBP SNS.4", "AWS FSBP SQS.3", "AWS FSBP Lambda.1"),
    types=(*_INPUTS, _PERMISSION),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def policy_not_public(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for a statement that allows everybody."""
    if resource.type == _PERMISSION:
        narrowed = any(resource.value(one) for one in ("sourceAccount", "sourceArn", "principalOrgId"))
        if resource.value("principal") == "*" and not narrowed:
            yield Problem("everybody may call the function", path="principal")
        return
    path = _INPUTS[resource.type]
    document = resource.value(path)
    for one in statements(document) if document is not None else ():
        if one.allows and one.everyone and not one.narrowed:
            yield Problem(f"{one.sid} allows {', '.join(one.actions)} to everybody", path=path)


@resource_rule(
    id="security.service-not-confused",
    title="A service of AWS is let in only on behalf of this account",
    severity="medium",
    why="A service acts for every account: without a condition another account's rule can use ours (confused deputy).",
    fix="add the condition aws:SourceAccount or aws:SourceArn",
    types=tuple(one for one in _INPUTS if "/repositoryPolicy" not in one),
    levels=EVERYWHERE_ON_AWS,
)
def service_not_confused(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for a statement that lets a service in without a condition on whom it acts for."""
    path = _INPUTS[resource.type]
    document = resource.value(path)
    for one in statements(document) if document is not None else ():
        if one.allows and one.principals("Service") and not one.narrowed:
            services = ", ".join(one.principals("Service"))
            yield Problem(f"{one.sid} lets {services} in for whomever", path=path)
