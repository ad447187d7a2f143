"""The manifests that a plan's releases carry: of what is released, of its shadows, and of what was released before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from policies.plan import MISSING, Plan, Resource, Step
from policies.releases.manifest import Manifest

RELEASE: Final = "blueprint:index:ModelRelease"


class ManifestError(Exception):
    """A manifest is not well formed; the message names the key."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One version that a release brings: the one that takes over, or a shadow beside it.

    Attributes:
        path: input that its manifest stands at.
        version: version that is asked for.
        stated: its manifest as it stands there; None where there is none.
        shadow: whether it only gets copies of requests.
    """

    path: str
    version: str
    stated: Mapping[str, Any] | None
    shadow: bool = False


def candidates(release: Resource) -> Iterator[Candidate]:
    """Yield what a release brings.

    Raises:
        UndeterminedError: a manifest or a version is not known.
    """
    yield Candidate(path="manifest", version=str(release.value("version")), stated=release.value("manifest"))
    for index in range(len(release.items("shadows"))):
        way = ("shadows", index)
        yield Candidate(
            path=f"shadows[{index}].manifest",
            version=str(release.value(*way, "version")),
            stated=release.value(*way, "manifest"),
            shadow=True,
        )


def parsed(stated: Mapping[str, Any]) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: it is not well formed.
    """
    try:
        return Manifest.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the manifest"
        raise ManifestError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True, kw_only=True)
class Previous:
    """What was released before.

    Attributes:
        stated: its manifest; None where it had none, or there was nothing.
        certain: whether the state of the stack says so; else the project does, and only the environment knows.
    """

    stated: Mapping[str, Any] | None
    certain: bool


def previous(plan: Plan, release: Resource) -> Previous:
    """Return what a release takes the place of: by the state of the stack, else by the project's own manifests.

    Raises:
        UndeterminedError: it is not known.
    """
    step = _steps(plan).get(release.urn)
    new = release.value("manifest")
    if step is not None and step.old is not None and step.old.peek("manifest") is not MISSING:
        old = step.old.value("manifest")
        if old.get("digest") != (new or {}).get("digest"):
            return Previous(stated=old, certain=True)
    return Previous(stated=release.value("previous"), certain=False)


def _steps(plan: Plan) -> Mapping[str, Step]:
    return plan.once("manifests.steps", lambda: {one.urn: one for one in plan.steps or () if one.type == RELEASE})
