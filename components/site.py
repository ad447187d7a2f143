"""Where an environment of the `local` target lives on this machine, and how its programs are started."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path

from components import code, paths

LOOPBACK = "127.0.0.1"
SLOW_START = 300
"""How long a server may take to be healthy, in seconds. Each takes a few on an idle machine; two minutes were seen on
two cores with ten other programs running. One that ends while it starts is reported at once all the same."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One environment on this machine.

    Attributes:
        stack: name of the stack.
        home: the environment's folder (absolute).
        project: folder of the project's code (absolute).
        python: interpreter of the project's virtual environment (absolute).
    """

    stack: str
    home: str
    project: str
    python: str

    def data(self, *parts: str) -> str:
        """A place among the data that outlives the processes."""
        return os.path.join(paths.data_directory(self.home), *parts)  # noqa: PTH118 - plain strings go into inputs

    def file(self, process: str, name: str) -> str:
        """Where a configuration file of a process is written before it starts."""
        return paths.process_file(self.home, process, name)

    def module(self, name: str, *arguments: str) -> list[str]:
        """Command that runs a module of the project."""
        return [self.python, "-m", name, *arguments]

    def programs(self) -> str:
        """Folder of the programs that the virtual environment brings along."""
        return str(Path(self.python).parent)

    def environment(self) -> dict[str, str]:
        """What each of our Python processes needs: our code on the path, output as it is written, no calls home.

        One thread in numerical libraries: many processes share few cores, and a thread per core in each of them makes
        all of them slower.
        """
        return {
            "PYTHONPATH": self.project,
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "DO_NOT_TRACK": "1",
            "MLOPS_STACK": self.stack,
            "MLOPS_DATA_DIR": self.data(),
        }

    def triggers(self, *folders: str) -> dict[str, str]:
        """What must restart a process: a change of the installed packages, or of the folders whose code it runs."""
        locked = {"packages": code.digest(self.project, ["requirements.lock"])}
        return locked | ({"code": code.digest(self.project, folders)} if folders else {})


def url(port: int) -> str:
    """Address of a server of this environment."""
    return f"http://{LOOPBACK}:{port}"
