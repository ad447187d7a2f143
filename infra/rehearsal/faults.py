"""Faults that a rehearsal injects into the stand-ins, to see that the next `up` mends what they leave.

A fault is a file in the folder that MLOPS_REHEARSAL_FAULTS names, so that it outlives the plugin that it crashes.
Each strikes once: whoever removes the file is struck.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from infra.provider.resource import ResourceError

CRASH_CODE = 70
"""Exit code of a plugin that a fault crashed."""

FAULTS = "MLOPS_REHEARSAL_FAULTS"
"""Variable with the folder of faults."""


class RefusedError(ResourceError):
    """A fault: the call is refused."""


def strike(operation: str, token: str, moment: str) -> None:
    """Let a fault strike if one waits for this operation.

    Args:
        operation: "create", "update", "read" or "delete".
        token: Type token of the resource.
        moment: "before" the API is called, or "after", when the engine does not know yet what has come of it.

    Raises:
        RefusedError: A fault refuses the call.
    """
    folder = os.environ.get(FAULTS)
    if not folder or not Path(folder).is_dir():
        return
    for file in sorted(Path(folder).glob("*.json")):
        try:
            fault = json.loads(file.read_text())
        except FileNotFoundError:
            continue
        if [fault[key] for key in ("operation", "token", "moment")] != [operation, token, moment]:
            continue
        try:
            file.unlink()
        except FileNotFoundError:
            continue
        if fault["effect"] == "crash":
            os._exit(CRASH_CODE)
        raise RefusedError(f"{operation} of {token} was refused: this is a fault that the rehearsal injected")


def inject(folder: Path, operation: str, token: str, *, moment: str = "before", effect: str = "refuse") -> None:
    """Put a fault in wait.

    Args:
        folder: What MLOPS_REHEARSAL_FAULTS of the plugin names.
        operation: "create", "update", "read" or "delete".
        token: Type token of the resource whose first such operation is struck.
        moment: "before" or "after" the API is called.
        effect: "refuse" the call or "crash" the plugin.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fault = {"operation": operation, "token": token, "moment": moment, "effect": effect}
    (folder / f"{len(list(folder.iterdir())):03}.json").write_text(json.dumps(fault))
