"""Stop the processes of candidates for a moment, so that rounds with and without them can take turns.

To start and end such a process takes half a minute, in which a shared machine's speed changes by more than what a
candidate costs. A stopped process takes no processor time and is there at once when it goes on; what it holds is its
memory. It must go on before Ray Serve thinks it dead: within 10 s for a candidate, within 60 s for a shadow.
"""

import contextlib
from collections.abc import Iterator

import psutil

from serving.state import CANDIDATE_PREFIX

_TITLE = f"ray::ServeReplica:{CANDIDATE_PREFIX}"
"""How Ray names the process of a replica: by application and deployment."""


class Candidates:
    """Candidates and shadows whose processes came up since this was made."""

    def __init__(self) -> None:
        self._before = set(_running())

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Hold them for the time of a block.

        Raises:
            SystemExit: there is none, so that nothing would be compared.
        """
        found = [process for process in _running() if process not in self._before]
        if not found:
            raise SystemExit("no process of a candidate was found; the stack's serving must run on this machine")
        try:
            for process in found:
                process.suspend()
            yield
        finally:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()


def _running() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if " ".join(process.cmdline()).startswith(_TITLE):
                found.append(process)
    return found
