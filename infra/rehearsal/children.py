"""Helper processes of a rehearsal: each prints its port on the first line and ends when its input is closed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.engine.errors import EngineError
from infra.provider.environment import scrubbed

_PROJECT = Path(__file__).resolve().parents[2]
_END_SECONDS = 5.0


@contextlib.contextmanager
def child(module: str, environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run `python -m module` while the block runs; yields the port that it prints.

    Args:
        module: The program.
        environment: Variables beside the few that every child inherits. Secrets go this way, never as arguments.
        log: Where its messages go.

    Raises:
        EngineError: It did not start.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=_PROJECT,
            env={**scrubbed(), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the engine; the children are needed until it has ended
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port.isdigit():
            raise EngineError(f"{module} did not start; see {log}")
        yield int(port)
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        process.kill()
        process.wait()
        process.stdout.close()
