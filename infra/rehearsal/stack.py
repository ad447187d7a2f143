"""The stack that is rehearsed: the program as it is, with state, passphrase and settings of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.engine.environment import engine_environment
from infra.engine.stack import Stack
from infra.releases_target import REHEARSAL

_OWN_KEYS = ("secretsprovider", "encryptionsalt", "encryptedkey")
_PERSONAL = re.compile(r"^(AWS_|PULUMI_(BACKEND_URL|ACCESS_TOKEN|CONFIG_PASSPHRASE|STACK)|KUBECONFIG$)")
SECRET_STAND_IN = "rehearsal-only"  # noqa: S105 - stands where a secret would be


@dataclass(frozen=True)
class RehearsedStack(Stack):
    """A stack whose settings are a copy in the rehearsal's folder.

    Attributes:
        settings_file: That copy.
    """

    settings_file: Path = Path()

    @property
    def file(self) -> Path:
        """The copy of the stack's settings."""
        return self.settings_file

    def unprotect(self) -> None:
        """Lift the engine's protection of all resources, which production has against a destroy by mistake."""
        if self.exists():
            self._engine("state", "unprotect", "--all", "--yes", "--stack", self.name)


def settings_for_rehearsal(original: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stack's settings as they are rehearsed.

    The rehearsal has a passphrase of its own: what names the stack's key is dropped, and an encrypted value, which only
    that key could open, is a placeholder.

    Args:
        original: Content of the stack's file.
        changes: Settings that differ, by full key (`mlops:region`).
    """
    kept = {name: value for name, value in original.items() if name not in _OWN_KEYS}
    kept["config"] = merged(_without_secrets(kept.get("config") or {}), changes)
    return kept


def merged(stated: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes on top, mappings key by key."""
    found = dict(stated)
    for name, value in changes.items():
        inner = found.get(name)
        found[name] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found


def _without_secrets(value: Any) -> Any:
    match value:
        case {"secure": str()} if len(value) == 1:
            return SECRET_STAND_IN
        case dict():
            return {name: _without_secrets(item) for name, item in value.items()}
        case list():
            return [_without_secrets(item) for item in value]
    return value


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables without those that lead to a person's accounts, backends and clusters."""
    return {name: value for name, value in environ.items() if not _PERSONAL.match(name)}


def rehearsal_environment(project: Path, folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return the engine's environment: nothing of this person's accounts reaches it.

    Args:
        project: The project's folder.
        folder: The rehearsal's folder; state and what belongs to it are there.
        more: What the phase adds.
    """
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    own = own_environment(os.environ)
    own["PULUMI_BACKEND_URL"] = f"file://{state}"
    environment = engine_environment(project, environ=own, acquire_plugins=False)
    return {
        **environment,
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_EC2_METADATA_DISABLED": "true",
        REHEARSAL: "true",
        **more,
    }


def rehearsed_stack(
    project: Path, name: str, folder: Path, more: Mapping[str, str], changes: Mapping[str, Any] | None = None
) -> RehearsedStack:
    """Return the stack `name` of `project` for one phase of its rehearsal in `folder`."""
    original = yaml.safe_load((project / "stacks" / f"Pulumi.{name}.yaml").read_text()) or {}
    file = folder / f"Pulumi.{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(settings_for_rehearsal(original, changes or {})))
    return RehearsedStack(project, name, rehearsal_environment(project, folder, more), settings_file=file)
