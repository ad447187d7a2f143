"""Every resource says who answers for it: owner, client, environment, cost centre and class of its data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from policies.ownership import label, label_value, stated
from policies.plan import MISSING, Plan, Resource, Secret, UndeterminedError, Unknown
from policies.pods import WORKLOADS
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.taggable import taggable

_REFERENCES: Final = ("NIST AI RMF GOVERN 2.1", "ISO/IEC 42001 A.3.2", "ISO/IEC 42001 A.4.2")
_WHY: Final = (
    "What nobody owns is neither paid for by who uses it, nor patched, nor deleted; and an incident in it finds nobody."
)
_LAUNCHERS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass": ("spec", "tags"),
    "aws:ec2/launchTemplate:LaunchTemplate": ("tagSpecifications",),
}
_LAUNCHED: Final = ("instance", "volume")
"""What a launch template makes that is billed and holds data."""


@resource_rule(
    id="governance.resource-tagged",
    title="Every AWS resource that can carry tags names owner, client, environment, cost centre and data class",
    severity="medium",
    why=_WHY,
    fix="make it with the environment's provider, whose default tags state them, and override none of them",
    references=_REFERENCES,
    types=("aws:*",),
    levels=EVERYWHERE_ON_AWS,
)
def resource_tagged(resource: Resource, world: World) -> Iterator[Answer]:
    """Compare the tags in force (the provider's default tags and the resource's own) with what the stack states."""
    reached = taggable().get(resource.type)
    if reached is None and resource.peek("tags") is MISSING:
        return
    yield from _compared(world, lambda mark: _tag(world.plan, resource, mark, bool(reached)), "tags", "of its tags,")


@resource_rule(
    id="governance.nodes-tagged",
    title="Machines that Kubernetes starts carry the same tags",
    severity="medium",
    why="Nodes are the dearest part of an environment, and the provider's default tags do not reach them.",
    fix="state the environment's tags in `spec.tags` of the node class, or in `tagSpecifications` of the template",
    references=_REFERENCES,
    types=tuple(_LAUNCHERS),
    levels=EVERYWHERE_ON_AWS,
)
def nodes_tagged(resource: Resource, world: World) -> Iterator[Answer]:
    """Compare the tags that a node class or a launch template gives to what it starts."""
    path = _LAUNCHERS[resource.type]
    if path[-1] == "tags":
        yield from _compared(world, partial(resource.peek, *path), ".".join(path), "of its tags,")
        return
    by_kind: dict[str, tuple[str | int, ...]] = {
        resource.value(*path, index, "resourceType"): (*path, index, "tags")
        for index in range(len(resource.items(*path)))
    }
    for kind in _LAUNCHED:
        way = by_kind.get(kind)
        if way is None:
            yield Problem(f"no tags are stated for each {kind} that it starts", path=".".join(path))
            continue
        shown = f"{'.'.join(path)}[{way[1]}].tags"
        yield from _compared(world, partial(resource.peek, *way), shown, f"of the tags of each {kind},")


@resource_rule(
    id="governance.namespace-labelled",
    title="Namespaces and workloads name owner, client, environment, cost centre and data class",
    severity="low",
    why=_WHY,
    fix="make it under the platform's component, which adds the labels `mlops/owner` and so on to what it makes",
    references=_REFERENCES,
    types=("kubernetes:core/v1:Namespace", *WORKLOADS),
    levels=EVERYWHERE_ON_AWS,
)
def namespace_labelled(resource: Resource, world: World) -> Iterator[Answer]:
    """Compare the labels of an object with what the stack states."""
    path = ("metadata", "labels")
    marks = (label, label_value)
    yield from _compared(world, partial(resource.peek, *path), ".".join(path), "of its labels,", marks)


_Spelling = tuple[Callable[[str], str], Callable[[str], str]]
_AS_IT_IS: Final[_Spelling] = (str, str)


def _compared(
    world: World, read: Callable[[str], Any], path: str, what: str, spelling: _Spelling = _AS_IT_IS
) -> Iterator[Answer]:
    """Compare what stands under each mark with what the stack states; one answer for all of them.

    Args:
        world: the world.
        read: returns what stands under a name.
        path: where that is.
        what: how the answer begins.
        spelling: how names and values are written there.
    """
    wrong = []
    for mark, value in stated(world.facts).items():
        name, wanted = spelling[0](mark), value and spelling[1](value)
        found = read(name)
        if isinstance(found, Secret):
            found = found.value
        if isinstance(found, Unknown):
            raise UndeterminedError(f"{path}.{name}", found.origins)
        if found is MISSING or not str(found).strip():
            wrong.append(f"{name} is missing" + (f" (the stack states {wanted!r})" if wanted else ""))
        elif wanted is not None and str(found) != wanted:
            wrong.append(f"{name} is {found!r} (the stack states {wanted!r})")
    if wrong:
        yield Problem(f"{what} {', '.join(wrong)}", path=path)


def _tag(plan: Plan, resource: Resource, mark: str, reached: bool) -> Any:
    """Return a tag in force: the resource's own wins."""
    own = resource.peek("tags", mark)
    if own is not MISSING or not reached:
        return own
    provider = plan.by_urn.get(resource.provider)
    if provider is None:
        return MISSING
    tags = provider.peek("defaultTags")
    if isinstance(tags, str):  # nested inputs of providers are JSON on the wire
        tags = json.loads(tags)
    if isinstance(tags, Unknown):
        return tags
    found = tags.get("tags") if isinstance(tags, Mapping) else None
    if isinstance(found, Unknown):
        return found
    return found.get(mark, MISSING) if isinstance(found, Mapping) else MISSING
