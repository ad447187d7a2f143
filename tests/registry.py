"""The registry's server, started for a test as a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.rehearsal.kubernetes.servers import held_ports

ROOT = Path(__file__).parents[1]
_TRIES = 1200
"""How often it is asked whether it is there, a tenth of a second apart."""


@contextmanager
def registry_server(data: Path, password: str, **variables: str) -> Iterator[int]:
    """Run the server until the block ends; gives its port on loopback once it answers.

    Args:
        data: folder of what it keeps.
        password: what it asks for.
        variables: more of its environment.

    Raises:
        AssertionError: it ended, or does not answer.
    """
    environment = {**os.environ, "MLOPS_DATA_DIR": str(data), "MLOPS_REGISTRY_PASSWORD": password, **variables}
    with held_ports(1) as [port]:
        command = [sys.executable, "-m", "training.registry_server", "--port", str(port)]
        with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
            try:
                for _ in range(_TRIES):
                    assert server.poll() is None, "the registry ended"
                    try:
                        httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
                        break
                    except httpx.HTTPError:
                        time.sleep(0.1)
                else:
                    raise AssertionError("the registry does not answer")
                yield port
            finally:
                server.terminate()
