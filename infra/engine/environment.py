"""The environment that the engine runs in: which backend keeps the state, which passphrase encrypts its secrets.

Out of the box both lie in the project's `.mlops/` folder. `pulumi login`, PULUMI_BACKEND_URL, PULUMI_ACCESS_TOKEN, a
`backend:` in Pulumi.yaml and PULUMI_CONFIG_PASSPHRASE(_FILE) mean what they mean everywhere.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from infra.engine.cache import Progress, silent
from infra.engine.errors import EngineError
from infra.engine.tools import engine_path, ensure


@dataclass(frozen=True)
class Backend:
    """Where the engine keeps state.

    Attributes:
        url: Its address, or None where the engine is to find it by itself (Pulumi.yaml, login).
        home: The engine's own folder (PULUMI_HOME): credentials and plugins.
        chosen_by: What decided it.
        folder: Folder of a file backend, or None for any other.
    """

    url: str | None
    home: Path
    chosen_by: Literal["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "Pulumi.yaml", "pulumi login", "default"]
    folder: Path | None


def file_backend_folder(url: str, project: Path) -> Path | None:
    """Return the folder behind a `file://` address (`~` and relative ones included), or None for other addresses."""
    if not url.startswith("file://"):
        return None
    path = unquote(url.removeprefix("file://").partition("?")[0])
    return (project / Path(path).expanduser()).resolve() if path else project


def choose_backend(project: Path, environ: Mapping[str, str]) -> Backend:
    """Return the backend that a run in this project uses."""
    own_home = project / ".mlops" / "pulumi"
    user_home = Path(environ.get("PULUMI_HOME") or Path(environ.get("HOME") or Path.home()) / ".pulumi")
    home = user_home if environ.get("PULUMI_HOME") or _logged_in(user_home) else own_home
    if url := environ.get("PULUMI_BACKEND_URL"):
        return Backend(url, home, "PULUMI_BACKEND_URL", file_backend_folder(url, project))
    if url := _project_backend(project):
        return Backend(None, home, "Pulumi.yaml", file_backend_folder(url, project))
    for candidate in (user_home, own_home):
        if url := _logged_in(candidate):
            return Backend(None, candidate, "pulumi login", file_backend_folder(url, project))
    if environ.get("PULUMI_ACCESS_TOKEN"):
        return Backend(None, user_home, "PULUMI_ACCESS_TOKEN", None)
    folder = project / ".mlops" / "state"
    return Backend(f"file://{quote(str(folder))}", home, "default", folder)


def _project_backend(project: Path) -> str:
    """Return `backend.url` of Pulumi.yaml, or an empty text."""
    text = (project / "Pulumi.yaml").read_text()
    block = re.search(r"^backend:[^\n]*\n?((?:[ \t]+[^\n]*\n?)*)", text, re.MULTILINE)
    url = re.search(r"\burl:\s*[\"']?([^\s\"'}]+)", block[0]) if block else None
    return url[1] if url else ""


def _logged_in(home: Path) -> str:
    """Return the backend that `pulumi login` chose in a PULUMI_HOME, or an empty text."""
    try:
        return str(json.loads((home / "credentials.json").read_text()).get("current") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def passphrase_file(project: Path, backend: Backend) -> Path:
    """Return the file with this project's generated passphrase, made (mode 0600) when there is none.

    Raises:
        EngineError: It is gone although state that needs it is there, or others can read it.
    """
    path = project / ".mlops" / "passphrase"
    stacks = backend.folder / ".pulumi" / "stacks" if backend.folder else None
    if not path.exists():
        if stacks and any(stacks.rglob("*.json")):
            raise EngineError(
                f"{path} is gone, but {stacks} holds state whose secrets it encrypts. Put the file back, or name the "
                "passphrase by PULUMI_CONFIG_PASSPHRASE_FILE. If it is lost, stop what the stacks run and remove "
                f"{backend.folder}."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".passphrase.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(32))
        try:
            os.link(draft, path)  # of two processes at once, the first one's stays
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        raise EngineError(
            f"{path} can be read by others; it encrypts every secret of the local state. chmod 600 {path}"
        )
    return path


def engine_environment(
    project: Path,
    progress: Progress = silent,
    *,
    environ: Mapping[str, str] | None = None,
    acquire_plugins: bool = True,
) -> dict[str, str]:
    """Return the variables for running the engine in this project, getting the engine first where it is missing.

    Args:
        project: The project's folder.
        progress: Told what goes on while the engine is fetched or built.
        environ: Variables to start from; this process's by default.
        acquire_plugins: Whether the engine may download provider plugins that it misses. A stack of the local target
            uses none, and an official engine would fetch those of every installed provider package for it.

    Returns:
        `environ` with what the engine needs; MLOPS_PULUMI is the engine's path.

    Raises:
        EngineError: No engine can be had, or the passphrase is missing.
    """
    environ = os.environ if environ is None else environ
    pulumi = ensure("pulumi", progress, environ=environ)
    backend = choose_backend(project, environ)
    result = dict(environ)
    result["MLOPS_PULUMI"] = str(pulumi)
    result["MLOPS_PROJECT"] = str(project)
    result["PULUMI_HOME"] = str(backend.home)
    backend.home.mkdir(parents=True, exist_ok=True)
    if backend.url:
        result["PULUMI_BACKEND_URL"] = backend.url
    if backend.chosen_by == "default" and backend.folder:
        backend.folder.mkdir(parents=True, exist_ok=True)
    if backend.folder and not ("PULUMI_CONFIG_PASSPHRASE" in environ or environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")):
        result["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(passphrase_file(project, backend))
        # The salt of a generated passphrase lives in the state; stack files stay the same on every machine.
        result["PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"] = "true"
    result["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    result["PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK"] = "true"
    if not acquire_plugins:
        result["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    path = [str(folder) for folder in engine_path(pulumi, environ)]
    rest = [entry for entry in environ.get("PATH", os.defpath).split(os.pathsep) if entry not in path]
    result["PATH"] = os.pathsep.join(path + rest)
    # Programs, policy packs and providers start in every operation: let them keep their bytecode.
    result.pop("PYTHONDONTWRITEBYTECODE", None)
    return result
