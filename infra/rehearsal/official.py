"""The official `aws` plugin in a rehearsal: used where the engine finds it in the version that the program asks for.

It reaches moto by AWS_ENDPOINT_URL, which every AWS SDK heeds. S3 needs no path style stated: at an address that is a
number, the SDKs' own endpoint rules put a bucket's name into the path.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.engine.environment import choose_backend
from infra.rehearsal.stack import own_environment

_FOLDER = re.compile(r"resource-aws-v(\d+\.\d+\.\d+)")
_PLUGIN = "pulumi-resource-aws"


@dataclass(frozen=True)
class Choice:
    """Who plays the providers.

    Attributes:
        official: versions of the official plugins that are used, by provider.
        notes: what is installed and not used, for the report.
    """

    official: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def choose(home: Path, wanted: str | None = None) -> Choice:
    """Look for the official plugin among those that the engine finds.

    The engine takes exactly the version that the program's SDK names, so that another one is none.

    Args:
        home: the engine's own folder (PULUMI_HOME).
        wanted: that version; the one of the SDK that is installed unless stated.
    """
    wanted = wanted or importlib.metadata.version("pulumi-aws")
    installed = sorted(match[1] for path in (home / "plugins").glob("*") if (match := _whole(path)))
    if wanted in installed:
        return Choice(official={"aws": wanted})
    if installed:
        found = ", ".join(installed)
        return Choice(notes=(f"official aws plugin {found} is installed and not used: the program asks for {wanted}",))
    return Choice()


def home(project: Path) -> Path:
    """Return the engine's own folder (PULUMI_HOME) in a rehearsal of a project."""
    return choose_backend(project, own_environment(os.environ)).home


def _whole(folder: Path) -> re.Match[str] | None:
    """Match a folder that holds a plugin; the engine marks one that it has not finished by a file beside it."""
    unfinished = folder.with_name(f"{folder.name}.partial").exists()
    return _FOLDER.fullmatch(folder.name) if (folder / _PLUGIN).is_file() and not unfinished else None
