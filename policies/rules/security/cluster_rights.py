"""Rights inside the cluster: no role of Kubernetes is a wildcard, and no binding of ours makes an administrator."""

from __future__ import annotations

from collections.abc import Iterator

from policies.plan import Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

ROLES = ("kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", "kubernetes:rbac.authorization.k8s.io/v1:Role")
BINDINGS = (
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
)
ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
_GAINS = ("escalate", "bind", "impersonate")
_ADMINS = ("cluster-admin", "admin")
_EVERYBODY = ("system:anonymous", "system:unauthenticated", "system:authenticated", "system:serviceaccounts")


@resource_rule(
    id="security.cluster-role-no-wildcard",
    title="No role of the cluster is a wildcard, gains rights, or reads every secret",
    severity="high",
    why="A pod with such a role owns the cluster, and what the cluster may do in the account.",
    fix="name the verbs and resources; read secrets by name in one namespace",
    references=("CIS Kubernetes 1.9 5.1.2", "CIS Kubernetes 1.9 5.1.3", "CIS Kubernetes 1.9 5.1.8"),
    types=ROLES,
    levels=EVERYWHERE_ON_AWS,
)
def cluster_role_no_wildcard(role: Resource, world: World) -> Iterator[Answer]:
    """Look at each of its rules."""
    everywhere = role.type == ROLES[0]
    for index in range(len(role.items("rules"))):
        rule, where = role.value("rules", index), f"rules[{index}]"
        for path in ("verbs", "resources"):
            if "*" in (rule.get(path) or ()):
                yield Problem(f"its {path} are *; allowed: by name", path=f"{where}.{path}")
        if found := [verb for verb in rule.get("verbs") or () if verb in _GAINS]:
            yield Problem(f"it may {', '.join(found)}", path=f"{where}.verbs")
        secrets = "secrets" in (rule.get("resources") or ()) and not rule.get("resourceNames")
        reads = [verb for verb in rule.get("verbs") or () if verb in ("get", "list", "watch")]
        if everywhere and secrets and reads:
            yield Problem(f"it may {', '.join(reads)} every secret of the cluster", path=f"{where}.resources")


@resource_rule(
    id="security.cluster-binding-narrow",
    title="No binding makes an administrator of the cluster, or gives rights to everybody",
    severity="critical",
    why="Rights of everybody are rights of whoever reaches the API server.",
    fix="bind a role that names its rights to one service account or group",
    references=("CIS Kubernetes 1.9 5.1.1",),
    types=(*BINDINGS, ASSOCIATION),
    levels=EVERYWHERE_ON_AWS,
)
def cluster_binding_narrow(binding: Resource, world: World) -> Iterator[Answer]:
    """Look at the role and the subjects; of EKS at the policy, its scope, and whom the settings name."""
    if binding.type == ASSOCIATION:
        policy = str(binding.value("policyArn", default="")).rpartition("/")[2]
        named = world.facts.setting("aws", "kubernetes", "adminRoles", default=())
        if binding.value("principalArn") in named:
            return
        if "Admin" in policy and binding.value("accessScope", "type") != "namespace":
            text = f"it gives {policy} over the whole cluster; allowed: in namespaces"
            yield Problem(text, path="accessScope.type", setting="aws.kubernetes.adminRoles")
        return
    role = binding.value("roleRef", "name")
    if role in _ADMINS:
        yield Problem(f"it gives the role {role}", path="roleRef.name")
    for index in range(len(binding.items("subjects"))):
        name = binding.value("subjects", index, "name")
        if name in _EVERYBODY:
            yield Problem(f"it gives rights to {name}", path=f"subjects[{index}].name")
