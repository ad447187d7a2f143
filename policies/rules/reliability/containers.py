"""Containers: each says what it needs, and how to tell that it works."""

from __future__ import annotations

from collections.abc import Iterator

from policies.plan import MISSING, Resource
from policies.pods import WORKLOADS, pods_of
from policies.rule import Answer, Problem, World, resource_rule
from policies.rules.reliability.replicas import SERVERS
from policies.scheduling.quantities import quantity


@resource_rule(
    id="reliability.probes",
    title="What answers requests has a probe of readiness and one of liveness",
    severity="medium",
    why="Without them traffic goes to pods that are still loading a model, and pods that hang are kept.",
    fix="state readinessProbe and livenessProbe",
    types=SERVERS,
)
def probes(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the first container of each pod, which is the one that serves; those beside it only help."""
    for pods in pods_of(resource):
        for one in pods.containers("containers"):
            for probe in ("readinessProbe", "livenessProbe"):
                if one.peek(probe) in (MISSING, {}):
                    yield Problem(f"{pods.title}, container {one.name}: no {probe}", path=one.where(probe))
            break


@resource_rule(
    id="reliability.requests-and-limits",
    title="Every container asks for CPUs and memory, and its memory is limited",
    severity="medium",
    why="A pod that asks for nothing is put where there is no room, and takes its neighbours along when it grows.",
    fix="state resources.requests of cpu and memory and resources.limits of memory",
    types=WORKLOADS,
)
def requests_and_limits(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at each container. CPUs are not limited: a limit throttles what would otherwise run on idle ones."""
    for pods in pods_of(resource):
        for one in pods.containers("containers", "initContainers"):
            who = f"{pods.title}, container {one.name}"
            for path in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
                if one.value("resources", *path) is None:
                    yield Problem(f"{who}: no {'.'.join(path)}", path=one.where("resources", *path))
            asked, most = one.value("resources", "requests", "memory"), one.value("resources", "limits", "memory")
            if asked is not None and most is not None and quantity(asked) > quantity(most):
                where = one.where("resources", "limits", "memory")
                yield Problem(f"{who}: asks for {asked} of memory and is limited to {most}", path=where)
