"""Where a `Job` runs: as a child of the provider, or on a Ray cluster through its jobs API.

Both return when the command ended well and raise with the end of its output otherwise. What a job prints is shown
while it runs, its latest line at most once a second.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from infra.provider import files, marks, rendering, rest
from infra.provider.environment import scrubbed
from infra.provider.resource import Call, ResourceError

_LOG_LINES = 20
_POLL_SECONDS = 1.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a job.

    Attributes:
        name: Name of the job.
        submission: Id that is the same for the same job and key, so that a run is found again.
        launch_file: What to run, for `launch`.
        log_file: Where the output of a child goes.
        mark: Mark in the environment of a child.
        environment: Variables that are no secrets.
        runner: The input `runner`.
        timeout: Seconds after which the run is stopped.
    """

    name: str
    submission: str
    launch_file: str
    log_file: str
    mark: str
    environment: dict[str, str]
    runner: dict[str, Any] = field(repr=False)
    timeout: float


class _Progress:
    """Shows the newest line of a growing output, and keeps its end for an error."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._shown = ""

    def show(self, output: str, seconds: float) -> None:
        lines = output.splitlines()
        latest = _COLOURS.sub("", next((line for line in reversed(lines) if line.strip()), ""))
        text = f"{seconds:.0f} s: {latest[:200]}" if latest else f"running for {seconds:.0f} s"
        if text != self._shown:
            self._shown = text
            self._call.progress(text)


def _failure(run: Run, cause: str, output: str) -> ResourceError:
    lines = "\n".join(f"    {_COLOURS.sub('', line)}" for line in output.splitlines()[-_LOG_LINES:])
    return ResourceError(f"{run.name}: {cause}.\n" + (f"Last lines of its output:\n{lines}" if lines else "No output"))


# --- a child of the provider ---------------------------------------------------------------------------------------


def run_as_child(call: Call, run: Run) -> None:
    """Run as a child process, which dies with the provider. One left over from an earlier provider is ended first."""
    marks.sweep(f"{marks.PROCESS}={run.mark}")
    with files.open_private(run.log_file) as log:
        child = subprocess.Popen(
            rendering.launch_command(run.launch_file),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=scrubbed(),
            start_new_session=True,
        )
    began, progress = time.monotonic(), _Progress(call)
    try:
        while child.poll() is None:
            seconds = time.monotonic() - began
            if seconds > run.timeout:
                raise _failure(run, f"stopped after {run.timeout:g} s, its `timeoutSeconds`", _tail(run))
            progress.show(_tail(run), seconds)
            call.sleep(min(_POLL_SECONDS, 0.05 + seconds))
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # it carries its mark only once it has become the command
        marks.sweep(f"{marks.PROCESS}={run.mark}")
        child.wait()
    if child.returncode != 0:
        raise _failure(run, f"ended with status {child.returncode}", _tail(run))


def _tail(run: Run) -> str:
    return files.tail(run.log_file, _LOG_LINES)


# --- Ray -----------------------------------------------------------------------------------------------------------

Step = Literal["submit", "resubmit", "wait", "done", "failed"]


def next_step(status: str | None, *, ours: bool) -> Step:
    """Decide what to do about a submission.

    Args:
        status: What Ray says of it, None when it does not know it.
        ours: Whether this operation submitted it. If not, it was left by an `up` that was interrupted, or failed then:
            one that still runs is waited for, one that ended without a recorded result is run again.
    """
    if status is None:
        return "failed" if ours else "submit"
    if status in ("PENDING", "RUNNING"):
        return "wait"
    if not ours:
        return "resubmit"
    return "done" if status == "SUCCEEDED" else "failed"


def run_on_ray(call: Call, run: Run) -> None:
    """Submit to Ray, or attach to the same submission, and follow it to its end."""
    _Submission(call, run).follow()


_NO_AGENT = "No available agent"
"""What Ray's dashboard answers with status 500 while it has not heard of the node's agent, or not for some time."""


class _NotYetError(ResourceError):
    """Ray answers and cannot take the job yet."""


class _Submission:
    def __init__(self, call: Call, run: Run) -> None:
        self._call = call
        self._run = run
        self._token = run.runner.get("token") or None
        self._jobs = run.runner["url"].rstrip("/") + "/api/jobs/"
        self._address = self._jobs + quote(run.submission, safe="")

    def follow(self) -> None:
        began, progress, ours, submitted = time.monotonic(), _Progress(self._call), False, False
        while True:
            info = self._patiently(self._info, began)
            step = next_step(info.get("status") if info else None, ours=ours)
            if step == "resubmit":
                self._patiently(self._forget, began)
            if step in ("submit", "resubmit"):
                self._patiently(self._submit, began)
                ours = submitted = True
            elif step == "wait":
                if not submitted:
                    self._call.message("is running on Ray already: following it")
                ours = submitted = True  # attached: from now on its end is this operation's end
            elif step == "done":
                return
            else:
                raise _failure(self._run, _ray_reason(info), self._logs())
            seconds = time.monotonic() - began
            if seconds > self._run.timeout:
                output = self._logs()
                self._ask("POST", self._address + "/stop")
                raise _failure(self._run, f"stopped after {self._run.timeout:g} s, its `timeoutSeconds`", output)
            progress.show(self._logs() if step == "wait" else "", seconds)
            self._call.sleep(_POLL_SECONDS)

    def _patiently(self, operation: Callable[[], Any], began: float, patience: float = 180.0) -> Any:
        """Do `operation`, again for a while when Ray does not answer.

        A dashboard is busy at times, and a head node that is started anew by its supervisor takes minutes on a busy
        machine.
        """
        deadline = time.monotonic() + min(patience, max(0.0, self._run.timeout - (time.monotonic() - began)))
        while True:
            try:
                return operation()
            except (rest.UnreachableError, _NotYetError):
                if time.monotonic() >= deadline:
                    raise
                self._call.progress("waiting for Ray's dashboard")
                self._call.sleep(_POLL_SECONDS)

    def _ask(self, method: str, address: str, body: object = None) -> rest.Answer:
        return rest.request(method, address, token=self._token, body=body, timeout=30)

    def _info(self) -> dict[str, Any] | None:
        answer = self._ask("GET", self._address)
        if answer.status == 404:
            return None
        if not answer.ok:
            raise ResourceError(f"{self._run.name}: Ray refuses to tell about the job, {answer.reason()}")
        info: dict[str, Any] = answer.body
        return info

    def _forget(self) -> None:
        answer = self._ask("DELETE", self._address)
        if not answer.ok and answer.status != 404:
            raise self._refusal(answer)

    def _submit(self) -> None:
        answer = self._ask(
            "POST",
            self._jobs,
            {
                "entrypoint": f"exec {shlex.join(rendering.launch_command(self._run.launch_file))}",
                "submission_id": self._run.submission,
                # Ray's pages show these: no secrets. They are here for the job's tasks, which run in other processes.
                "runtime_env": {"env_vars": self._run.environment},
            },
        )
        if not answer.ok and self._info() is None:  # else somebody was faster, with the same job
            raise self._refusal(answer)

    def _refusal(self, answer: rest.Answer) -> ResourceError:
        error = _NotYetError if _NO_AGENT in answer.reason() else ResourceError
        return error(f"{self._run.name}: Ray refuses the job, {answer.reason()}")

    def _logs(self) -> str:
        try:
            answer = self._ask("GET", self._address + "/logs")
        except rest.UnreachableError:
            return ""
        return str(answer.body.get("logs") or "") if answer.ok and isinstance(answer.body, dict) else ""


def _ray_reason(info: dict[str, Any] | None) -> str:
    if info is None:
        return "Ray forgot the job; did the cluster restart?"
    message = str(info.get("message") or "").strip().splitlines()
    return f"Ray says {info.get('status')}" + (f": {message[0]}" if message else "")
