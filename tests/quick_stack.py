"""Throw-away stacks of the real engine, without what the Automation API asks the engine for besides."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pulumi import automation
from pulumi.automation._stack import StackInitMode


class QuickStack(automation.Stack):
    """A stack in a file backend, whose operations start the engine once each.

    The Automation API starts it three times more after an operation: twice for the outputs, and for the history. That
    is most of the time of a small program, and tests ask for the number of changes only, which lies on the disk.
    """

    @classmethod
    def of(cls, name: str, work: Path, variables: Mapping[str, str]) -> "QuickStack":
        """Make or select the stack of a project in the folder `work`."""
        workspace = automation.LocalWorkspace(work_dir=str(work), env_vars=variables)
        return cls(name, workspace, StackInitMode.CREATE_OR_SELECT)

    def outputs(self) -> automation.OutputMap:
        """No outputs: `automation.Stack` has them."""
        return {}

    def info(self, show_secrets: bool = True) -> automation.UpdateSummary | None:
        """What the newest entry of the history says."""
        state = Path(urlsplit(self.workspace.env_vars["PULUMI_BACKEND_URL"]).path)
        newest = max(state.glob(f".pulumi/history/*/{self.name}/*.history.json"), key=lambda file: file.name)
        entry: dict[str, Any] = json.loads(newest.read_text())
        return automation.UpdateSummary(
            entry["kind"], entry["startTime"], entry["message"], entry["environment"], {}, entry["result"],
            resource_changes=entry.get("resourceChanges"),
        )  # fmt: skip
