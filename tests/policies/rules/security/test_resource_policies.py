"""Policies on resources."""

import json
from typing import Any

import pytest

from policies.rules.security.resource_policies import policy_not_public, service_not_confused
from policies.testing import admit, deny, resource, undetermined, unknown

KINDS = [
    ("aws:sns/topicPolicy:TopicPolicy", "policy"),
    ("aws:sqs/queue:Queue", "policy"),
    ("aws:secretsmanager/secretPolicy:SecretPolicy", "policy"),
    ("aws:opensearch/domain:Domain", "accessPolicies"),
]
ACCOUNT = {"StringEquals": {"aws:SourceAccount": "333333333333"}}


def document(principal: Any, **more: Any) -> str:
    return json.dumps({"Statement": {"Effect": "Allow", "Action": "sns:Publish", "Principal": principal, **more}})


@pytest.mark.parametrize(("kind", "path"), KINDS)
def test_a_policy_names_who_may_come_in(kind: str, path: str) -> None:
    root = {"AWS": "arn:aws:iam::333333333333:root"}
    for text in (document(root), document("*", Condition=ACCOUNT), document("*", Effect="Deny"), None):
        admit(policy_not_public, resource(kind, "one", {path: text}))
    deny(policy_not_public, resource(kind, "one", {path: document("*")}), says="sns:Publish", path=path)
    deny(policy_not_public, resource(kind, "one", {path: document(None, NotPrincipal=root)}), path=path)
    undetermined(policy_not_public, resource(kind, "one", {path: unknown()}), path=path)


@pytest.mark.parametrize("narrow", ["sourceAccount", "sourceArn", "principalOrgId"])
def test_a_function_is_not_called_by_everybody(narrow: str) -> None:
    kind = "aws:lambda/permission:Permission"
    admit(policy_not_public, resource(kind, "call", {"principal": "*", narrow: "333333333333"}))
    admit(policy_not_public, resource(kind, "call", principal="events.amazonaws.com"))
    deny(policy_not_public, resource(kind, "call", principal="*"), path="principal")


@pytest.mark.parametrize(("kind", "path"), KINDS)
def test_a_service_is_let_in_on_behalf_of_this_account(kind: str, path: str) -> None:
    events = {"Service": "events.amazonaws.com"}
    admit(service_not_confused, resource(kind, "one", {path: document(events, Condition=ACCOUNT)}))
    admit(service_not_confused, resource(kind, "one", {path: document({"AWS": "333333333333"})}))
    admit(service_not_confused, resource(kind, "one", {path: document(events, Effect="Deny")}))
    admit(service_not_confused, resource(kind, "one"))
    deny(service_not_confused, resource(kind, "one", {path: document(events)}), says="events.amazonaws.com", path=path)
    undetermined(service_not_confused, resource(kind, "one", {path: unknown()}), path=path)


@pytest.mark.parametrize(("kind", "path"), KINDS)
def test_each_statement_is_looked_at(kind: str, path: str) -> None:
    root = {"Effect": "Allow", "Action": "sns:Publish", "Principal": {"AWS": "arn:aws:iam::333333333333:root"}}
    for principal, rule in (("*", policy_not_public), ({"Service": "events.amazonaws.com"}, service_not_confused)):
        second = {"Sid": "Second", "Effect": "Allow", "Action": "sns:Publish", "Principal": principal}
        deny(rule, resource(kind, "one", {path: json.dumps({"Statement": [root, second]})}), path=path)
