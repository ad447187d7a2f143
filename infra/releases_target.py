"""From the settings of a stack of releases to where it releases to; imports nothing of AWS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from components.blueprint import Trust
from components.releases_layer import ReleasesTarget
from infra.settings import Settings
from infra.settings.aws import Aws
from infra.settings.problems import Problem, SettingsError

REHEARSAL = "MLOPS_REHEARSAL"
"""Environment variable that a rehearsal sets for the programs it runs."""
_EXAMPLES = "rehearsal"
"""Trust root of the shipped examples, `policies.releases.keys.REHEARSAL`; named here, since that import costs time."""


def releases_target(settings: Settings, aws: Aws, foundation: str, *, project: Path, stack: str) -> ReleasesTarget:
    """Where a stack of releases releases to, and whose approvals count there.

    Args:
        settings: the stack's settings, which begin with those of its foundation.
        aws: their section of this target.
        foundation: stack that holds the platform.
        project: folder of the project.
        stack: name of the stack.

    Raises:
        SettingsError: there are no models, one has no pinned version with a manifest, or the allowed signers can't be
            read.
    """
    file = f"stacks/Pulumi.{stack}.yaml"
    problems = [
        Problem(
            f"models.{name}.version",
            "training is not part of a stack of releases: pin a version that has a manifest in stacks/releases",
            file,
            model.version,
        )
        for name, model in sorted(settings.models.items())
        if model.version == "latest"
    ]
    if not settings.models:
        problems.append(Problem("models", "a stack of releases states at least one model", file))
    if problems:
        raise SettingsError(problems)
    return ReleasesTarget(foundation=foundation, trust=trust(settings, aws, project))


def trust(settings: Settings, aws: Aws, project: Path) -> Trust:
    """Whose approvals count in an environment."""
    stated = aws.inference
    return Trust(
        environment=settings.environment,
        approval=stated.approval,
        root=stated.trust_root or settings.environment,
        signers=read_signers(stated.allowed_signers, project),
    )


def read_signers(path: str | None, project: Path) -> str:
    """The text of a file of allowed signers; empty where none is stated.

    Raises:
        SettingsError: the file is not there.
    """
    if path is None:
        return ""
    try:
        return (project / path).read_text("utf-8")
    except OSError as error:
        reason = f"the file of allowed signers can't be read: {error.strerror}; state one below the project's folder"
        raise SettingsError([Problem(path="aws.inference.allowedSigners", reason=reason, file=path)]) from None


def require_own_trust(
    settings: Settings, stack: str, *, preview: bool, environ: Mapping[str, str] = os.environ
) -> None:
    """Refuse to change anything real while the keys of the shipped examples are trusted.

    Args:
        settings: the stack's settings.
        stack: name of the stack, for the message.
        preview: whether nothing is changed.
        environ: the process's environment.

    Raises:
        SettingsError: the stack trusts them, and this is neither a preview nor a rehearsal.
    """
    if settings.aws is None or settings.aws.inference.trust_root != _EXAMPLES or preview or environ.get(REHEARSAL):
        return
    reason = (
        "these are the keys of the shipped examples, and count in previews and rehearsals only: state a file of your "
        "own keys as aws.inference.allowedSigners, and no trustRoot (docs/how-to/release-a-model.md)"
    )
    raise SettingsError(
        [Problem("aws.inference.trustRoot", reason, f"stacks/Pulumi.{settings.foundation or stack}.yaml", _EXAMPLES)]
    )
