"""Roles of workloads: one service account of one namespace of one cluster."""

import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.workload_identities import association_as_trusted, role_not_public, workload_role_bound
from policies.testing import admit, deny, resource, undetermined, unknown

TAGS = {
    "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:eu-central-1:333333333333:cluster/acme-prod-main",
    "aws:RequestTag/kubernetes-namespace": "serving",
    "aws:RequestTag/kubernetes-service-account": "inference",
}
PODS = {"Service": "pods.eks.amazonaws.com"}
EKS = {"Federated": "arn:aws:iam::333333333333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/1"}
GITHUB = {"Federated": "arn:aws:iam::333333333333:oidc-provider/token.actions.githubusercontent.com"}


def role(principal: Any, condition: Any = None, **more: Any) -> Resource:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, **more}
    statement |= {"Condition": condition} if condition else {}
    return resource("aws:iam/role:Role", "serving", assumeRolePolicy=json.dumps({"Statement": [statement]}))


def association(of: Resource, name: str = "serving", **changed: Any) -> Resource:
    inputs = {"namespace": "serving", "serviceAccount": "inference", "roleArn": of, **changed}
    return resource("aws:eks/podIdentityAssociation:PodIdentityAssociation", name, inputs)


HIDDEN = resource("aws:iam/role:Role", "serving", assumeRolePolicy=unknown())


def test_a_role_is_taken_by_who_is_named() -> None:
    admit(role_not_public, role(PODS, {"StringEquals": TAGS}))
    admit(role_not_public, role({"AWS": "*"}, {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}))
    subject = {"StringEquals": {"token.actions.githubusercontent.com:sub": "repo:acme/ml:ref:refs/heads/main"}}
    admit(role_not_public, role(GITHUB, subject))
    admit(role_not_public, role(GITHUB, {"StringLike": {"token.actions.githubusercontent.com:sub": "repo:acme/ml:*"}}))


def test_a_role_that_everybody_can_take_is_denied() -> None:
    for principal in ("*", {"AWS": "*"}):
        deny(role_not_public, role(principal), says="everybody", path="assumeRolePolicy")
    deny(role_not_public, role(GITHUB), says="names no subject")
    for wide in ("*", "repo:*", "repo:*/ml:ref:refs/heads/main"):
        condition = {"StringLike": {"token.actions.githubusercontent.com:sub": wide}}
        deny(role_not_public, role(GITHUB, condition), says=wide)
    admit(role_not_public, role("*", Effect="Deny"))
    undetermined(role_not_public, HIDDEN, path="assumeRolePolicy")


def test_the_role_of_pods_is_bound_to_one_service_account() -> None:
    bound = role(PODS, {"StringEquals": TAGS})
    admit(workload_role_bound, bound)
    admit(workload_role_bound, bound, association(bound))
    admit(workload_role_bound, role({"Service": "ec2.amazonaws.com"}))
    subject = "system:serviceaccount:serving:inference"
    admit(workload_role_bound, role(EKS, {"StringEquals": {"oidc.eks.eu-central-1.amazonaws.com/id/1:sub": subject}}))


@pytest.mark.parametrize("tag", list(TAGS))
def test_each_tag_must_have_one_value(tag: str) -> None:
    without = {key: value for key, value in TAGS.items() if key != tag}
    deny(workload_role_bound, role(PODS, {"StringEquals": without}), says="may be anything")
    for value in ("*", "acme-*", ["serving", "training"]):
        deny(workload_role_bound, role(PODS, {"StringEquals": {**TAGS, tag: value}}), says=tag.lower())
    deny(workload_role_bound, role(PODS, {"StringEquals": without, "StringLike": {tag: "serving"}}))


def test_a_role_of_pods_by_oidc_names_one_subject() -> None:
    key = "oidc.eks.eu-central-1.amazonaws.com/id/1:sub"
    deny(workload_role_bound, role(EKS), says="anybody")
    one = "system:serviceaccount:serving:inference"
    for condition in (
        {"StringLike": {key: one}},
        {"StringEquals": {key: [one, "system:serviceaccount:serving:other"]}},
        {"StringEquals": {key: "system:serviceaccount:serving"}},
    ):
        deny(workload_role_bound, role(EKS, condition), path="assumeRolePolicy")
    undetermined(workload_role_bound, HIDDEN)


def test_a_role_is_given_to_one_service_account() -> None:
    bound = role(PODS, {"StringEquals": TAGS})
    again = association(bound, "again", serviceAccount="other")
    deny(workload_role_bound, bound, association(bound), again, says="serving/inference, serving/other", at=bound)
    undetermined(workload_role_bound, bound, association(bound, serviceAccount=unknown()))


def test_a_service_account_is_given_a_role_that_trusts_it() -> None:
    bound = role(PODS, {"StringEquals": TAGS})
    admit(association_as_trusted, bound, association(bound))
    other = resource("pulumi:pulumi:StackReference", "other")
    admit(association_as_trusted, other, association(other))
    deny(
        association_as_trusted, bound, association(bound, namespace="training"), path="namespace", says="trusts serving"
    )
    deny(association_as_trusted, bound, association(bound, serviceAccount="control"), path="serviceAccount")
    anyone = role(PODS)
    deny(association_as_trusted, anyone, association(anyone, serviceAccount="default"), says="the default service")
    undetermined(association_as_trusted, bound, association(bound, namespace=unknown()), path="namespace")


def trusts(*stated: tuple[Any, Any]) -> Resource:
    made = [
        {"Sid": f"S{at}", "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}
        | ({"Condition": condition} if condition else {})
        for at, (principal, condition) in enumerate(stated)
    ]
    return resource("aws:iam/role:Role", "serving", assumeRolePolicy=json.dumps({"Statement": made}))


def test_each_statement_and_subject_of_a_trust_is_looked_at() -> None:
    good = (PODS, {"StringEquals": TAGS})
    deny(role_not_public, trusts(good, ("*", None)), says="S1 lets everybody")
    sub = "token.actions.githubusercontent.com:sub"
    two = {"StringLike": {sub: ["repo:acme/ml:*", "repo:*/other"]}}
    deny(role_not_public, trusts((GITHUB, two)), says="repo:*/other")
    deny(workload_role_bound, trusts(good, (PODS, None)), says="may be anything", times=3)


def test_each_role_and_statement_of_an_association_is_looked_at() -> None:
    elsewhere = {**TAGS, "aws:RequestTag/kubernetes-namespace": "training"}
    both = trusts((PODS, {"StringEquals": TAGS}), (PODS, {"StringEquals": elsewhere}))
    deny(association_as_trusted, both, association(both), says="trusts training")


def test_what_is_no_role_does_not_hide_the_one_behind_it() -> None:
    trusted = role(PODS, {"StringEquals": {**TAGS, "aws:RequestTag/kubernetes-namespace": "training"}})
    queue = resource("aws:sqs/queue:Queue", "queue")
    other = resource("aws:iam/role:Role", "other", assumeRolePolicy=role(PODS).inputs["assumeRolePolicy"])
    for several in (unknown(queue, trusted), unknown(other, trusted)):
        given = association(trusted, roleArn=several)
        deny(association_as_trusted, trusted, other, queue, given, says="trusts training")
