"""Pods: what Pod Security's level `restricted` asks for, judged before a namespace refuses them.

Pods are held to the level of their namespace (label `pod-security.kubernetes.io/enforce`); those of a namespace that
this plan does not make are held to `restricted`. What a level forbids is in Kubernetes' "Pod Security Standards".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.plan import MISSING, Plan, Resource
from policies.pods import WORKLOADS, Container, Pods, namespace_of, pods_of, text_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

NAMESPACE = "kubernetes:core/v1:Namespace"
ENFORCE = "pod-security.kubernetes.io/enforce"
LEVELS = ("privileged", "baseline", "restricted")
_VOLUMES = (
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_BASELINE_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
_PROFILES = ("RuntimeDefault", "Localhost")


@resource_rule(
    id="security.pods-confined",
    title="Pods keep to the level of Pod Security of their namespace",
    severity="high",
    why="A process that breaks out of its container, or runs as root on its node, has every secret of that node.",
    fix="make the pod by `components.workload`, which states all of it",
    references=("CIS Kubernetes 1.9 5.2", "NSA/CISA Kubernetes Hardening Guide: Pod security"),
    types=WORKLOADS,
    levels=EVERYWHERE_ON_AWS,
)
def pods_confined(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the pods, their volumes and each of their containers."""
    level = level_of(world.plan, namespace_of(resource))
    if level == "privileged":
        return
    for pods in pods_of(resource):
        yield from _host(pods)
        if level == "restricted":
            yield from _volumes(pods)
        for one in _containers(pods):
            yield from _baseline(pods, one)
            if level == "restricted":
                yield from _restricted(pods, one)


@resource_rule(
    id="security.root-filesystem-read-only",
    title="Containers cannot write to their own image",
    severity="medium",
    why="What cannot be written cannot be replaced: an intruder finds no place for tools.",
    fix="set readOnlyRootFilesystem and give scratch space as volumes",
    references=("NSA/CISA Kubernetes Hardening Guide: Pod security",),
    types=WORKLOADS,
)
def root_filesystem_read_only(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at each container."""
    for pods in pods_of(resource):
        for one in _containers(pods):
            path = ("securityContext", "readOnlyRootFilesystem")
            if one.value(*path, default=False) is not True:
                yield Problem(f"{_named(pods, one)}: readOnlyRootFilesystem is off", path=one.where(*path))


def level_of(plan: Plan, namespace: str) -> str:
    """Return the level that a namespace enforces; `restricted` where the plan does not make it.

    Raises:
        UndeterminedError: its labels are not known.
    """
    found = namespaces(plan).get(namespace)
    if found is None:
        return "restricted"
    level = str(found.value("metadata", "labels", ENFORCE, default="privileged"))
    return level if level in LEVELS else "privileged"


def namespaces(plan: Plan) -> Mapping[str, Resource]:
    """Return the namespaces that a plan makes, by name; one whose name is not known is not among them."""

    def make() -> dict[str, Resource]:
        names = ((one.peek("metadata", "name"), one) for one in plan.of(NAMESPACE))
        return {name: one for name, one in names if isinstance(name, str)}

    return plan.once("namespaces", make)


def _containers(pods: Pods) -> Iterator[Container]:
    """Yield the pods' containers, and the one that KubeRay adds to a head that scales its workers."""
    yield from pods.containers()
    if pods.group == "head":
        cluster = pods.path[:-2]
        if pods.owner.value(*cluster, "enableInTreeAutoscaling", default=False) is True:
            yield Container(owner=pods.owner, path=(*cluster, "autoscalerOptions"))


def _host(pods: Pods) -> Iterator[Answer]:
    for switch in ("hostNetwork", "hostPID", "hostIPC"):
        if pods.value(switch, default=False) is not False:
            yield Problem(f"{pods.title}: {switch} is on", path=pods.where(switch))
    for index in range(len(pods.items("volumes"))):
        if pods.peek("volumes", index, "hostPath") is not MISSING:
            where = pods.where("volumes", index, "hostPath")
            yield Problem(f"{pods.title}: it mounts a path of the node", path=where)


def _volumes(pods: Pods) -> Iterator[Answer]:
    for index, volume in enumerate(pods.items("volumes")):
        kinds = volume if isinstance(volume, Mapping) else pods.value("volumes", index)
        for kind in kinds:
            if kind not in _VOLUMES and kind != "hostPath":
                yield Problem(f"{pods.title}: volumes of {kind} are not allowed", path=pods.where("volumes", index))


def _baseline(pods: Pods, one: Container) -> Iterator[Answer]:
    context = "securityContext"
    if one.value(context, "privileged", default=False) is not False:
        yield Problem(f"{_named(pods, one)} is privileged", path=one.where(context, "privileged"))
    for index, _ in enumerate(_list(one, "ports")):
        if port := one.value("ports", index, "hostPort", default=0):
            yield Problem(
                f"{_named(pods, one)} takes port {port} of the node", path=one.where("ports", index, "hostPort")
            )
    for capability in one.value(context, "capabilities", "add", default=()):
        if capability not in _BASELINE_CAPABILITIES:
            where = one.where(context, "capabilities", "add")
            yield Problem(f"{_named(pods, one)} adds the capability {capability}", path=where)


def _restricted(pods: Pods, one: Container) -> Iterator[Answer]:
    context = "securityContext"
    if one.value(context, "allowPrivilegeEscalation", default=True) is not False:
        where = one.where(context, "allowPrivilegeEscalation")
        yield Problem(f"{_named(pods, one)}: allowPrivilegeEscalation is on", path=where)
    if "ALL" not in one.value(context, "capabilities", "drop", default=()):
        where = one.where(context, "capabilities", "drop")
        yield Problem(f"{_named(pods, one)} does not drop ALL capabilities", path=where)
    for capability in one.value(context, "capabilities", "add", default=()):
        if capability in _BASELINE_CAPABILITIES and capability != "NET_BIND_SERVICE":
            where = one.where(context, "capabilities", "add")
            yield Problem(f"{_named(pods, one)} adds the capability {capability}", path=where)
    if _either(pods, one, "runAsNonRoot") is not True:
        yield Problem(f"{_named(pods, one)}: runAsNonRoot is off", path=one.where(context, "runAsNonRoot"))
    if _either(pods, one, "runAsUser") == 0:
        yield Problem(f"{_named(pods, one)} runs as root (runAsUser 0)", path=one.where(context, "runAsUser"))
    profile = _either(pods, one, "seccompProfile", "type")
    if profile not in _PROFILES:
        where = one.where(context, "seccompProfile", "type")
        said = profile or "not stated"
        yield Problem(f"{_named(pods, one)}: seccompProfile is {said}; allowed: {' or '.join(_PROFILES)}", path=where)


def _either(pods: Pods, one: Container, *path: str) -> Any:
    """Return what a container states, else what its pod does."""
    found = one.value("securityContext", *path)
    return pods.value("securityContext", *path) if found is None else found


def _list(one: Container, name: str) -> Sequence[Any]:
    return one.owner.items(*one.path, name)


def _named(pods: Pods, one: Container) -> str:
    name = one.value("name", default="")
    return f"{pods.title}, container {name}" if name else f"{pods.title}, {text_of(one.path[-1:])}"
