"""Throw-away stacks of the real engine, without what the Automation API asks the engine for besides."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pulumi import automation
from pulumi.automation._stack import StackInitMode

_END_SECONDS = 60


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


@contextmanager
def brought_to_an_end(program: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Give an inline program whose event loop is brought to its end with the block.

    Where an operation fails, the Automation API may leave the loop as it stood, with the program's coroutine in the
    midst of it: an error other than a cancellation has come out of one of its tasks. Such a coroutine raises when it is
    collected, in the midst of something else.

    Raises:
        AssertionError: The loop did not come to its end.
    """
    loops: list[asyncio.AbstractEventLoop] = []

    def run() -> None:
        loops.append(asyncio.get_running_loop())
        program()

    try:
        yield run
    finally:
        for loop in loops:
            _end(loop)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while not loop.is_closed():
        assert time.monotonic() < deadline, "the event loop of the program did not come to its end"
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        try:
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.close()
        except RuntimeError:  # the Automation API's thread runs it still, or one of the tasks has stopped it
            time.sleep(0.02)
