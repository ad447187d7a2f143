"""What a stack's gate states: kind of environment, settings, commit, and a digest of how it is configured."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from components.gate import GateArgs
from infra import git
from infra.settings import Problem, Settings, SettingsError
from policies.facts import environment_kind
from policies.releases.record import canonical

_GIT_SECONDS = 20


def gate_args(
    settings: Settings, *, project: Path, stack: str, commit: str = "", secret: Collection[str] = ()
) -> GateArgs:
    """What the gate of a stack states.

    Args:
        settings: the stack's settings.
        project: folder of the project.
        stack: name of the stack.
        commit: the program's commit, as of `commit_of`.
        secret: top-level keys of the settings that hold secrets: they count in the digest, and are shown nowhere.

    Raises:
        SettingsError: the file of allowed signers is stated, but cannot be read.
    """
    stated = settings.model_dump(mode="json", by_alias=True, exclude_none=True)
    shown = {name: value for name, value in stated.items() if name not in secret}
    return GateArgs(
        environment=environment_kind(settings.environment, settings.target, settings.gates.kind),
        stack=stack,
        client=settings.client,
        target=settings.target,
        settings=shown,
        commit=commit,
        configuration=configuration(stack, stated, secret),
        trust_root=settings.gates.trust_root or settings.environment,
        allowed_signers=_signers(settings.gates.allowed_signers, project),
        project=str(project),
    )


def configuration(stack: str, stated: Mapping[str, Any], secret: Collection[str]) -> str:
    """Return the digest of a stack's settings; the part that is secret enters as a digest of its own."""
    hidden = {name: _digest({"stack": stack, "value": stated[name]}) for name in sorted(secret) if name in stated}
    shown = {name: value for name, value in stated.items() if name not in secret}
    return _digest({"settings": shown, "secret": hidden})


def _digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def commit_of(project: Path) -> str:
    """Return the commit that a project's folder holds, with `-dirty` where any file differs from it or is new.

    Empty where there is no git, no repository, or none that this user may read: a gate that asks for one then fails.
    """
    head = git.answer(project, "rev-parse", "HEAD", seconds=_GIT_SECONDS)
    changed = git.answer(project, "status", "--porcelain", seconds=_GIT_SECONDS) if head else None
    if not head or changed is None:
        return ""
    return head + ("-dirty" if changed else "")


def _signers(path: str | None, project: Path) -> str:
    if path is None:
        return ""
    try:
        return (project / path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = f"the file of allowed signers can't be read: {error}; state one below the project's folder"
        raise SettingsError([Problem("gates.allowedSigners", reason, path)]) from None
