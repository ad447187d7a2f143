"""The pods that a plan runs, whatever makes them: deployments, jobs, Ray clusters.

What a Helm chart makes is not in a plan; its pods are judged only by the values that we give it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from policies.plan import MISSING, Plan, Resource, Secret, UndeterminedError, Unknown, known

Path = tuple[str | int, ...]

_TEMPLATE: Final = ("spec", "template")
_TEMPLATES: Final[Mapping[str, Path]] = {
    "kubernetes:core/v1:Pod": (),
    "kubernetes:apps/v1:Deployment": _TEMPLATE,
    "kubernetes:apps/v1:StatefulSet": _TEMPLATE,
    "kubernetes:apps/v1:DaemonSet": _TEMPLATE,
    "kubernetes:apps/v1:ReplicaSet": _TEMPLATE,
    "kubernetes:batch/v1:Job": _TEMPLATE,
    "kubernetes:batch/v1:CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_RAY_CLUSTERS: Final[Mapping[str, Path]] = {
    "kubernetes:ray.io/v1:RayCluster": ("spec",),
    "kubernetes:ray.io/v1:RayService": ("spec", "rayClusterConfig"),
    "kubernetes:ray.io/v1:RayJob": ("spec", "rayClusterSpec"),
}
RAY_JOB: Final = "kubernetes:ray.io/v1:RayJob"
CRON_JOB: Final = "kubernetes:batch/v1:CronJob"
_SUBMITTER: Final = "submitterPodTemplate"
WORKLOADS: Final = (*_TEMPLATES, *_RAY_CLUSTERS)
"""Types of resources that run pods."""
SERVES: Final = ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet", "kubernetes:apps/v1:ReplicaSet")
"""Types that keep a number of equal pods."""
CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a pod: `path` leads to it in the pods' owner."""

    owner: Resource
    path: Path

    def value(self, *path: str | int, default: Any = None) -> Any:
        """Return what stands at a path below it; see `Resource.value`."""
        return self.owner.value(*self.path, *path, default=default)

    def peek(self, *path: str | int) -> Any:
        """Return what stands at a path below it; see `Resource.peek`."""
        return self.owner.peek(*self.path, *path)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.value("name", default="?"))

    @property
    def init(self) -> bool:
        """Whether it runs before the others and ends."""
        return "initContainers" in self.path and self.value("restartPolicy") != "Always"

    def where(self, *path: str | int) -> str:
        """Return a path below it as text."""
        return text_of((*self.path, *path))


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Equal pods.

    Attributes:
        owner: the resource that makes them.
        path: where their template stands in it; its own `metadata` and `spec` are below.
        group: of a Ray cluster `head` or the name of the worker group, else empty, as for those that submit a RayJob.
    """

    owner: Resource
    path: Path
    group: str = ""

    @property
    def title(self) -> str:
        """What they are called in messages."""
        return f"{self.owner.name} {self.group}".strip()

    @property
    def namespace(self) -> str:
        """Namespace that they run in.

        Raises:
            UndeterminedError: it is not known.
        """
        return namespace_of(self.owner)

    def value(self, *path: str | int, default: Any = None) -> Any:
        """Return what stands at a path of their `spec`; see `Resource.value`."""
        return self.owner.value(*self.path, "spec", *path, default=default)

    def peek(self, *path: str | int) -> Any:
        """Return what stands at a path of their `spec`; see `Resource.peek`."""
        return self.owner.peek(*self.path, "spec", *path)

    def items(self, *path: str | int) -> Sequence[Any]:
        """Return the list at a path of their `spec`; see `Resource.items`."""
        return self.owner.items(*self.path, "spec", *path)

    def labels(self) -> Mapping[str, str]:
        """Return their labels.

        Raises:
            UndeterminedError: one is not known.
        """
        found: Mapping[str, str] = self.owner.value(*self.path, "metadata", "labels", default={})
        return found

    def containers(self, *kinds: str) -> Iterator[Container]:
        """Yield their containers, of all kinds unless some are named.

        Raises:
            UndeterminedError: which there are is not known.
        """
        for kind in kinds or CONTAINERS:
            for index, one in enumerate(self.items(kind)):
                path = (*self.path, "spec", kind, index)
                if isinstance(one, Unknown):
                    raise UndeterminedError(text_of(path), one.origins)
                yield Container(owner=self.owner, path=path)

    def where(self, *path: str | int) -> str:
        """Return a path below their `spec` as text."""
        return text_of((*self.path, "spec", *path))


def pods_of(resource: Resource) -> Iterator[Pods]:
    """Yield the pods that a resource makes; none for what makes none.

    Raises:
        UndeterminedError: which groups a Ray cluster has is not known.
    """
    if resource.type in _TEMPLATES:
        yield Pods(owner=resource, path=_TEMPLATES[resource.type])
    elif resource.type in _RAY_CLUSTERS:
        cluster = _RAY_CLUSTERS[resource.type]
        if resource.peek(*cluster, "headGroupSpec") is not MISSING:
            yield Pods(owner=resource, path=(*cluster, "headGroupSpec", "template"), group="head")
        for index in range(len(resource.items(*cluster, "workerGroupSpecs"))):
            path = (*cluster, "workerGroupSpecs", index)
            name = resource.value(*path, "groupName", default=f"workers {index}")
            yield Pods(owner=resource, path=(*path, "template"), group=str(name))
        if resource.type == RAY_JOB and resource.peek("spec", _SUBMITTER) is not MISSING:
            yield Pods(owner=resource, path=("spec", _SUBMITTER))


def all_pods(plan: Plan) -> Iterator[Pods]:
    """Yield the pods of every resource of a plan.

    Raises:
        UndeterminedError: which groups a Ray cluster has is not known.
    """
    for resource in plan.of(*WORKLOADS):
        yield from pods_of(resource)


def namespace_of(resource: Resource) -> str:
    """Return the namespace of a namespaced object; `default` where it states none.

    Raises:
        UndeterminedError: it is not known.
    """
    return str(resource.value("metadata", "namespace", default="default"))


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector (known) picks labels; an empty one picks everything, a missing one nothing."""
    if not isinstance(selector, Mapping):
        return False
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(one, labels) for one in selector.get("matchExpressions") or ())


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    found, values = labels.get(expression.get("key", "")), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
    return False


def plain(value: Any, path: str = "") -> Any:
    """Return a value without marks of secrets; see `known`."""
    return known(value.value if isinstance(value, Secret) else value, path)


def text_of(path: Path) -> str:
    """Return a path as text: `spec.template.spec.containers[0].image`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")
