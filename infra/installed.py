"""Programs that were installed before the Pulumi program runs; looking them up never gets or builds anything."""

from __future__ import annotations

import os
from pathlib import Path

from infra.engine import tools
from infra.engine.errors import EngineError


def prometheus() -> str:
    """Path of the Prometheus binary: what `MLOPS_PROMETHEUS` names, else a usable one on PATH or in the tool cache.

    Raises:
        EngineError: there is none; the message says how to get it.
    """
    named = os.environ.get("MLOPS_PROMETHEUS")
    if named:
        program = Path(named) / "prometheus" if Path(named).is_dir() else Path(named)
        if not os.access(program, os.X_OK):
            raise EngineError(f"MLOPS_PROMETHEUS = {named}: there is no program that can be run")
        return str(program)
    found = tools.find("prometheus")
    if found is None:
        raise EngineError("Prometheus is not installed yet; run `./mlops up`, which gets it")
    return str(found.program)
