"""The manifests of releases as files: `stacks/releases/<model>/<version>.yaml`.

Read by the program, so that a preview and the policies see what is released, and written by `./mlops release`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.settings.problems import Problem, SettingsError

RELEASES = Path("stacks") / "releases"


def manifest_file(project: Path, model: str, version: str) -> Path:
    """Where the manifest of a version is."""
    return project / RELEASES / model / f"{version}.yaml"


def read_manifest(project: Path, model: str, version: str) -> Mapping[str, Any] | None:
    """The manifest of a pinned version as plain data; None for `latest`, and where there is none.

    Raises:
        SettingsError: the file is no manifest, or one of something else; it names what is wrong.
    """
    if version == "latest":
        return None
    file = manifest_file(project, model, version)
    if not file.is_file():
        return None
    from pydantic import ValidationError  # a program without pinned versions need not know manifests

    from policies.releases.manifest import Manifest

    named = file.relative_to(project).as_posix()
    try:
        manifest = Manifest.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except ValidationError as error:
        found = [Problem(".".join(map(str, one["loc"])), one["msg"], named) for one in error.errors()]
        raise SettingsError(found) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError([Problem("", f"cannot be read: {error}", named)]) from None
    for name, stated, wanted in (("model", manifest.model, model), ("version", manifest.version, version)):
        if stated != wanted:
            raise SettingsError([Problem(name, f"is of {stated}, but the file is for {wanted}", named)])
    return manifest.to_json()


def read_previous(project: Path, model: str, version: str) -> Mapping[str, Any] | None:
    """The manifest of the newest version before a pinned one that has a manifest: what a rollback can return to.

    Raises:
        SettingsError: its file is no manifest.
    """
    if version == "latest":
        return None
    named = [path.stem for path in (project / RELEASES / model).glob("*.yaml")]
    earlier = [int(name) for name in named if name.isdecimal() and int(name) < int(version)]
    return read_manifest(project, model, str(max(earlier))) if earlier else None


def write_manifest(project: Path, manifest: Mapping[str, Any]) -> Path:
    """Write a manifest to its place; returns the file."""
    file = manifest_file(project, str(manifest["model"]), str(manifest["version"]))
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True, width=120)
    temporary = file.with_suffix(".yaml.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    return file
