"""Roles of workloads: each is taken by one service account of one namespace of one cluster, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.documents import Statement, statements
from policies.plan import Plan, Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.rules.security.identities import ROLE

ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
_PODS = "pods.eks.amazonaws.com"
_TAGS: Mapping[str, str] = {
    # condition of the trust: input of the association
    "aws:requesttag/kubernetes-namespace": "namespace",
    "aws:requesttag/kubernetes-service-account": "serviceAccount",
    "aws:requesttag/eks-cluster-arn": "",
}


@resource_rule(
    id="security.role-not-public",
    title="No role can be taken by everybody, or by whom a provider of identities does not name",
    severity="critical",
    why="A role that anyone can take is a password on a wall.",
    fix="name the principal; for OIDC add StringEquals conditions on `aud` and `sub`",
    types=(ROLE,),
    levels=EVERYWHERE_ON_AWS,
    waivable=False,
)
def role_not_public(role: Resource, world: World) -> Iterator[Answer]:
    """Look at who may take the role."""
    for one in _trust(role):
        if one.everyone and not one.narrowed:
            yield Problem(f"{one.sid} lets everybody take it", path="assumeRolePolicy")
        if one.principals("Federated"):
            subjects = [value for _, key, values in one.conditions() if key.endswith(":sub") for value in values]
            if not subjects:
                yield Problem(f"{one.sid} names no subject (`sub`) of its provider", path="assumeRolePolicy")
            for subject in subjects:
                if "*" in ":".join(subject.split(":")[:2]):
                    yield Problem(f"{one.sid} lets the subject {subject} take it", path="assumeRolePolicy")


@resource_rule(
    id="security.workload-role-bound",
    title="A role that pods take is bound to one service account of one namespace of one cluster",
    severity="high",
    why="Otherwise whoever may associate a role with a service account gives it to any pod of any cluster.",
    fix="make the trust by `components.cluster.pod_identity.pod_trust`, and a role for each workload",
    types=(ROLE,),
    levels=EVERYWHERE_ON_AWS,
)
def workload_role_bound(role: Resource, world: World) -> Iterator[Answer]:
    """Look at the conditions of the trust, and at how many service accounts are given the role."""
    for one in _trust(role):
        if _PODS in one.principals("Service"):
            stated = {key: values for operator, key, values in one.conditions() if operator == "StringEquals"}
            for key in _TAGS:
                values = stated.get(key, ())
                if len(values) != 1 or "*" in values[0]:
                    found = ", ".join(values) or "anything"
                    yield Problem(f"{key} may be {found}; allowed: one value", path="assumeRolePolicy")
        elif any("oidc.eks" in name for name in one.principals("Federated")):
            subjects = [
                value
                for operator, key, values in one.conditions()
                if key.endswith(":sub") and operator == "StringEquals"
                for value in values
            ]
            if len(subjects) != 1 or subjects[0].count(":") != 3:
                found = ", ".join(subjects) or "anybody"
                yield Problem(
                    f"{found} may take it; allowed: one system:serviceaccount:NAMESPACE:NAME", path="assumeRolePolicy"
                )
    accounts = _accounts(world.plan, role)
    if len(accounts) > 1:
        yield Problem(f"it is given to {len(accounts)} service accounts: {', '.join(accounts)}; allowed: one")


@resource_rule(
    id="security.association-as-trusted",
    title="A service account is given a role that trusts it, and is not the namespace's default",
    severity="high",
    why="Every pod that names no service account runs as the default one and would get the role.",
    fix="associate the role with the service account that its trust names",
    types=(ASSOCIATION,),
    levels=EVERYWHERE_ON_AWS,
)
def association_as_trusted(association: Resource, world: World) -> Iterator[Answer]:
    """Hold the association beside the trust of the role that it is made from."""
    if association.value("serviceAccount") == "default":
        yield Problem("it is given to the default service account", path="serviceAccount")
    for role in world.plan.origins(association, "roleArn"):
        if role.type != ROLE:
            continue
        for one in _trust(role):
            for _, key, values in one.conditions():
                path = _TAGS.get(key)
                if path and association.value(path) not in values:
                    yield Problem(
                        f"{association.value(path)} is given a role that trusts {', '.join(values)}", path=path
                    )


def _trust(role: Resource) -> list[Statement]:
    document = role.value("assumeRolePolicy")
    return [one for one in statements(document if document is not None else "") if one.allows]


def _accounts(plan: Plan, role: Resource) -> list[str]:
    found = {
        f"{one.value('namespace')}/{one.value('serviceAccount')}" for one in plan.used_by(role, "roleArn", ASSOCIATION)
    }
    return sorted(found)
