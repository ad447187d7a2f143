"""The rollout controller of a rehearsal: the real one, on loopback, by the clock of the rehearsal.

Its settings are those that the foundation's component writes, but for where things lie. Its clock is an input: what is
shipped is approved for a year, and a rehearsal judges it by a day of that year.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from components.blueprint import Trust
from infra.engine.errors import EngineError
from infra.provider import rest
from infra.provider.environment import scrubbed
from infra.rehearsal.kubernetes.servers import held_ports

_PROJECT = Path(__file__).resolve().parents[2]
_READY_SECONDS = 180.0
_OFFSET = "MLOPS_REHEARSAL_CLOCK_OFFSET"
_PROGRAM = f"""
import os, runpy, sys, time
real, offset = time.time, float(os.environ["{_OFFSET}"])
time.time = lambda: real() + offset
sys.argv[0] = "serving.control"
runpy.run_module("serving.control", run_name="__main__")
"""
"""Runs the controller with its clock put forward; by its import string, since this code never imports it."""


@dataclass(frozen=True)
class RunningController:
    """A controller that runs.

    Attributes:
        port: where it listens on loopback.
        admin_token: what administrators show.
        replica_token: what replicas show.
    """

    port: int
    admin_token: str = field(repr=False)
    replica_token: str = field(repr=False)


@contextlib.contextmanager
def controller(folder: Path, trust: Trust, now: datetime, *, rehearsal: bool = True) -> Iterator[RunningController]:
    """Run a controller while the block runs.

    Args:
        folder: where its database, its settings and its log are.
        trust: whose approvals count.
        now: what its clock says when it starts.
        rehearsal: whether its environment is one; no other takes the trust root of the examples.

    Raises:
        EngineError: it does not start; the text ends with its last words.
    """
    with held_ports(1) as [port]:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = RunningController(port, secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        signers = folder / "allowed_signers"
        signers.write_text(trust.signers)
        document = {
            "host": "127.0.0.1",
            "port": made.port,
            "database": f"sqlite:///{folder}/control.db",
            "snapshot": str(folder / "snapshot.json"),
            "snapshotKey": secrets.token_urlsafe(32),
            "adminToken": made.admin_token,
            "replicaToken": made.replica_token,
            "rolloutTimeoutSeconds": 60,
            "environment": trust.environment,
            "approval": trust.approval,
            "signature": "required",
            "trustRoots": [{"name": trust.root, "path": str(signers)}],
            "rehearsal": rehearsal,
        }
        settings = folder / "control.json"
        with os.fdopen(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(document, file)
        log = folder / "control.log"
        offset = {_OFFSET: str(now.timestamp() - time.time())}
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-c", _PROGRAM, "--config", str(settings)],
                cwd=_PROJECT,
                env={**scrubbed(), **offset},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait(made.port, process, log)
            yield made
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        with contextlib.suppress(rest.UnreachableError):
            rest.request("GET", f"http://127.0.0.1:{port}/v1/health", timeout=2)
            return
        if process.poll() is not None or time.monotonic() > deadline:
            words = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise EngineError(
                f"the rollout controller of the rehearsal did not start; its last words ({log}):\n{words}"
            )
        time.sleep(0.1)
