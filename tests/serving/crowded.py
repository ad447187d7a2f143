"""A processor that several want at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TAKER = "import time\nend = time.monotonic() + 120\nwhile time.monotonic() < end: pass"


@contextmanager
def crowded(others: int = 3) -> Iterator[None]:
    """Leave this thread, and those that it starts, one processor that so many other processes want as well."""
    allowed = os.sched_getaffinity(0)
    one = {max(allowed)}
    takers = [subprocess.Popen([sys.executable, "-c", _TAKER]) for _ in range(others)]
    try:
        for taker in takers:
            os.sched_setaffinity(taker.pid, one)
        os.sched_setaffinity(0, one)
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        for taker in takers:
            taker.kill()
            taker.wait()
