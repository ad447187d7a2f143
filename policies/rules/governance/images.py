"""What runs is what was built and scanned: images by digest, from the environment's own registry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from policies.facts import Facts
from policies.plan import Resource, UndeterminedError, unknowns
from policies.pods import WORKLOADS, pods_of
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule

_BY_DIGEST: Final = re.compile(r"(?P<repository>[^@\s]+)@sha256:[0-9a-f]{64}")
_HOLDS: Final = ("image", "containers", "initContainers", "template", "spec")
"""Names under which values of charts hold images."""
_CHART: Final = "kubernetes:helm.sh/v3:Release"


@resource_rule(
    id="governance.image-by-digest",
    title="Every container runs an image of the environment's own registry, named by its digest",
    severity="high",
    why="A tag is moved by whoever may push; an image from elsewhere was neither scanned nor kept here.",
    fix="push the image to the environment's repository, and state its digest in `aws.images`",
    references=("EU AI Act Art. 15", "NIST AI RMF GOVERN 6.1"),
    types=WORKLOADS,
    levels=EVERYWHERE_ON_AWS,
)
def image_by_digest(workload: Resource, world: World) -> Iterator[Answer]:
    """Look at each container of each pod."""
    for pods in pods_of(workload):
        for container in pods.containers():
            if text := _wrong(str(container.value("image", default="")), world.facts):
                yield Problem(f"container {container.name}: {text}", path=container.where("image"))


@resource_rule(
    id="governance.chart-image-by-digest",
    title="Images that we state in a chart's values are named by digest, from the environment's own registry",
    severity="high",
    why="A chart runs what its values say; what we state there is ours to answer for.",
    fix="push the image to the environment's repository, and state its digest in `aws.images`",
    references=("EU AI Act Art. 15", "NIST AI RMF GOVERN 6.1"),
    types=(_CHART,),
    levels=EVERYWHERE_ON_AWS,
)
def chart_image_by_digest(chart: Resource, world: World) -> Iterator[Answer]:
    """Look for images anywhere in the values; those that a chart itself brings are bound by its version."""
    for path, image in _images(chart.peek("values"), "values"):
        if text := _wrong(image, world.facts):
            yield Problem(text, path=path)


def _wrong(image: str, facts: Facts) -> str | None:
    """Return what is wrong with the address of an image."""
    found = _BY_DIGEST.fullmatch(image)
    if not found:
        return f"the image {image!r} is not named by its digest (…@sha256:…)"
    account, region = facts.setting("aws", "accountId"), facts.setting("aws", "region")
    if account is None or region is None:
        return "the settings name no account and region, so that nobody knows which registry is the environment's"
    own = rf"{account}\.dkr\.ecr\.{re.escape(region)}\.amazonaws\.com(\.cn)?/{_names(facts)}/[a-z0-9/_.-]+"
    if re.fullmatch(own, found["repository"]):
        return None
    return (
        f"the image {found['repository']!r} is of another registry than the environment's, "
        f"{account}.dkr.ecr.{region}.amazonaws.com/{facts.client}/{facts.setting('environment')}/…"
    )


def _names(facts: Facts) -> str:
    return f"{re.escape(facts.client)}/{re.escape(str(facts.setting('environment', default=facts.environment)))}"


def _images(values: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the images that values state, as one text or as repository, tag and digest.

    Raises:
        UndeterminedError: a part that holds one, or whole containers, is not known.
    """
    match values:
        case Mapping():
            for name, value in values.items():
                below = f"{path}.{name}"
                if name in _HOLDS and (hidden := next(unknowns(_shallow(value)), None)):
                    raise UndeterminedError(below, hidden.origins)
                if name == "image" and isinstance(value, str):
                    yield below, value
                elif name == "image" and isinstance(value, Mapping) and isinstance(value.get("repository"), str):
                    yield below, _joined(value)
                else:
                    yield from _images(value, below)
        case list() | tuple():
            for index, value in enumerate(values):
                yield from _images(value, f"{path}[{index}]")


def _shallow(value: Any) -> Any:
    """Return what of a value could hide an image: an image whole, of a list its items, and of anything else itself."""
    if isinstance(value, Mapping):
        return value if "repository" in value else ()
    return tuple(() if isinstance(one, Mapping) else one for one in value) if isinstance(value, list | tuple) else value


def _joined(image: Mapping[str, Any]) -> str:
    host = f"{image['registry']}/" if isinstance(image.get("registry"), str) else ""
    tag = f":{image['tag']}" if image.get("tag") else ""
    digest = f"@{image['digest']}" if image.get("digest") else ""
    return f"{host}{image['repository']}{tag}{digest}"
