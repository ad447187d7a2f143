"""Bounds of what scales by itself: they do not contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.plan import Resource
from policies.pods import text_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

Path = tuple[str | int, ...]
_BOUNDS: Mapping[str, tuple[Path, str, str, str]] = {
    # type: where they stand, and what least, wanted and most are called there
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": (("spec",), "minReplicas", "", "maxReplicas"),
    "kubernetes:autoscaling/v1:HorizontalPodAutoscaler": (("spec",), "minReplicas", "", "maxReplicas"),
    "aws:eks/nodeGroup:NodeGroup": (("scalingConfig",), "minSize", "desiredSize", "maxSize"),
    "aws:autoscaling/group:Group": ((), "minSize", "desiredCapacity", "maxSize"),
    "aws:appautoscaling/target:Target": ((), "minCapacity", "", "maxCapacity"),
}
_GROUPS: Mapping[str, Path] = {
    "kubernetes:ray.io/v1:RayService": ("spec", "rayClusterConfig", "workerGroupSpecs"),
    "kubernetes:ray.io/v1:RayCluster": ("spec", "workerGroupSpecs"),
    "kubernetes:ray.io/v1:RayJob": ("spec", "rayClusterSpec", "workerGroupSpecs"),
}


@resource_rule(
    id="reliability.bounds-consistent",
    title="What scales by itself has a least, a wanted and a most in this order",
    severity="high",
    why="Bounds that contradict each other are taken by the API and then heeded by halves, or never scale.",
    fix="state min ≤ wanted ≤ max",
    types=(*_BOUNDS, *_GROUPS),
    levels=EVERYWHERE_ON_AWS,
)
def bounds_consistent(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the bounds of its type; of a Ray cluster at those of each group of workers."""
    if resource.type in _GROUPS:
        groups = _GROUPS[resource.type]
        for index in range(len(resource.items(*groups))):
            yield from _judged(resource, (*groups, index), "minReplicas", "replicas", "maxReplicas")
    else:
        yield from _judged(resource, *_BOUNDS[resource.type])


def _judged(resource: Resource, where: Path, least: str, wanted: str, most: str) -> Iterator[Answer]:
    low, high = resource.value(*where, least, default=1), resource.value(*where, most)
    if high is None:
        yield Problem(f"it states no {most}: nothing bounds it", path=text_of((*where, most)))
        return
    if low > high:
        yield Problem(f"{least} is {low}, {most} is {high}; allowed: {least} ≤ {most}", path=text_of((*where, least)))
        return
    middle = resource.value(*where, wanted) if wanted else None
    if middle is not None and not low <= middle <= high:
        yield Problem(f"{wanted} is {middle}; allowed: {low} to {high}", path=text_of((*where, wanted)))
