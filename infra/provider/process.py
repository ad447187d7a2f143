"""`Process`: a supervised process, started, watched until healthy, mended when it is found dead or changed.

The files on disk and the supervisor say what is really there; the inputs say what should be. Whatever differs makes
`diff` ask for an update, and an update makes it so with as little as possible: a process that already runs with the
wanted files is only waited for.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import Any

from components import paths
from infra.provider import files, health, marks, ports, rendering
from infra.provider.codec import UNKNOWN, Properties
from infra.provider.inputs import (
    Input,
    absolute_path,
    between,
    check,
    file_name,
    filled_text,
    flag,
    http_address,
    name,
    text,
    variable,
)
from infra.provider.resource import Call, CancelledError, Difference, ResourceError, changed
from infra.provider.supervisor import Supervisor

_SECONDS = between(1, 3600)
_PORT = between(1, 65535)
_LOG_LINES = 20
_LIVES = ("RUNNING", "STARTING")

FIELDS = {
    "name": Input(rule=name, required=True),
    "home": Input(rule=absolute_path, required=True),
    "command": Input(items=Input(rule=text), required=True),
    "directory": Input(rule=absolute_path, required=True),
    "environment": Input(each=Input(rule=text), keys=variable, default={}),
    "secretEnvironment": Input(each=Input(rule=text, secret=True), keys=variable, default={}),
    "files": Input(each=Input(rule=text, secret=True), keys=file_name, default={}),
    "ports": Input(each=Input(rule=_PORT), default={}),
    "health": Input(
        fields={
            "http": Input(rule=http_address),
            "tcp": Input(rule=_PORT),
            "headers": Input(each=Input(rule=filled_text, secret=True)),
            "timeoutSeconds": Input(rule=_SECONDS, default=60),
        }
    ),
    "restart": Input(
        fields={"always": Input(rule=flag, default=True), "maxRetries": Input(rule=between(0, 100_000))},
        default={"always": True},
    ),
    "stopTimeoutSeconds": Input(rule=_SECONDS, default=10),
    "triggers": Input(each=Input(rule=text), default={}),
}


@dataclass(frozen=True)
class Found:
    """What is there of a process.

    Attributes:
        status: `running`; `starting` (alive, not healthy yet, within its time); `unhealthy` (alive, beyond its time);
            `stopped`; `changed` (its files are not those of the inputs).
        pid: Its process id, 0 for none.
    """

    status: str
    pid: int

    def outputs(self) -> Properties:
        """Return it as computed outputs."""
        return {"status": self.status, "pid": self.pid}


class ProcessResource:
    """Drives the environment's supervisor for one process."""

    # --- decisions -------------------------------------------------------------------------------------------------

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Validate; see `resource.Resource`."""
        checked, problems = check(FIELDS, inputs)
        if checked.get("command") == []:
            problems.append("`command` is empty: it needs at least a program")
        looks = checked.get("health")
        if isinstance(looks, dict) and ("http" in looks) == ("tcp" in looks):
            problems.append("`health` needs exactly one of `http` (an address) and `tcp` (a port)")
        for table in ("environment", "secretEnvironment"):
            if marks.PROCESS in (checked.get(table) or {}):
                problems.append(f"`{table}.{marks.PROCESS}` is the provider's own mark; use another name")
        return checked, problems

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Replace for another name or home, update for anything else, also for what the last look found."""
        different = changed(old_inputs, inputs)
        moved = tuple(name for name in different if name in ("name", "home"))
        if moved:
            return Difference(replace=moved)
        return Difference(update=different + (() if state.get("status") == "running" else ("status",)))

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Promise that it will run."""
        del inputs, state
        return {"status": "running", "pid": UNKNOWN}

    # --- effects ---------------------------------------------------------------------------------------------------

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Start it and wait until it is healthy; one that an interrupted `up` started is adopted."""
        try:
            if not _adopt(call, inputs):
                _start(call, inputs)
                _wait(call, inputs)
        except ResourceError:
            _remove(_unstoppable(call), inputs)
            raise
        return inputs["name"], look(inputs).outputs()

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Look at files, supervisor and health."""
        del state
        found = look(inputs)
        if found.status in ("starting", "unhealthy"):  # one late answer of a busy machine is no change
            call.sleep(1)
            found = look(inputs)
        return found.outputs()

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Bring it to `inputs`. When the new configuration fails, the old one is started again."""
        del state
        if _adopt(call, inputs):
            return look(inputs).outputs()
        new_ports = {
            purpose: port for purpose, port in inputs["ports"].items() if port not in old_inputs["ports"].values()
        }
        if look(old_inputs).pid:  # do not stop what works for something that cannot start
            ports.require_free(inputs["name"], new_ports)
        try:
            _start(call, inputs)
            _wait(call, inputs)
        except ResourceError as error:
            if rendering.fingerprint(old_inputs) == rendering.fingerprint(inputs):
                raise
            raise ResourceError(f"{error}\n{_restore(_unstoppable(call), inputs, old_inputs)}") from error
        return look(inputs).outputs()

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Stop it with all its descendants; the last process takes the supervisor with it."""
        del state
        _remove(_unstoppable(call), inputs)


def look(inputs: Properties) -> Found:
    """Return what is there of the process that `inputs` describe."""
    home, process = inputs["home"], inputs["name"]
    info = Supervisor(home).info(process)
    pid = int(info["pid"]) if info and info["statename"] in _LIVES else 0
    if _differing(rendering.process_files(inputs)):
        return Found("changed", pid)
    if info is None or not pid:
        return Found("stopped", 0)
    if health.probe(inputs.get("health")) is None:
        return Found("running", pid)
    young = info["now"] - info["start"] < _timeout(inputs)
    return Found("starting" if young else "unhealthy", pid)


def _differing(expected: dict[str, str]) -> list[str]:
    return [path for path, content in expected.items() if files.read_text(path) != content]


def _timeout(inputs: Properties) -> float:
    return float((inputs.get("health") or {}).get("timeoutSeconds", 60))


def _unstoppable(call: Call) -> Call:
    """Return `call` for cleaning up, which Ctrl-C must not interrupt half-way."""
    return replace(call, cancelled=Event())


def _adopt(call: Call, inputs: Properties) -> bool:
    """Return whether the process runs as wanted already, or gets there within its time without a restart."""
    found = look(inputs)
    if found.status == "starting":
        call.progress("is starting already, waiting for it")
        try:
            _wait(call, inputs)
        except CancelledError:
            raise
        except ResourceError:
            return False
        return True
    return found.status == "running"


def _start(call: Call, inputs: Properties) -> None:
    """Stop what runs under this name, write the files, start it."""
    home, process = inputs["home"], inputs["name"]
    supervisor = Supervisor(home)
    with supervisor.locked(call):
        supervisor.ensure(call)
    _stop(call, inputs)
    ports.require_free(process, inputs["ports"])
    rmtree(Path(paths.process_file(home, process, "_")).parent, ignore_errors=True)
    Path(rendering.starts_file(home, process)).unlink(missing_ok=True)
    call.progress("starting")
    with supervisor.locked(call):
        supervisor.ensure(call)  # again: without this entry it had nothing left when another process went meanwhile
        # The entry comes last: a supervisor that reads it finds everything it names.
        for path, content in sorted(
            rendering.process_files(inputs).items(), key=lambda item: item[0] == rendering.entry_file(home, process)
        ):
            files.write_private(path, content)
        supervisor.add(process)
    supervisor.start(process)


def _stop(call: Call, inputs: Properties) -> None:
    home, process = inputs["home"], inputs["name"]
    supervisor = Supervisor(home)
    patience = inputs["stopTimeoutSeconds"] + 10.0
    if supervisor.info(process):
        call.progress("stopping")
        supervisor.end(process, patience)
    with supervisor.locked(call):
        supervisor.forget(process, patience)
    marks.sweep(f"{marks.PROCESS}={rendering.mark(home, process)}")  # last, when nobody starts it again


def _remove(call: Call, inputs: Properties) -> None:
    """Stop it and remove its files; the log stays, to be read."""
    home, process = inputs["home"], inputs["name"]
    if not Path(home).is_dir():
        return
    _stop(call, inputs)
    supervisor = Supervisor(home)
    with supervisor.locked(call):
        for directory in (rendering.process_directory(home, process), f"{paths.run_directory(home)}/files/{process}"):
            rmtree(directory, ignore_errors=True)
        supervisor.stop_if_unused(call)


def _restore(call: Call, inputs: Properties, old_inputs: Properties) -> str:
    """Start the old configuration again after a new one failed; return what came of it, in words."""
    try:
        _stop(call, inputs)
        _start(call, old_inputs)
    except ResourceError as error:
        return f"The old configuration could not be started again: {error}"
    return "The old configuration was started again"


class _Exits:
    """Counts how often a process has ended by itself, from looks at it."""

    def __init__(self) -> None:
        self._starts: set[Any] = set()
        self._pids: set[int] = set()

    def count(self, info: dict[str, Any]) -> int:
        """Take another look into account; return the count so far."""
        alive = info["statename"] in _LIVES
        self._starts.add(info["start"])
        self._pids |= {info["pid"]} - {0}
        return max(len(self._starts), len(self._pids)) - (1 if alive else 0)


def _wait(call: Call, inputs: Properties) -> None:
    """Wait until the process is healthy; raise `ResourceError` with the end of its log when it will not be."""
    home, process, looks = inputs["home"], inputs["name"], inputs.get("health")
    supervisor, exits, began = Supervisor(home), _Exits(), time.monotonic()
    log_start = files.size(paths.log_file(home, process))
    timeout, problem = _timeout(inputs), "not started yet"
    told = 0.0
    while True:
        info = supervisor.info(process)
        waited = time.monotonic() - began
        if info is None:
            raise ResourceError(f"{process}: the supervisor does not know it any more; was it stopped by hand?")
        problem = health.probe(looks) or "" if info["statename"] in _LIVES else _ended(info)
        seen = health.Observation(info["statename"], exits.count(info), problem or None, waited)
        tolerated = 1 if inputs["restart"]["always"] else 0
        verdict = health.judge(seen, timeout, probed=bool(looks), tolerated_exits=tolerated)
        if verdict == "healthy":
            call.progress(f"healthy after {waited:.1f} s")
            return
        if verdict == "failed":
            cause = f"not healthy after {waited:.0f} s: {problem}" if waited >= timeout else problem
            raise ResourceError(f"{process}: {cause}.\n{_log(home, process, log_start)}")
        if waited - told >= 1:
            told = waited
            call.progress(f"waiting {waited:.0f} of {timeout:.0f} s: {problem or 'just started'}")
        call.sleep(0.1)


def _ended(info: dict[str, Any]) -> str:
    reason = str(info["spawnerr"])
    if not reason:
        return f"it ended with status {info['exitstatus']}"
    if reason.startswith("Exited too quickly"):  # the supervisor keeps no status then
        return "it ended right after its start"
    return f"it could not be started: {reason}"


def _log(home: str, process: str, start: int) -> str:
    lines = files.tail(paths.log_file(home, process), _LOG_LINES, start)
    where = f"{paths.log_file(home, process)}"
    return f"Last lines of {where}:\n{_indented(lines.splitlines())}" if lines else f"It wrote nothing to {where}"


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
