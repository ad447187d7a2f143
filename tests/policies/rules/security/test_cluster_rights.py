"""Rights inside the cluster."""

from typing import Any

from policies.plan import Resource
from policies.rules.security.cluster_rights import cluster_binding_narrow, cluster_role_no_wildcard
from policies.testing import admit, deny, resource, undetermined, unknown

RBAC = "kubernetes:rbac.authorization.k8s.io/v1:"


def role(kind: str = "ClusterRole", **rule: Any) -> Resource:
    return resource(RBAC + kind, "reader", rules=[{"verbs": ["get"], "resources": ["pods"], **rule}])


def test_a_role_that_names_its_rights_is_admitted() -> None:
    admit(cluster_role_no_wildcard, role())
    admit(cluster_role_no_wildcard, role("Role", resources=["secrets"]))
    admit(cluster_role_no_wildcard, role(resources=["secrets"], resourceNames=["tls"]))
    admit(cluster_role_no_wildcard, role(resources=["secrets"], verbs=["create"]))
    admit(cluster_role_no_wildcard, resource(RBAC + "Role", "none"))


def test_a_role_that_is_a_wildcard_or_gains_rights_is_denied() -> None:
    deny(cluster_role_no_wildcard, role(verbs=["*"]), path="rules[0].verbs", says="verbs are *")
    deny(cluster_role_no_wildcard, role("Role", resources=["*"]), path="rules[0].resources")
    for verb in ("escalate", "bind", "impersonate"):
        deny(cluster_role_no_wildcard, role(verbs=["get", verb]), says=verb, path="rules[0].verbs")
    for verb in ("get", "list", "watch"):
        deny(cluster_role_no_wildcard, role(resources=["secrets"], verbs=[verb]), says="every secret")
    undetermined(cluster_role_no_wildcard, role(verbs=unknown()))


def binding(kind: str = "ClusterRoleBinding", name: Any = "reader", subject: Any = "inference") -> Resource:
    return resource(RBAC + kind, "one", roleRef={"name": name}, subjects=[{"name": subject}])


def test_bindings_name_a_role_and_somebody() -> None:
    admit(cluster_binding_narrow, binding())
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for name in ("cluster-admin", "admin"):
            deny(cluster_binding_narrow, binding(kind, name), says=name, path="roleRef.name")
        for subject in ("system:anonymous", "system:authenticated"):
            deny(cluster_binding_narrow, binding(kind, subject=subject), says=subject, path="subjects[0].name")
    undetermined(cluster_binding_narrow, binding(name=unknown()))
    undetermined(cluster_binding_narrow, binding(subject=unknown()))


def test_administrators_of_the_cluster_are_those_of_the_settings() -> None:
    role_arn = "arn:aws:iam::333333333333:role/people"

    def given(policy: str, scope: str) -> Resource:
        inputs = {"principalArn": role_arn, "policyArn": f"arn:aws:eks::aws:cluster-access-policy/{policy}"}
        kind = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
        return resource(kind, "people", inputs, accessScope={"type": scope})

    admin = given("AmazonEKSClusterAdminPolicy", "cluster")
    setting = "aws.kubernetes.adminRoles"
    admit(cluster_binding_narrow, admin, settings={setting: [role_arn]})
    admit(cluster_binding_narrow, given("AmazonEKSViewPolicy", "cluster"))
    admit(cluster_binding_narrow, given("AmazonEKSAdminPolicy", "namespace"))
    deny(cluster_binding_narrow, admin, path="accessScope.type", setting=setting)
    deny(cluster_binding_narrow, admin, settings={setting: ["arn:aws:iam::333333333333:role/others"]})


def test_each_rule_and_subject_is_looked_at() -> None:
    rules = [{"verbs": ["get"], "resources": ["pods"]}, {"verbs": ["*"], "resources": ["pods"]}]
    deny(cluster_role_no_wildcard, resource(RBAC + "Role", "reader", rules=rules), path="rules[1].verbs")
    subjects = [{"name": "inference"}, {"name": "system:anonymous"}]
    both = resource(RBAC + "RoleBinding", "one", roleRef={"name": "reader"}, subjects=subjects)
    deny(cluster_binding_narrow, both, path="subjects[1].name")
