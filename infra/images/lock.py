"""The lock of an image: the part of the project's lock that an extra needs, with the same versions and hashes.

What a package needs is read from the metadata of the installed packages, which come from that same lock. Nothing is
resolved here, so that an image can't hold a version that was not tested.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = "3.11"
"""Python of the images: the oldest that the project supports, and the one its types and tests are checked with."""
MACHINES = ("x86_64", "aarch64")
_HEAD = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>.+?))? \\$")


@dataclass(frozen=True)
class Image:
    """An image.

    Attributes:
        name: its name, that of its folder and of its extra in pyproject.toml.
        code: folders of the project that it holds.
        also: packages that its code needs beside those of its extra, of what the whole project depends on.
    """

    name: str
    code: tuple[str, ...]
    also: tuple[str, ...]


IMAGES = (
    Image(
        "serving",
        ("serving", "policies/releases", "policies/ledger"),
        ("cryptography", "httpx", "pydantic", "sqlalchemy"),
    ),
    Image(
        "training",
        ("training", "serving/runtime", "policies/releases", "policies/ledger"),
        ("boto3", "croniter", "cryptography", "httpx", "pydantic", "sqlalchemy"),
    ),
)


def image_lock(project: Path, image: Image) -> str:
    """Return the text of an image's lock.

    Raises:
        KeyError: a package that it needs is not in the project's lock.
        importlib.metadata.PackageNotFoundError: one is not installed.
    """
    stated = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    entries = locked((project / "requirements.lock").read_text("utf-8"))
    roots = [Requirement(text) for text in stated["optional-dependencies"][image.name]]
    needed = closure([*roots, *map(Requirement, image.also)])
    lines = [
        f"# Written by `python -m infra.images --write` from requirements.lock: what the image `{image.name}` holds,",
        f"# for Python {PYTHON} on Linux.",
    ]
    for name in sorted(needed):
        lines += entries[name]
    return "\n".join(lines) + "\n"


def locked(text: str) -> dict[str, list[str]]:
    """Return the lines of each package of a lock, of the version that the images' Python on Linux takes."""
    entries: dict[str, list[str]] = {}
    taken: list[str] | None = None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            marker = head["marker"]
            taken = None
            if not marker or any(Marker(marker).evaluate(environment) for environment in environments()):
                taken = entries.setdefault(canonicalize_name(head["name"]), [])
                taken.append(f"{head['name']}=={head['version']} \\")
        elif taken is not None and line.startswith("    --hash="):
            taken.append(line)
    return entries


def environments() -> list[dict[str, str]]:
    """What markers are asked about: the images' Python on each kind of machine."""
    return [
        {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{PYTHON}.0",
            "python_version": PYTHON,
            "sys_platform": "linux",
        }
        for machine in MACHINES
    ]


def closure(roots: Iterable[Requirement]) -> set[str]:
    """Return the names of all packages that some need, themselves included."""
    seen: dict[str, set[str]] = {}
    queue = [(canonicalize_name(root.name), {"", *root.extras}) for root in roots]
    while queue:
        name, extras = queue.pop()
        new = extras - seen.setdefault(name, set())
        if not new:
            continue
        seen[name] |= new
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None and "" not in new:
                continue
            if requirement.marker is None or _wanted(requirement.marker, new):
                queue.append((canonicalize_name(requirement.name), {"", *requirement.extras}))
    return set(seen)


def _wanted(marker: Marker, extras: Iterable[str]) -> bool:
    return any(marker.evaluate({**environment, "extra": extra}) for environment in environments() for extra in extras)
