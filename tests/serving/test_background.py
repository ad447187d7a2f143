"""A process that gives way, tried in one of its own."""

import json
import subprocess
import sys

import pytest

from serving.background import LOWEST

SCRIPT = """
import json, os, threading
from serving.background import step_back

def own(found):
    found.append((os.sched_getscheduler(threading.get_native_id()), os.getpriority(os.PRIO_PROCESS, 0)))

gate, before, after, here = threading.Event(), [], [], []
early = threading.Thread(target=lambda: (gate.wait(), own(before)))
early.start()
step_back()
own(here)
gate.set()
late = threading.Thread(target=own, args=(after,))
late.start()
early.join()
late.join()
print(json.dumps([before[0], here[0], after[0]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a policy of Linux")
def test_threads_of_before_and_after_give_way() -> None:
    import os

    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == 3 * [[os.SCHED_IDLE, LOWEST]]
