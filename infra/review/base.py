"""The state of a stack as the base commit would have made it, kept between reviews.

A base is registered once: its state depends on nothing but the commit, the stack, and the code that makes up outputs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from infra.engine.errors import EngineError
from infra.planning.runs import Program, tools_home
from infra.review.changes import Change

_MAKERS = ("infra/planning", "infra/rehearsal", "infra/provider", "infra/engine")
_KEPT = 40
"""Number of states that are kept; one has about a megabyte."""


def planning_version(project: Path) -> str:
    """Return a digest of the code that makes states, and of the tools that run it."""
    digest = hashlib.sha256()
    for folder in _MAKERS:
        for path in sorted((project / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(project)}\0".encode() + path.read_bytes())
    for name in ("uv.lock", "pylock.toml", "requirements.lock"):
        if (project / name).exists():
            digest.update((project / name).read_bytes())
    return digest.hexdigest()[:16]


def base_state(change: Change, checkout: Path, stack: str, folder: Path, version: str) -> str:
    """Put the state of a stack at the base into the folder of a plan.

    Args:
        change: the change.
        checkout: the files of the base.
        stack: name of the stack.
        folder: folder of the plan.
        version: what `planning_version` returned.

    Returns:
        A note for the reader: how the base was had.

    Raises:
        EngineError: the base cannot be registered.
    """
    short = change.base[:12]
    if not (checkout / "stacks" / f"Pulumi.{stack}.yaml").exists():
        return f"{short} has no stack {stack}: everything is created."
    program = Program(checkout, stack, folder, change.project)
    cache = change.project / ".mlops" / "review"
    kept = cache / f"{stack}-{change.base[:20]}-{version}.json"
    if kept.exists():
        program.restore(kept)
        os.utime(kept)
    else:
        tools_home(change.project, checkout)
        try:
            program.register()
        except EngineError as error:
            raise EngineError(
                f"the base {short} cannot be planned, so that there is nothing to compare with: {error}."
                " `--base` takes an earlier commit that can"
            ) from None
        _keep(program.state_file, kept)
    return f"Planned without an account: {short} was registered with stand-ins and made-up outputs, and compared with."


def _keep(state: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_name(f".{kept.name}.{os.getpid()}")
    shutil.copyfile(state, draft)
    draft.replace(kept)
    for old in sorted(kept.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
