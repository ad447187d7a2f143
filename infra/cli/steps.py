"""The steps of `./mlops test`: one after another, or two of them side by side."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.cli.output import say

_BOTH_GIB = 12
"""Memory for two steps: the platform takes up to 6 GiB, the workers and rehearsals of the other tests less."""
_GIVE_WAY = 5
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Step:
    """A command that checks something, and its name for people."""

    name: str
    command: list[str]
    idle: int | None = None
    """The exit code that says that there was nothing to do."""

    def told(self, code: int) -> str:
        """Return in a word or two how it ended."""
        if code == self.idle:
            return "nothing to run"
        return "ok" if code == 0 else f"failed ({code})"


def room_for_both() -> bool:
    """Say whether the machine has the memory for the platform's tests and the others at a time."""
    return psutil.virtual_memory().available >= _BOTH_GIB * 2**30


def run_steps(groups: Sequence[Sequence[Step]], folder: Path) -> dict[str, int]:
    """Run groups of steps one after another, the steps of a group side by side.

    A platform waits more than it works: for a rollout's next step, a scrape, the slot of a schedule. So the first step
    of a group is shown as it goes on; those beside it have the first claim to the processor, and are shown when all
    of the group have ended.

    Args:
        groups: What to run; a step that fails keeps none of the others from running.
        folder: Where the commands run.

    Returns:
        What each step ended with.

    Raises:
        KeyboardInterrupt: Ctrl-C, after the steps that were running have put away what they had started.
    """
    codes: dict[str, int] = {}
    for group in groups:
        codes |= _side_by_side(group, folder)
    return codes


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Keep Ctrl-C from ending this process; yields those received so far."""
    received: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # else the steps are to be as deaf
        signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def _side_by_side(steps: Sequence[Step], folder: Path) -> dict[str, int]:
    say(f"── {' beside '.join(step.name for step in steps)}")
    # With bytecode kept, also of tests with their rewritten assertions, collecting them takes half the time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begin = time.monotonic()
    ended: dict[str, tuple[int, float]] = {}
    with contextlib.ExitStack() as files, _interrupts() as received:
        kept = [files.enter_context(tempfile.TemporaryFile()) for _ in steps[1:]]
        first = ["nice", "-n", str(_GIVE_WAY)] if kept else []
        running = {
            step.name: subprocess.Popen(
                [*(first if output is None else []), *step.command],
                cwd=folder, env=environment, stdout=output, stderr=output and subprocess.STDOUT,
            )
            for step, output in zip(steps, [None, *kept], strict=True)
        }  # fmt: skip
        if received:  # those that are there have got it, too; not one that was started after it
            for process in running.values():
                process.send_signal(signal.SIGINT)
        while len(ended) < len(running):
            for name, process in running.items():
                if name not in ended and process.poll() is not None:
                    ended[name] = (process.returncode, time.monotonic() - begin)
            time.sleep(_LOOK_SECONDS)
        for output in kept:
            output.seek(0)
            sys.stdout.write(output.read().decode("utf-8", "replace"))
            sys.stdout.flush()
    if received:
        raise KeyboardInterrupt
    named = {step.name: step for step in steps}
    for name, (code, seconds) in ended.items():
        say(f"── {name}: {named[name].told(code)} in {seconds:.0f} s")
    return {name: code for name, (code, _) in ended.items()}
