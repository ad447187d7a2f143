"""Runs one operation of the engine's command line: what people see, signals, and a typed result.

The engine draws its own progress on standard error, so that standard output stays free for a command's answer. What
the result holds comes from the engine's event log, not from that text.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from infra.engine.cache import Progress
from infra.engine.errors import EngineError

Name = Literal["up", "preview", "refresh", "destroy"]

_SECOND_SIGNAL_GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Finding:
    """What a policy pack reported."""

    policy: str
    pack: str
    level: str
    urn: str
    message: str


@dataclass(frozen=True)
class Result:
    """How an operation went.

    Attributes:
        operation: Which.
        stack: On which stack.
        ok: Whether it did all that was asked.
        changes: Number of resources by what happened or would happen: create, update, delete, same, …
        seconds: How long the engine took, in whole seconds.
        errors: What went wrong, as the engine reported it.
        findings: What policy packs reported.
    """

    operation: Name
    stack: str
    ok: bool
    changes: Mapping[str, int] = field(default_factory=dict)
    seconds: int = 0
    errors: Sequence[str] = ()
    findings: Sequence[Finding] = ()

    @property
    def changed(self) -> bool:
        """Whether anything but unchanged resources was seen."""
        return any(count for kind, count in self.changes.items() if kind not in ("same", "read"))


class OperationFailedError(EngineError):
    """The operation failed; the engine has shown the details on standard error."""

    def __init__(self, result: Result) -> None:
        self.result = result
        first = next((line for error in result.errors for line in error.splitlines() if line.strip()), "")
        more = f" (and {len(result.errors) - 1} more)" if len(result.errors) > 1 else ""
        super().__init__(
            f"{result.operation} of stack {result.stack} failed, details above{': ' + first if first else ''}{more}. "
            "What was done is kept: mend the cause and run the same command again."
        )


def run(
    command: Sequence[str], operation: Name, stack: str, environment: Mapping[str, str], project: Path, say: Progress
) -> Result:
    """Run the engine and wait for its end.

    The first Ctrl-C (or SIGTERM) asks it to finish the steps in flight, the second to stop at once, a third kills it.

    Raises:
        KeyboardInterrupt: It was interrupted, and has ended.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-events-") as folder:
        log = Path(folder) / "events.json"
        start = partial(
            subprocess.Popen,
            [*command, "--event-log", str(log)],
            cwd=project,
            # The event log is one of the engine's options for tools that drive it.
            env={**environment, "PULUMI_DEBUG_COMMANDS": "true"},
            stdin=subprocess.DEVNULL,
            stdout=_standard_error(),
        )
        with forwarded_signals(start, say) as (process, received):
            code = process.wait()
        result = read_result(log, operation, stack, code)
    if received and not result.ok:
        raise KeyboardInterrupt
    return result


def _standard_error() -> int:
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):  # captured
        return 2


@contextlib.contextmanager
def forwarded_signals(
    start: Callable[[], subprocess.Popen[Any]], say: Progress
) -> Iterator[tuple[subprocess.Popen[Any], list[int]]]:
    """Start a child and pass SIGINT and SIGTERM on to it as interrupts; yields it and those received so far.

    One that comes while the child is started is passed on as soon as it is there: it neither ends this process, which
    would leave the child alone, nor is it lost.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield start(), received
        return
    process: subprocess.Popen[Any] | None = None
    early: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        received.append(number)
        if len(received) == 1:
            say("stopping after the steps in flight; once more to stop at once")
        if process is None:
            early.append(number)  # whether from a terminal or not: that reaches only who is there
            return
        if len(received) > 2:
            process.kill()
        elif not (number == signal.SIGINT and in_foreground()):
            process.send_signal(signal.SIGINT)
        if len(received) == 2:
            timer = threading.Timer(_SECOND_SIGNAL_GRACE_SECONDS, process.kill)
            timer.daemon = True
            timer.start()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = start()
        if early:
            process.send_signal(signal.SIGINT)
        yield process, received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_foreground() -> bool:
    """Say whether a terminal's Ctrl-C reaches this whole process group, and so the engine without our help."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def read_result(log: Path, operation: Name, stack: str, code: int) -> Result:
    """Make a result of an event log and an exit status."""
    changes: dict[str, int] = {}
    seconds = 0
    errors: list[str] = []
    findings: list[Finding] = []
    for event in _events(log):
        if summary := event.get("summaryEvent"):
            changes = dict(summary.get("resourceChanges") or {})
            seconds = int(summary.get("durationSeconds") or 0)
        elif (diagnostic := event.get("diagnosticEvent")) and diagnostic.get("severity") == "error":
            text = diagnostic.get("message", "").strip()
            urn = diagnostic.get("urn", "").rpartition("::")[2]
            errors.append(f"{urn}: {text}" if urn else text)
        elif finding := event.get("policyEvent"):
            findings.append(
                Finding(
                    policy=finding.get("policyName", ""),
                    pack=finding.get("policyPackName", ""),
                    level=finding.get("enforcementLevel", ""),
                    urn=finding.get("resourceUrn", ""),
                    message=finding.get("message", "").strip(),
                )
            )
    return Result(operation, stack, code == 0, changes, seconds, tuple(errors), tuple(findings))


def _events(log: Path) -> Iterator[dict[str, Any]]:
    if not log.exists():
        return
    with log.open() as lines:
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of a killed engine
                yield json.loads(line)
