"""The environment's supervisord: started with its first process, driven over its socket, stopped after its last
process.

Several operations, and even several provider processes, work on one environment at the same time. Whatever touches the
supervisor's configuration or its life happens under a file lock; waiting for processes happens outside of it.
"""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from components import paths
from infra.provider import files, marks, rendering
from infra.provider.environment import scrubbed
from infra.provider.resource import Call, ResourceError

_PROGRAM = Path(__file__).with_name("supervisord.py")
_ANSWER_SECONDS = 30.0
_START_SECONDS = 30.0
_BAD_NAME, _ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED, _STILL_RUNNING = 10, 60, 70, 90, 91
_ENDED = ("STOPPED", "EXITED", "FATAL", "BACKOFF", "UNKNOWN")


class _SocketConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _SocketTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        del host
        return _SocketConnection(self._path)


class Supervisor:
    """The supervisor of the environment at `home`, whether it runs or not."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._socket = rendering.supervisor_socket(home)

    # --- asking ----------------------------------------------------------------------------------------------------

    def _ask(self, method: str, *arguments: object) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_SocketTransport(self._socket))
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except TimeoutError as error:
            raise ResourceError(
                f"the supervisor of {self.home} has not answered for {_ANSWER_SECONDS:.0f} s; is the machine busy?"
                f" See {paths.log_file(self.home, 'supervisor')}"
            ) from error

    def _ask_allowing(self, allowed: tuple[int, ...], method: str, *arguments: object) -> Any:
        """Ask, taking the fault codes of `allowed` as done."""
        try:
            return self._ask(method, *arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in allowed:
                raise ResourceError(f"the supervisor refused {method}{arguments}: {fault.faultString}") from fault
            return None

    def answers(self) -> bool:
        """Return whether a supervisor is there."""
        try:
            self._ask("getState")
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False
        return True

    def info(self, process: str) -> dict[str, Any] | None:
        """Return what the supervisor knows of a process (`statename`, `pid`, `start`, `now`, …), None for nothing."""
        try:
            found: dict[str, Any] = self._ask("getProcessInfo", process)
        except (OSError, HTTPException, xmlrpc.client.Error):
            return None
        return found

    # --- its life --------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, call: Call) -> Iterator[None]:
        """Hold the environment's lock."""
        files.make_private(self.home)
        descriptor = os.open(os.path.join(self.home, ".supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)  # noqa: PTH118
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    call.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def ensure(self, call: Call) -> None:
        """Have a supervisor that runs. Only under the lock.

        One that is dead or lost its socket cannot be used again: what it left behind is ended first, since a new one
        would start everything a second time.
        """
        run = paths.run_directory(self.home)
        for directory in (run, f"{run}/conf.d", f"{self.home}/log", paths.data_directory(self.home)):
            files.make_private(directory)
        configuration = f"{run}/supervisord.conf"
        wanted = rendering.supervisor_configuration(self.home)
        if files.read_text(configuration) != wanted:
            files.write_private(configuration, wanted)
        if self.answers():
            return
        marks.sweep(f"{marks.PROCESS}={rendering.mark(self.home, '')}")
        short = paths.short_directory(self.home)
        Path(short).mkdir(mode=0o700, exist_ok=True)
        files.require_own(short)
        Path(self._socket).unlink(missing_ok=True)
        call.progress("starting the supervisor")
        self._start(configuration)

    def _start(self, configuration: str) -> None:
        environment = scrubbed() | {
            marks.PROCESS: rendering.mark(self.home, "supervisor"),
            marks.SUPERVISOR: secrets.token_hex(8),
        }
        errors = f"{paths.run_directory(self.home)}/supervisor.err"
        with files.open_private(errors) as stderr:
            child = subprocess.Popen(
                [sys.executable, "-I", str(_PROGRAM), "-c", configuration],
                env=environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if child.poll() is not None or time.monotonic() > deadline:
                reason = files.tail(errors, 10) or files.tail(paths.log_file(self.home, "supervisor"), 10)
                raise ResourceError(f"the supervisor of {self.home} did not start:\n{reason}")
            time.sleep(0.03)

    def stop_if_unused(self, call: Call) -> None:
        """End the supervisor and remove its files when no process is left. Only under the lock."""
        left = list(Path(paths.run_directory(self.home), "conf.d").glob("*.ini"))
        if not left:
            self.stop(call)

    def stop(self, call: Call) -> None:
        """End the supervisor with all that it runs, and remove its files. Only under the lock."""
        if self.answers():
            pid = self._ask("getPID")
            self._ask("shutdown")
            deadline = time.monotonic() + 60
            while _is_alive(pid) and time.monotonic() < deadline:
                call.progress("stopping the supervisor")
                time.sleep(0.05)
        marks.sweep(f"{marks.PROCESS}={rendering.mark(self.home, '')}")
        for directory in (paths.run_directory(self.home), paths.short_directory(self.home)):
            shutil.rmtree(directory, ignore_errors=True)

    # --- its processes ---------------------------------------------------------------------------------------------

    def add(self, process: str) -> None:
        """Take up a process whose entry file was written. Only under the lock."""
        self._reload()
        self._ask_allowing((_ALREADY_ADDED,), "addProcessGroup", process)

    def start(self, process: str) -> None:
        """Start a process that was added, without waiting for it."""
        self._ask_allowing((_ALREADY_STARTED,), "startProcess", process, False)

    def end(self, process: str, patience: float) -> None:
        """Stop a process with its group, by SIGKILL when it takes longer than its stop timeout.

        Args:
            process: Its name.
            patience: Seconds to wait, more than the process's stop timeout.
        """
        deadline = time.monotonic() + patience
        with suppress(OSError, HTTPException):  # no supervisor, nothing to stop
            self._ask_allowing((_BAD_NAME, _NOT_RUNNING), "stopProcess", process, False)
        while (info := self.info(process)) and info["statename"] not in _ENDED and time.monotonic() < deadline:
            time.sleep(0.03)

    def forget(self, process: str, patience: float) -> None:
        """Drop a process that was stopped. Only under the lock.

        Args:
            process: Its name.
            patience: Seconds to wait for it when the supervisor restarted it just before it was stopped.
        """
        Path(rendering.entry_file(self.home, process)).unlink(missing_ok=True)
        deadline = time.monotonic() + patience
        while self.answers():
            try:
                self._ask("removeProcessGroup", process)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == _STILL_RUNNING and time.monotonic() < deadline:
                    self._ask_allowing((_BAD_NAME, _NOT_RUNNING), "stopProcess", process, False)
                    time.sleep(0.1)
                    continue
                if fault.faultCode != _BAD_NAME:
                    raise ResourceError(f"the supervisor cannot drop {process}: {fault.faultString}") from fault
            self._reload()
            return

    def _reload(self) -> None:
        try:
            self._ask("reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise ResourceError(f"the supervisor cannot read its configuration: {fault.faultString}") from fault


def _is_alive(pid: int) -> bool:
    """Return whether `pid` runs; one that is dead and only waits for its parent does not."""
    stat = files.read_text(f"/proc/{pid}/stat")
    return stat is not None and stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def shutdown(home: str) -> set[int]:
    """End everything that belongs to the environment at `home`, also what no state knows of; return what was killed.

    For `mlops down`: an `up` that was killed may leave a process that is in no state. Data and logs stay.
    """
    call = Call(home, lambda _message, _passing: None)
    supervisor = Supervisor(home)
    if not Path(home).is_dir():
        return set()
    with supervisor.locked(call):
        supervisor.stop(call)
        ours = (rendering.mark(home, ""), rendering.job_mark(home, ""))
        return marks.sweep(*(f"{marks.PROCESS}={mark}" for mark in ours))
