"""The plan of a stack of this checkout from nothing, for tests and benchmarks of what judges plans."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from infra.planning.runs import Program
from policies.plan import Plan
from policies.preview import plan_from_preview


def planned(project: Path, stack: str, base: Path | None = None) -> Plan:
    """Return the plan of a stack.

    Args:
        project: folder of the checkout.
        stack: name of the stack.
        base: a checkout with which it is compared; none means that everything is created.

    Raises:
        PlanError: it cannot be planned.
    """
    folder = Path(tempfile.mkdtemp(prefix="mlops-plan-"))
    try:
        if base is not None:
            Program(base, stack, folder, project).register()
        return plan_from_preview(Program(project, stack, folder, project).preview().document, stack)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
