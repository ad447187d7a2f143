"""Namespaces: each says how its pods are confined, and nothing reaches or leaves them unless a policy says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from policies.plan import MISSING, Plan, Resource, Unknown
from policies.pods import WORKLOADS, namespace_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.rules.security.pods import ENFORCE, LEVELS, NAMESPACE, namespaces

POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
RELEASE = "kubernetes:helm.sh/v3:Release"
Direction = Literal["ingress", "egress"]


@resource_rule(
    id="security.namespace-confines",
    title="Every namespace enforces a level of Pod Security, and `restricted` where pods of ours run",
    severity="high",
    why="What a namespace does not refuse, somebody will run in it.",
    fix=f"label it {ENFORCE}: restricted; charts that need more get a namespace of their own",
    references=("CIS Kubernetes 1.9 5.2",),
    types=(NAMESPACE,),
    levels=EVERYWHERE_ON_AWS,
)
def namespace_confines(namespace: Resource, world: World) -> Iterator[Answer]:
    """Look at the label. Where only charts run, `privileged` must be said; it is not taken for an omission."""
    path = f"metadata.labels.{ENFORCE}"
    level = namespace.value("metadata", "labels", ENFORCE)
    if level not in LEVELS:
        yield Problem(f"it enforces {level or 'no level'}; allowed: {', '.join(LEVELS)}", path=path)
        return
    if level == "restricted":
        return
    name = namespace.value("metadata", "name")
    ours = _by_namespace(world.plan, WORKLOADS).get(name, ())
    charts = _by_namespace(world.plan, (RELEASE,)).get(name, ())
    if ours:
        names = ", ".join(sorted(one.name for one in ours))
        yield Problem(f"it enforces {level}, and {names} run there; allowed: restricted", path=path)
    elif level == "privileged" and not charts:
        yield Problem("it enforces privileged, and no chart runs there that could need it", path=path)


@resource_rule(
    id="security.namespace-default-deny",
    title="Every namespace denies all traffic that no policy allows",
    severity="high",
    why="Without it one pod that is taken over reaches every other one, and the internet.",
    fix="give it a NetworkPolicy with an empty podSelector and both policyTypes",
    references=("CIS Kubernetes 1.9 5.3.2", "NSA/CISA Kubernetes Hardening Guide: Network separation"),
    types=(NAMESPACE,),
    levels=EVERYWHERE_ON_AWS,
)
def namespace_default_deny(namespace: Resource, world: World) -> Iterator[Answer]:
    """Look for a policy over all pods of the namespace, in both directions."""
    name = namespace.value("metadata", "name")
    policies = _by_namespace(world.plan, (POLICY,)).get(name, ())
    closed = world.plan.once(("closed", name), lambda: {way for one in policies for way in _closed(one)})
    if missing := [one for one in ("Ingress", "Egress") if one not in closed]:
        yield Problem(f"no NetworkPolicy over all of its pods closes {' and '.join(missing)}")


@resource_rule(
    id="security.pods-in-closed-namespace",
    title="Pods run in namespaces that this stack makes and closes",
    severity="high",
    why="The namespaces that come with a cluster have neither network policies nor levels of Pod Security.",
    fix="place it in a namespace of the stack",
    references=("CIS Kubernetes 1.9 5.7.4",),
    types=WORKLOADS,
    levels=EVERYWHERE_ON_AWS,
)
def pods_in_closed_namespace(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for its namespace among those of the plan."""
    name = namespace_of(resource)
    if name not in namespaces(world.plan):
        yield Problem(f"it runs in the namespace {name}, which this stack does not make", path="metadata.namespace")


@resource_rule(
    id="security.network-policy-not-open",
    title="No network policy lets everything in or out",
    severity="high",
    why="One rule without a peer and a port undoes every other policy over the same pods.",
    fix="name the peers, or at least the ports",
    references=("CIS Kubernetes 1.9 5.3.2",),
    types=(POLICY,),
    levels=EVERYWHERE_ON_AWS,
)
def network_policy_not_open(policy: Resource, world: World) -> Iterator[Answer]:
    """Look for rules without ports that name no peer or all addresses."""
    directions: tuple[tuple[Direction, str], ...] = (("ingress", "from"), ("egress", "to"))
    for direction, peers in directions:
        for index in range(len(policy.items("spec", direction))):
            where: tuple[str | int, ...] = ("spec", direction, index)
            if policy.items(*where, "ports"):
                continue
            if _anybody(policy.value(*where, peers, default=[])):
                side = "in" if direction == "ingress" else "out"
                yield Problem(f"a rule lets everything {side}", path=f"spec.{direction}[{index}]")


def _closed(policy: Resource) -> Iterator[str]:
    """Yield the directions that a policy closes for all pods of its namespace."""
    selector = policy.value("spec", "podSelector", default=None)
    if selector is None or any(selector.values()):
        return
    stated = policy.value("spec", "policyTypes", default=None)
    if stated is None:
        stated = ["Ingress", "Egress"] if policy.peek("spec", "egress") is not MISSING else ["Ingress"]
    yield from stated


def _anybody(peers: Sequence[Mapping[str, Any]]) -> bool:
    if not peers:
        return True
    return any((one.get("ipBlock") or {}).get("cidr") in ("0.0.0.0/0", "::/0") for one in peers)


def _by_namespace(plan: Plan, types: Sequence[str]) -> Mapping[str, Sequence[Resource]]:
    """Return resources of some types by namespace; one whose namespace is not known stands under no name."""

    def make() -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for one in plan.of(*types):
            path = ("namespace",) if one.type == RELEASE else ("metadata", "namespace")
            name = one.peek(*path)
            if not isinstance(name, Unknown):
                found.setdefault(str(name or "default"), []).append(one)
        return found

    return plan.once(("by namespace", tuple(types)), make)
